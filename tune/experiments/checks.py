"""Rules between the keys of an experiment, checked when it is read."""

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rocore
from rocore.config import Config, nearest
from rocore.errors import ConfigError
from tune.names import file_name
from tune.repetitions import configuration_name
from tune.report.results import INCREMENTAL, SEVEN

if TYPE_CHECKING:
    from tune.experiments.config import ExperimentConfig

METRICS = (*(f"novel_test.{name}" for name in SEVEN), *INCREMENTAL)
"""Figures that every run with gold relations ends with; the incremental ones only in that mode."""
LABEL_FREE = ("silhouette", "pseudo_label_change")
"""Figures that a run without gold relations ends with."""
NAMED = {"settings": "setting", "data_sets": "data set"}
"""Sections that hold RoCORE keys by name, and what a name is of."""
Keys = dict[str, Any]


def check_effect(whose: str, keys: Keys, by: str, others: Iterable[Keys]) -> None:
    """Refuse keys that all others set anew.

    Args:
        whose: Of whom `keys` are, for the message.
        keys: That others may set anew.
        by: What the others are, for the message.
        others: Their keys.

    Raises:
        ConfigError: If a key has no effect.
    """
    others = list(others)
    lost = [key for key in keys if others and all(key in own for own in others)]
    if lost:
        raise ConfigError(
            f"`{lost[0]}` is set by every {by}, so that setting it {whose} has no effect; don't set it, or remove it "
            f"from a {by}"
        )


def check_names(config: "ExperimentConfig") -> None:
    """Refuse names that can't be folders', and a reference that names nothing.

    Raises:
        ConfigError: If one is wrong.
    """
    for section, what in NAMED.items():
        _check_names_of(what, list(getattr(config, section)))
    # Of setting and data set together: `a-on-b` on `c` isn't `a` on `b-on-c`.
    whole = [configuration_name(*parts) for parts in product(config.settings, config.data_sets)]
    _check_names_of("setting on a data set", whole)
    if config.reference is not None and config.reference not in config.settings:
        raise ConfigError(
            f"`reference` must name a setting, but is {config.reference!r}; "
            f"{nearest(config.reference, list(config.settings))}"
        )


def _check_names_of(what: str, names: Iterable[str]) -> None:
    lower: dict[str, str] = {}
    for name in names:
        if file_name(name) != name:
            raise ConfigError(
                f"the name of a {what} must serve as a folder's (letters, digits and `.=+-_`, no dot first, not too "
                f"long), but is {name!r}; call it {file_name(name)!r}"
            )
        if name.casefold() in lower:
            raise ConfigError(
                f"names of a {what} must differ in more than capitals, as some disks don't tell those apart, but "
                f"{lower[name.casefold()]!r} and {name!r} don't; rename one"
            )
        lower[name.casefold()] = name


def check_metric(config: "ExperimentConfig", configurations: Mapping[str, Config]) -> None:
    """Refuse a metric that runs won't end with.

    Raises:
        ConfigError: If they won't.
    """
    metric = config.metric
    if metric not in (*METRICS, *LABEL_FREE):
        hint = nearest(metric, [*METRICS, *LABEL_FREE])
        raise ConfigError(f"`metric` must be a figure that runs end with, but is {metric!r}; {hint}")
    without = [name for name, each in configurations.items() if not each.incremental.enabled]
    if metric in INCREMENTAL and without:
        raise ConfigError(
            f"`metric` {metric} needs incremental mode in every setting, but {', '.join(without)} lacks it; set "
            "`incremental.enabled: true`, or choose novel_test.b3_f1"
        )


def check_here(out: Path | str) -> None:
    """Refuse what experiments can't do yet.

    Raises:
        ConfigError: If files lie on an object store.
    """
    if rocore.is_url(out):
        raise ConfigError(f"--out must be a folder, but is the URL {out}; name a folder")
