"""The configuration of one experiment: named settings of RoCORE, seeds, data, and what settings are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

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
from tune.experiments.checks import NAMED, Keys, check_effect, check_metric, check_names
from tune.reading import dotted, read_base, set_below, set_keys, validated
from tune.repetitions import configuration_name
from tune.specification import on_share


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
    data_sets: dict[str, Keys] = Field(default_factory=dict)
    """By name, the RoCORE keys of a data set; those of the section `data` may leave `data.` out. Every setting is
    trained on each, with its own keys on top. Empty: on the base's data alone."""
    reference: str | None = None
    """The setting that each other one is compared with, paired by seed and data set. Null: none."""
    metric: str = "novel_test.b3_f1"
    """What is compared."""
    resources: ResourcesConfig = ResourcesConfig()
    trial: TrialConfig = TrialConfig()


@dataclass(frozen=True)
class Experiment:
    """A checked experiment.

    Attributes:
        config: The experiment's keys; `base` holds the resolved RoCORE keys, so that the file stands by itself.
        configurations: By name, what runs train, but for their seed: every setting on every data set.
    """

    config: ExperimentConfig
    configurations: dict[str, Config]

    @property
    def parts(self) -> dict[str, tuple[str, str | None]]:
        """By configuration, its setting and its data set; None where there is but one."""
        return _parts(self.config)

    @property
    def references(self) -> dict[str, str]:
        """By configuration, the one that it is compared with: another, of the same data set and the same data."""
        if self.config.reference is None:
            return {}
        return {
            name: reference
            for name, (_, data_set) in self.parts.items()
            if (reference := configuration_name(self.config.reference, data_set)) != name
            and self.shares_data(name)
        }

    @property
    def params(self) -> dict[str, dict[str, Value]]:
        """By configuration, the values of all keys in which they differ; lists as text."""
        trees = {
            name: dict(dotted(config.model_dump(mode="json"))) for name, config in self.configurations.items()
        }
        keys = dict.fromkeys(key for tree in trees.values() for key in tree)
        differing = [key for key in keys if len({repr(tree.get(key)) for tree in trees.values()}) > 1]
        return {name: {key: _plain(tree.get(key)) for key in differing} for name, tree in trees.items()}

    @property
    def num_runs(self) -> int:
        """Settings times data sets times seeds."""
        return len(self.configurations) * len(self.config.seeds)

    def shares_data(self, name: str) -> bool:
        """Tell whether a configuration has its reference's data: only then is an equal seed an equal split."""
        if self.config.reference is None:
            return True
        reference = configuration_name(self.config.reference, self.parts[name][1])
        first, other = (
            self.configurations[each].data.model_dump(exclude={"root"}) for each in (reference, name)
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
            for name, config in self.configurations.items()
        }
        return replace(self, configurations=settled)


def load_experiment(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment's file and check it and every setting.

    Args:
        path: YAML file.
        overrides: Dotted keys. Those that begin with a key of the experiment (`seeds.number`, `settings.NAME.KEY`)
            change the experiment, all others are RoCORE keys of every setting. `settings.NAME` with a mapping adds one.

    Raises:
        ConfigError: If a key or a value is wrong; unknown keys come with the nearest valid name.
    """
    path = Path(path)
    config = _parse(set_keys(ExperimentConfig, read_yaml(path), overrides or {}, _set_own), str(path))
    common = _flat(config.overrides, f"`overrides` of {path}")
    of_setting = {name: _flat(keys, f"setting `{name}` of {path}") for name, keys in config.settings.items()}
    of_data_set = {
        name: _flat(_in_data(keys), f"data set `{name}` of {path}") for name, keys in config.data_sets.items()
    }
    check_effect("for all", common, "setting", of_setting.values())
    check_effect("for all", common, "data set", of_data_set.values())
    for name, keys in of_data_set.items():
        check_effect(f"for data set `{name}`", keys, "setting", of_setting.values())
    check_names(config)
    tree, where = read_base(config.base, path)
    base = with_absolute_paths(make_config(with_overrides(tree, {**common, "seed": config.seeds[0]}), where))
    configurations = {}
    for name, (setting, data_set) in _parts(config).items():
        keys = {**of_data_set.get(data_set or "", {}), **of_setting[setting]}
        what = f"setting `{setting}`" + (f" on data set `{data_set}`" if data_set is not None else "")
        configurations[name] = _configuration(base, keys, f"{what} of {path}", config.resources)
    check_metric(config, configurations)
    resolved = {
        "base": base.model_dump(mode="json"),
        "overrides": {},
        "name": config.name or path.stem,
        "settings": of_setting,
        "data_sets": of_data_set,
    }
    return Experiment(config.model_copy(update=resolved), configurations)


def _parts(config: ExperimentConfig) -> dict[str, tuple[str, str | None]]:
    data_sets: list[str | None] = [*config.data_sets] or [None]
    return {
        configuration_name(setting, data_set): (setting, data_set)
        for data_set in data_sets
        for setting in config.settings
    }


def _plain(value: Any) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _set_own(tree: dict[str, Any], key: str, value: Any) -> bool:
    """Set a key of a setting or a data set, whose RoCORE keys stay dotted; or add a whole one."""
    first, _, rest = key.partition(".")
    if first == "seeds" and rest:
        tree["seeds"] = _as_row(tree.get("seeds"))
    if first not in NAMED or not rest:
        return False
    what, named = NAMED[first], dict(tree.get(first) or {})
    tree[first] = named
    # Names may hold dots.
    longest = sorted(map(str, named), key=len, reverse=True)
    name = next((each for each in longest if rest.startswith(f"{each}.")), "")
    if name:
        set_below(named, name, rest.removeprefix(f"{name}."), value)
    elif isinstance(value, Mapping):
        named[rest] = dict(value)
    else:
        raise ConfigError(
            f"`--set {key}` must name a {what} and a key, but there is no such {what}; "
            f"{nearest(rest.partition('.')[0], longest)}; `--set {first}.NAME={{KEY: VALUE}}` adds one"
        )
    return True


def _as_row(seeds: Any) -> Any:
    """Return a list of seeds in a row as {first, number}; anything else as it is."""
    if isinstance(seeds, list) and seeds and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return {"first": seeds[0], "number": len(seeds)}
    return seeds


def _parse(tree: dict[str, Any], where: str) -> ExperimentConfig:
    seeds = tree.get("seeds")
    if isinstance(seeds, Mapping):
        row = validated(SeedsConfig, seeds, f"`seeds` of {where}")
        tree = {**tree, "seeds": list(range(row.first, row.first + row.number))}
    for section in NAMED:
        if isinstance(named := tree.get(section), Mapping):
            # A name with nothing behind it is the base itself.
            tree = {**tree, section: {name: {} if keys is None else keys for name, keys in named.items()}}
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


def _in_data(keys: Keys) -> Keys:
    """Return the keys of a data set with `data.` before those that left it out."""
    own = {key.partition(".")[0] for key in known_keys(Config)}
    return {key if key.partition(".")[0] in own else f"data.{key}": value for key, value in keys.items()}


def _configuration(base: Config, keys: Keys, where: str, resources: ResourcesConfig) -> Config:
    config = with_absolute_paths(make_config(with_overrides(base.model_dump(mode="json"), keys), where))
    return on_share(config, resources)
