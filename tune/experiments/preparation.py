"""What happens once, before any run of an experiment: data and encoders checked, frozen trunks built."""

import sys
from dataclasses import dataclass
from typing import Any

import rocore
from rocore.config import Config, make_config
from rocore.errors import ConfigError
from tune.experiments.checks import LABEL_FREE
from tune.experiments.config import Experiment
from tune.preparation import TrunkNeeds, by_output_layer, describe_data


@dataclass(frozen=True)
class Facts:
    """What the report says about data and environment.

    Attributes:
        data: One entry for each distinct description, with the `settings` that it is of.
        fingerprints: Of data and encoders, by setting and part; equal ones stand once.
        precision: That `encoder.precision: auto` comes to; None where no setting says auto, and where the nodes of a
            cluster have to say.
        on_nodes: Whether trunks are still to be built, on the nodes of a cluster.
    """

    data: tuple[dict[str, Any], ...]
    environment: dict[str, Any]
    fingerprints: dict[str, str]
    synthetic: bool
    warnings: tuple[str, ...]
    precision: str | None = None
    on_nodes: bool = False

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every data file; of two with one name, the other's says whose it is."""
        found: dict[str, str] = {}
        for entry in self.data:
            for name, digest in entry["files"].items():
                is_other = found.setdefault(name, digest) != digest
                found[f"{name} of {entry['settings'][0]}" if is_other else name] = digest
        return found


def prepare_experiment(experiment: Experiment) -> Facts:
    """Check data and encoder of every setting, then build every frozen trunk in as few passes as can be.

    On a cluster the nodes build them.

    Raises:
        RocoreError: If a setting can't be trained, or its runs won't have the metric.
    """
    facts = check_experiment(experiment)
    if facts.on_nodes:
        return facts
    groups = trunk_groups(experiment)
    with rocore.progress_bars() as progress:
        for config, layers in groups:
            rocore.build_trunk_cache(config, layers, progress)
    return facts


def check_experiment(experiment: Experiment) -> Facts:
    """Check data and encoder of every setting.

    Raises:
        RocoreError: If a setting can't be trained, or its runs won't have the metric.
    """
    checked: dict[str, Any] = {}
    data: list[dict[str, Any]] = []
    fingerprints: dict[str, str] = {}
    for name, config in experiment.configurations.items():
        # Neither losses nor training change what is checked here.
        key = config.model_dump_json(exclude={"loss", "train", "cache"})
        if key not in checked:
            checked[key] = _check(name, config)
            fingerprints |= {
                f"{part} of {name}": value
                for part, value in checked[key].fingerprints.items()
                if value not in fingerprints.values()
            }
        _check_gold(experiment.config.metric, name, has_gold=checked[key].evaluator is not None)
        described = describe_data(config, checked[key].corpus)
        same = next(
            (entry for entry in data if {**entry, "settings": None} == {**described, "settings": None}), None
        )
        if same is None:
            data.append({**described, "settings": [name]})
        else:
            same["settings"].append(name)
    for config, layers in trunk_groups(experiment):
        rocore.check_encoder(config, layers)
    found, on_nodes = list(checked.values()), experiment.config.resources.address is not None
    return Facts(
        data=tuple(data),
        environment={**rocore.describe_environment(), "command_line": ["rocore", *sys.argv[1:]]},
        fingerprints=fingerprints,
        synthetic=any(each.corpus.synthetic for each in found),
        warnings=tuple(dict.fromkeys(warning for each in found for warning in each.warnings)),
        precision=None if on_nodes else _settle(experiment),
        on_nodes=on_nodes,
    )


def trunk_groups(experiment: Experiment) -> list[tuple[Config, list[int]]]:
    """Return every frozen trunk that a run needs, by what one trunk pass can make."""
    needs = []
    for config in experiment.configurations.values():
        tree = config.model_dump(mode="json")
        # All that a trunk follows from: settings that differ elsewhere share it.
        kept: dict[str, Any] = {key: tree[key] for key in ("data", "encoder", "cache")}
        needs.append(make_config({**kept, "train": {"device": config.train.device}}))
    return [(config, sorted(set(layers))) for config, layers in by_output_layer(needs)]


def trunk_needs(experiment: Experiment) -> TrunkNeeds:
    """Return what the nodes of a cluster build.

    Raises:
        ConfigError: If settings would compute in the precisions of several devices.
    """
    configs = list(experiment.configurations.values())
    open_ones = [config for config in configs if config.encoder.precision == "auto"] or configs[:1]
    if len(devices := {config.train.device for config in open_ones}) > 1:
        raise ConfigError(
            f"all settings must compute in one precision, but `encoder.precision: auto` is left to the devices "
            f"{' and '.join(sorted(devices))}; set it"
        )
    return TrunkNeeds(
        experiment.config.resources,
        open_ones[0],
        lambda precision: trunk_groups(experiment.in_precision(precision)),
    )


def _check(name: str, config: Config) -> Any:
    try:
        return rocore.check_task(config)
    except rocore.RocoreError as error:
        raise type(error)(f"setting `{name}`: {error}") from error


def _check_gold(metric: str, name: str, *, has_gold: bool) -> None:
    if has_gold == (metric not in LABEL_FREE):
        return
    has, hint = ("has", "novel_test.b3_f1") if has_gold else ("has no", "silhouette")
    raise ConfigError(
        f"every run must end with `metric` {metric}, but setting `{name}` {has} gold of novel instances; choose {hint}"
    )


def _settle(experiment: Experiment) -> str | None:
    open_ones = {
        rocore.settle_precision(config)
        for config in experiment.configurations.values()
        if config.encoder.precision == "auto"
    }
    if len(open_ones) > 1:
        raise ConfigError(
            f"all settings must compute in one precision, but `encoder.precision: auto` comes to "
            f"{' and '.join(sorted(open_ones))} on their devices; set it"
        )
    return next(iter(open_ones), None)
