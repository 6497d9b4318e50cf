"""What happens once, before any trial: data checked, frozen trunks built, facts gathered for the report."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import rocore
from rocore.config import Config, override
from rocore.data.instance import Corpus
from rocore.errors import ConfigError
from tune.config import Sweep
from tune.objective import pseudo_novel_configs
from tune.space import trunk_configs


@dataclass(frozen=True)
class Facts:
    """What the report says about data, encoder and environment."""

    data: dict[str, Any]
    encoder: dict[str, Any]
    environment: dict[str, Any]
    synthetic: bool
    warnings: tuple[str, ...]


def prepare_sweep(sweep: Sweep) -> Facts:
    """Check the data and build every frozen trunk that a trial can ask for: trials only map them.

    Raises:
        RocoreError: If data, encoder or objective can't be used.
    """
    base, objective = sweep.base, sweep.config.objective
    with rocore.progress_bars() as progress:
        for config, layers in by_output_layer(trunk_configs(base, sweep.config.search.space)):
            rocore.build_trunk_cache(config, layers, progress)
        prepared = rocore.prepare(base, progress)
        if objective.name == "oracle" and prepared.evaluator is None:
            raise ConfigError(
                "objective `oracle` needs gold of novel instances, but there is none; use pseudo_novel"
            )
        if objective.name == "pseudo_novel":
            # The known pool serves both roles, so that its trunk is there already.
            for fold in pseudo_novel_configs(base, objective):
                rocore.prepare(fold, progress)
    return Facts(
        data=describe_data(base, prepared.corpus),
        encoder=base.encoder.model_dump(mode="json"),
        environment={
            **rocore.describe_environment(),
            "fingerprints": dict(prepared.fingerprints),
            "command_line": ["rocore", *sys.argv[1:]],
        },
        synthetic=prepared.corpus.synthetic,
        warnings=tuple(prepared.warnings),
    )


def by_output_layer(configs: Sequence[Config]) -> list[tuple[Config, list[int]]]:
    """Group configurations that differ in the output layer alone: one trunk pass serves them all."""
    groups: dict[str, tuple[Config, list[int]]] = {}
    for config in configs:
        key = override(config, {"encoder.output_layer": 1}).model_dump_json()
        groups.setdefault(key, (config, []))[1].append(config.encoder.output_layer)
    return list(groups.values())


def describe_data(config: Config, corpus: Corpus) -> dict[str, Any]:
    """Return the `data` entry of results.json."""
    return {
        "format": config.data.format,
        "num_known_relations": corpus.num_known_relations,
        "num_novel_relations": corpus.num_novel_relations,
        "num_known_instances": len(corpus.known_rows),
        "num_novel_instances": len(corpus.novel_rows),
        "files": dict(corpus.files),
    }
