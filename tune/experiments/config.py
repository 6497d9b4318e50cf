"""The configuration of one experiment: named settings of RoCORE, seeds, and what the settings are compared with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import rocore
from rocore.config import (
    Config,
    Count,
    Section,
    known_keys,
    make_config,
    nearest,
    override,
    read_yaml,
    with_absolute_paths,
    with_overrides,
)
from rocore.errors import ConfigError
from tune.config import ResourcesConfig, Seed, TrialConfig, Value
from tune.names import file_name
from tune.reading import dotted, read_base, set_below, set_keys, validated
from tune.report.results import INCREMENTAL, SEVEN
from tune.specification import on_share

METRICS = (*(f"novel_test.{name}" for name in SEVEN), *INCREMENTAL)
"""Figures that every run with gold relations ends with; the incremental ones only in that mode."""
LABEL_FREE = ("silhouette", "pseudo_label_change")
"""Figures that a run without gold relations ends with."""
Keys = dict[str, Any]


class SeedsConfig(Section):
    """Seeds in a row."""

    first: Seed = 0
    """The smallest one."""
    number: Count
    """How many; they are first, first + 1, ..."""


class ExperimentConfig(Section):
    """One experiment."""

    base: str | dict[str, Any]
    """RoCORE configuration: a file (relative to the experiment's file), or the keys themselves."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """RoCORE keys that are set on top of `base`, in every setting."""
    name: str = ""
    """Title of the report. Empty: the file's name."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Seeds of every setting: a list, or {first, number}. A seed changes the split, the initial weights and the data
    order."""
    settings: Annotated[dict[str, Keys], Field(min_length=1)]
    """By name, the RoCORE keys in which a setting differs from the base; none is the base itself. Names become names of
    folders."""
    reference: str | None = None
    """The setting that each other one is compared with, paired by seed. Null: none."""
    metric: str = "novel_test.b3_f1"
    """What is compared."""
    resources: ResourcesConfig = ResourcesConfig()
    trial: TrialConfig = TrialConfig()


@dataclass(frozen=True)
class Experiment:
    """A checked experiment.

    Attributes:
        config: The experiment's keys; `base` holds the resolved RoCORE keys, so that the file stands by itself.
        settings: The whole configuration of every setting, as its runs train it, but for their seed.
    """

    config: ExperimentConfig
    settings: dict[str, Config]

    @property
    def params(self) -> dict[str, dict[str, Value]]:
        """By setting, the values of all keys in which settings differ; lists as text."""
        trees = {name: dict(dotted(config.model_dump(mode="json"))) for name, config in self.settings.items()}
        keys = dict.fromkeys(key for tree in trees.values() for key in tree)
        differing = [key for key in keys if len({repr(tree.get(key)) for tree in trees.values()}) > 1]
        return {name: {key: _plain(tree.get(key)) for key in differing} for name, tree in trees.items()}

    @property
    def num_runs(self) -> int:
        """Settings times seeds."""
        return len(self.settings) * len(self.config.seeds)

    def shares_data(self, name: str) -> bool:
        """Tell whether a setting has the reference's data: only then is an equal seed an equal split."""
        assert self.config.reference is not None
        first, other = (
            self.settings[each].data.model_dump(exclude={"root"}) for each in (self.config.reference, name)
        )
        return first == other

    def in_precision(self, precision: str | None) -> "Experiment":
        """Return the experiment with `encoder.precision` settled where a setting leaves it open."""
        if precision is None:
            return self
        settled = {
            name: override(config, {"encoder.precision": precision})
            if config.encoder.precision == "auto"
            else config
            for name, config in self.settings.items()
        }
        return replace(self, settings=settled)


def load_experiment(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment's file and check it and every setting.

    Args:
        path: YAML file.
        overrides: Dotted keys. Those that begin with a key of the experiment (`seeds.number`, `settings.NAME.KEY`)
            change the experiment, all others are RoCORE keys of every setting.

    Raises:
        ConfigError: If a key or a value is wrong; unknown keys come with the nearest valid name.
    """
    path = Path(path)
    config = _parse(set_keys(ExperimentConfig, read_yaml(path), overrides or {}, _set_own), str(path))
    common = _flat(config.overrides, f"`overrides` of {path}")
    of_setting = {name: _flat(keys, f"setting `{name}` of {path}") for name, keys in config.settings.items()}
    _check_effect(common, of_setting.values())
    _check_names(config)
    tree, where = read_base(config.base, path)
    base = with_absolute_paths(make_config(with_overrides(tree, {**common, "seed": config.seeds[0]}), where))
    settings = {
        name: _setting(base, keys, f"setting `{name}` of {path}", config.resources)
        for name, keys in of_setting.items()
    }
    _check_metric(config, settings)
    resolved = {
        "base": base.model_dump(mode="json"),
        "overrides": {},
        "name": config.name or path.stem,
        "settings": of_setting,
    }
    return Experiment(config.model_copy(update=resolved), settings)


def _plain(value: Any) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _set_own(tree: dict[str, Any], key: str, value: Any) -> bool:
    """Set a key of a setting, whose RoCORE keys stay dotted."""
    first, _, rest = key.partition(".")
    if first != "settings" or not rest:
        return False
    settings = tree.get("settings") or {}
    # Names may hold dots.
    longest = sorted(map(str, settings), key=len, reverse=True)
    name = next((each for each in longest if rest.startswith(f"{each}.")), "")
    if not name:
        raise ConfigError(
            f"`--set {key}` must name a setting and a key, but there is no such setting; "
            f"{nearest(rest.partition('.')[0], longest)}"
        )
    set_below(settings, name, rest.removeprefix(f"{name}."), value)
    return True


def _parse(tree: dict[str, Any], where: str) -> ExperimentConfig:
    seeds, settings = tree.get("seeds"), tree.get("settings")
    if isinstance(seeds, Mapping):
        row = validated(SeedsConfig, seeds, f"`seeds` of {where}")
        tree = {**tree, "seeds": list(range(row.first, row.first + row.number))}
    if isinstance(settings, Mapping):
        # A name with nothing behind it is the base itself.
        tree = {**tree, "settings": {name: {} if keys is None else keys for name, keys in settings.items()}}
    config = validated(ExperimentConfig, tree, where)
    if len(set(config.seeds)) < len(config.seeds):
        raise ConfigError(f"`seeds` must differ, but are {list(config.seeds)} in {where}; name each once")
    return config


def _flat(tree: Mapping[str, Any], where: str) -> Keys:
    """Return RoCORE keys dotted, whether they were written so or in sections."""
    keys, found = known_keys(Config), {}
    for key, value in dotted(tree):
        if key in found:
            raise ConfigError(
                f"a key must be set in one place, but `{key}` stands twice in {where}; remove one"
            )
        if key not in keys:
            raise ConfigError(f"unknown key `{key}` in {where}; {nearest(key, keys)}")
        if key == "seed":
            raise ConfigError(f"`seed` must be left to `seeds`, but stands in {where}; remove it there")
        found[key] = value
    return found


def _check_effect(common: Keys, of_setting: Iterable[Keys]) -> None:
    lost = [key for key in common if all(key in keys for keys in of_setting)]
    if lost:
        raise ConfigError(
            f"`{lost[0]}` is set by every setting, so that setting it for all has no effect; don't set it, or remove "
            "it from a setting"
        )


def _check_names(config: ExperimentConfig) -> None:
    lower: dict[str, str] = {}
    for name in config.settings:
        if file_name(name) != name:
            raise ConfigError(
                f"the name of a setting must serve as a folder's (letters, digits and `.=+-_`, no dot first, not too "
                f"long), but is {name!r}; call it {file_name(name)!r}"
            )
        if name.casefold() in lower:
            raise ConfigError(
                f"names of settings must differ in more than capitals, as some disks don't tell those apart, but "
                f"{lower[name.casefold()]!r} and {name!r} don't; rename one"
            )
        lower[name.casefold()] = name
    if config.reference is not None and config.reference not in config.settings:
        raise ConfigError(
            f"`reference` must name a setting, but is {config.reference!r}; "
            f"{nearest(config.reference, list(config.settings))}"
        )


def _setting(base: Config, keys: Keys, where: str, resources: ResourcesConfig) -> Config:
    config = with_absolute_paths(make_config(with_overrides(base.model_dump(mode="json"), keys), where))
    return on_share(config, resources)


def _check_metric(config: ExperimentConfig, settings: Mapping[str, Config]) -> None:
    metric = config.metric
    if metric not in (*METRICS, *LABEL_FREE):
        hint = nearest(metric, [*METRICS, *LABEL_FREE])
        raise ConfigError(f"`metric` must be a figure that runs end with, but is {metric!r}; {hint}")
    without = [name for name, each in settings.items() if not each.incremental.enabled]
    if metric in INCREMENTAL and without:
        raise ConfigError(
            f"`metric` {metric} needs incremental mode in every setting, but {', '.join(without)} lacks it; set "
            "`incremental.enabled: true`, or choose novel_test.b3_f1"
        )


def check_here(experiment: Experiment, out: Path | str) -> None:
    """Refuse what experiments can't do yet.

    Raises:
        ConfigError: If runs shall run on a cluster, or files lie on an object store.
    """
    if experiment.config.resources.address is not None:
        raise ConfigError(
            f"an experiment must run on this machine, but `resources.address` is "
            f"{experiment.config.resources.address!r}; leave it out"
        )
    if rocore.is_url(out):
        raise ConfigError(f"--out must be a folder of this machine, but is the URL {out}; name a folder")
