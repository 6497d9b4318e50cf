"""What happens once, before any trial: data checked, frozen trunks built, facts gathered for the report."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rocore
from rocore.config import Config, override
from rocore.data.instance import Corpus
from rocore.errors import ConfigError
from tune.config import ObjectiveConfig, ResourcesConfig, Sweep
from tune.objective import pseudo_novel_configs
from tune.space import trunk_configs
from tune.specification import trial_base


@dataclass(frozen=True)
class Facts:
    """What the report says about data, encoder and environment."""

    data: dict[str, Any]
    encoder: dict[str, Any]
    environment: dict[str, Any]
    synthetic: bool
    warnings: tuple[str, ...]
    precision: str | None = None
    """That every trial computes in; None where the nodes of a cluster have to say."""
    on_nodes: bool = False
    """Whether trunks are still to be built, on the nodes of a cluster."""


@dataclass(frozen=True)
class TrunkNeeds:
    """The frozen trunks that trials can ask for, wherever they run.

    Attributes:
        resources: Of a trial.
        config: A trial's: its device and `encoder.precision` are all trials'.
        groups: Tells by the precision that all compute in what each trunk pass makes.
    """

    resources: ResourcesConfig
    config: Config
    groups: Callable[[str], list[tuple[Config, list[int]]]]


def prepare_sweep(sweep: Sweep) -> Facts:
    """Check the data; where trials run on this machine, build every frozen trunk that they can ask for.

    On a cluster that is left to the nodes, as the machine that starts a sweep may have neither their device nor
    their disk.

    Raises:
        RocoreError: If data, encoder or objective can't be used.
    """
    base, objective, local = trial_base(sweep), sweep.config.objective, sweep.config.resources.address is None
    checked = rocore.check_task(base)
    if objective.name == "oracle" and checked.evaluator is None:
        raise ConfigError(
            "objective `oracle` needs gold of novel instances, but there is none; use pseudo_novel"
        )
    if objective.name == "pseudo_novel":
        check_folds(objective, checked.corpus.num_known_relations)
        for fold in pseudo_novel_configs(base, objective):
            rocore.check_task(fold)
    groups = trunk_groups(sweep)
    for config, layers in groups:
        rocore.check_encoder(config, layers)
    if local:
        with rocore.progress_bars() as progress:
            for config, layers in groups:
                rocore.build_trunk_cache(config, layers, progress)
    return Facts(
        data=describe_data(base, checked.corpus),
        encoder=base.encoder.model_dump(mode="json"),
        environment={
            **rocore.describe_environment(),
            "fingerprints": dict(checked.fingerprints),
            "command_line": ["rocore", *sys.argv[1:]],
        },
        synthetic=checked.corpus.synthetic,
        warnings=tuple(checked.warnings),
        precision=rocore.settle_precision(base) if local else None,
        on_nodes=not local,
    )


def check_folds(objective: ObjectiveConfig, num_known_relations: int) -> None:
    """Refuse an objective that hides more relations than there are.

    Raises:
        ConfigError: If it does.
    """
    hidden, folds, known = objective.num_relations, objective.num_folds, num_known_relations
    if known < 4:
        raise ConfigError(
            f"objective `pseudo_novel` needs 4 known relations, 2 of them to be hidden, but there are {known}; label "
            "instances of others"
        )
    if known < hidden + 2:
        raise ConfigError(
            f"at least 2 relations must stay known, but `objective.num_relations` hides {hidden} of {known}; "
            f"set it to at most {known - 2}"
        )
    if folds * hidden > known:
        raise ConfigError(
            f"the groups of hidden relations must be disjoint, but `objective.num_folds` {folds} times "
            f"`objective.num_relations` {hidden} is more than the {known} known relations; set the former to at most "
            f"{known // hidden}, or the latter lower"
        )


def trunk_groups(sweep: Sweep) -> list[tuple[Config, list[int]]]:
    """Return every frozen trunk that a trial can ask for, by what one trunk pass can make."""
    return by_output_layer(trunk_configs(trial_base(sweep), sweep.config.search.space))


def trunk_needs(sweep: Sweep) -> TrunkNeeds:
    """Return what the nodes of a cluster build."""
    return TrunkNeeds(
        sweep.config.resources,
        trial_base(sweep),
        lambda precision: trunk_groups(sweep.in_precision(precision)),
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
    hiding = config.data.pseudo_novel
    return {
        "format": config.data.format,
        "num_known_relations": corpus.num_known_relations,
        "num_novel_relations": corpus.num_novel_relations,
        "num_known_instances": len(corpus.known_rows),
        "num_novel_instances": len(corpus.novel_rows),
        **({} if hiding is None else {"num_hidden_relations": hiding.num_relations}),
        "files": dict(corpus.files),
    }
