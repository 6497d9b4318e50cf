"""The configuration of one sweep: what is searched, by which objective, with what, and how it is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

import rocore
from rocore.config import (
    Config,
    Count,
    Place,
    Positive,
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
from tune.journal import FILE
from tune.reading import read_base, set_below, set_keys, validated
from tune.sweep_checks import check_budget, check_limits, check_second_objective, check_seeds, check_startup

Value = bool | int | float | str | None
Seed = Annotated[int, Field(ge=0, lt=2**31)]
OLDER_OBJECTIVE = {"labeled_per_epoch": None, "incremental_score": "novel"}
"""What older versions, which had no keys for it, did."""


class Dimension(Section):
    """One searched key: how its values are drawn."""

    distribution: Literal["log_uniform", "uniform", "integer", "categorical"]
    """log_uniform, uniform and integer take `low` and `high` (both included); categorical takes `choices`."""
    low: int | float | None = None
    """Smallest value."""
    high: int | float | None = None
    """Largest value."""
    step: Annotated[int | float, Field(gt=0)] | None = None
    """Distance of neighboring values; uniform and integer only."""
    choices: tuple[Value, ...] | None = None
    """Values of a categorical key."""


class SearchConfig(Section):
    """What is searched, and how new configurations are proposed."""

    num_trials: Count = 24
    """Trials in all, the paper's configuration included; those of `rocore sweep add` come on top."""
    max_hours: Positive | None = None
    """Hours of the search, over all its sessions, after which no trial begins; those that run go on to their ends.
    Null: no limit."""
    max_gpu_hours: Positive | None = None
    """The same, by the hours that trials of the search hold GPUs, times `resources.gpus_per_trial`."""
    stop_after: Count | None = None
    """Trials in a row, complete or stopped early, that bring no better objective; after as many, no trial begins.
    Counted from the first complete trial on, in the order of their ends. Null: no limit."""
    max_epochs: Count | None = None
    """Joint epochs of a trial of search or race, at most. Null: `train.max_epochs`, which bounds the runs of the final
    comparison."""
    searcher: Literal["tpe", "gp", "random"] = "tpe"
    """Optuna's sampler. gp (a Gaussian process) learns from complete trials alone, so that it wants scheduler `none`;
    tpe learns from stopped ones too."""
    startup: Literal["random", "sobol"] = "random"
    """How tpe and gp draw before they learn, until ten trials have ended well (of gp's, complete ones). sobol: spread
    evenly over the space, by a scrambled Sobol sequence that `seed` scrambles."""
    space: dict[str, Dimension]
    """Searched RoCORE keys, dotted."""
    others: tuple[Place, ...] = ()
    """Sweep directories or URLs of other sweeps with the same space, objective and base, begun yet or not: this search
    learns from their trials as they end. Its own may stand among them."""


class ObjectiveConfig(Section):
    """The number that the search maximizes."""

    name: Literal["pseudo_novel", "oracle"] = "pseudo_novel"
    """pseudo_novel: hidden known relations; oracle: gold novel labels, stamped."""
    num_relations: Annotated[int, Field(ge=2)] = 8
    """pseudo_novel: known relations hidden in each fold."""
    num_folds: Count = 2
    """pseudo_novel: disjoint groups of hidden relations; each trains a model of its own."""
    seed: Seed = 0
    """pseudo_novel: seed of the grouping, the same for every trial."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """pseudo_novel: share of each known relation's instances that trials use, labeled and hidden: a cheaper search."""
    instances_per_relation: Literal["equal", "real"] | Annotated[int, Field(ge=2)] | None = None
    """pseudo_novel: as `data.pseudo_novel.instances_per_relation`. Null, as data may have rare relations, which would
    take from all others what they lack."""
    labeled_per_epoch: Literal["real"] | Count | None = "real"
    """pseudo_novel: as `data.pseudo_novel.labeled_per_epoch`. real: an epoch has as many steps as on the real split, so
    that nothing gains by learning faster than it needs to."""
    read_novel: bool = False
    """pseudo_novel: as `data.pseudo_novel.read_novel`. Trials take up to twice as long."""
    incremental_score: Literal["all_test", "novel"] = "all_test"
    """pseudo_novel in incremental mode: all_test, the unified classifier on known and hidden test instances together;
    novel: the novel classifier on all hidden ones, as in standard mode."""
    second: Literal["known_accuracy", "training_seconds"] | None = None
    """A second objective, for the trade-off with the first: known_accuracy (on known test instances, incremental mode;
    higher is better) or training_seconds (lower is better; trials on a shared machine disturb each other). Early
    stopping, race and final comparison go by the first alone."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_gone(cls, tree: Any) -> Any:
        if isinstance(tree, Mapping) and tree.get("name") == "internal":
            raise ValueError(
                "`objective.name` must be pseudo_novel or oracle, but is internal, which is gone: silhouettes of "
                "spaces that were trained apart can't be compared; choose pseudo_novel"
            )
        return tree


class SchedulerConfig(Section):
    """Which trials are stopped early."""

    name: Literal["asha", "none"] = "asha"
    """asha: asynchronous successive halving over joint epochs."""
    grace_epochs: Count = 3
    """Joint epochs (after pre-training) before a trial may be stopped; the first rung."""
    reduction_factor: Annotated[float, Field(gt=1)] = 3.0
    """One in this many trials passes a rung; rungs lie this factor apart, in joint epochs."""


class ResourcesConfig(Section):
    """What a trial is given, and where trials run."""

    cpus_per_trial: Positive = 1.0
    """CPU share of a trial; also its number of threads."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0.0
    """GPU share of a trial; a fraction shares a GPU."""
    custom: dict[str, Positive] = Field(default_factory=dict)
    """Ray's custom resources that a trial takes, by name: only nodes that offer them run trials."""
    max_concurrent_trials: Count | None = None
    """Null: as many as the resources hold; on a cluster, as many as it holds at the time, as nodes come and go."""
    address: str | None = None
    """Address of a Ray cluster; `auto`: the one this machine belongs to. Null: a Ray of the sweep's own."""
    temp_dir: str | None = None
    """Short folder for the files of a local Ray. Null: one under the system's temporary folder."""


class TrialConfig(Section):
    """How trials train."""

    pack: Count = 1
    """Trials that train together as one batched computation, on the share of one (`resources`). For GPUs, which a step
    of one trial doesn't fill; on CPUs it gains nothing."""
    checkpoint_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a trial's time that its checkpoints may take: where one takes long beside an epoch, not every epoch has
    one, but five minutes of training always do. 1: every epoch."""


class RacingConfig(Section):
    """The race: the search's best configurations over shared (split, seed) pairs, by the search's own objective."""

    num_candidates: Annotated[int, Field(ge=0)] = 8
    """Configurations taken from the search; the paper's comes on top and never drops. 0: no race."""
    num_pairs: Annotated[int, Field(ge=2)] = 8
    """Pairs that a configuration meets if it stays to the end; each has a grouping into hidden relations and a
    seed of its own."""
    min_pairs: Annotated[int, Field(ge=2)] = 4
    """Pairs of the first round, before which nobody drops; each further round doubles them."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Level of the paired t-test against the leader, corrected (Holm) for the comparisons of a round."""
    first_seed: Seed | None = None
    """Seeds are first_seed, first_seed + 1, ...; null: the search's seed + 1."""


class ReevaluationConfig(Section):
    """The final comparison: the best configurations and the paper's, over several seeds on the real split."""

    top_k: Count = 3
    """Configurations taken from the search; the paper's comes on top where it isn't among them."""
    num_seeds: Count = 5
    """Seeds of each; a seed changes the split, the initial weights and the data order."""
    first_seed: Seed | None = None
    """Seeds are first_seed, first_seed + 1, ...; null: the first that neither search nor race uses.
    One that they use is refused."""


class RetentionConfig(Section):
    """Which models stay on disk; all other checkpoints go as soon as their trial has ended."""

    keep_best: Annotated[int, Field(ge=0)] = 3
    """Configurations of the final comparison, the search's best first, whose model is kept, of the first seed that
    finished; `rocore export` needs it."""


class SweepConfig(Section):
    """One sweep."""

    base: str | dict[str, Any]
    """RoCORE configuration: a file (relative to the sweep's file), or the keys themselves."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted RoCORE keys that are set on top of `base`."""
    seed: Seed = 0
    """Of the proposals and of every search trial."""
    name: str = ""
    """Title of the report. Empty: the file's name."""
    search: SearchConfig
    paper: dict[str, Value]
    """The paper's value of every searched key: trial 0, and always part of the final comparison."""
    objective: ObjectiveConfig = ObjectiveConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    resources: ResourcesConfig = ResourcesConfig()
    trial: TrialConfig = TrialConfig()
    racing: RacingConfig = RacingConfig()
    reevaluation: ReevaluationConfig = ReevaluationConfig()
    retention: RetentionConfig = RetentionConfig()


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        config: The sweep's keys; `base` holds the resolved RoCORE keys, so that the file stands by itself.
        base: What every trial starts from; carries the search's seed and absolute paths.
        paper: The paper's value of every searched key, of the key's own type.
    """

    config: SweepConfig
    base: Config
    paper: dict[str, Value]

    @property
    def search_base(self) -> Config:
        """What trials of search and race start from: the base, with the search's own budget."""
        budget = self.config.search.max_epochs
        return self.base if budget is None else override(self.base, {"train.max_epochs": budget})

    @property
    def in_search(self) -> "Sweep":
        """The sweep as trials of search and race are given it."""
        return replace(self, base=self.search_base)

    @property
    def race_seeds(self) -> tuple[int, ...]:
        """Seeds of the race, none of which is the search's; empty where there is no race."""
        rules = self.config.racing
        start = self.config.seed + 1 if rules.first_seed is None else rules.first_seed
        return tuple(range(start, start + rules.num_pairs)) if rules.num_candidates else ()

    @property
    def final_seeds(self) -> tuple[int, ...]:
        """Seeds of the re-evaluation; neither search nor race uses one of them."""
        first = self.config.reevaluation.first_seed
        start = max((self.config.seed, *self.race_seeds)) + 1 if first is None else first
        return tuple(range(start, start + self.config.reevaluation.num_seeds))

    def in_precision(self, precision: str | None) -> "Sweep":
        """Return the sweep with `encoder.precision` settled; None leaves it as it is."""
        if precision is None:
            return self
        return replace(self, base=override(self.base, {"encoder.precision": precision}))

    def tree(self, params: Mapping[str, Value], seed: int | None = None) -> dict[str, Any]:
        """Return the RoCORE keys of one configuration, unchecked: a trial reports what is wrong with it."""
        changes: dict[str, Any] = dict(params)
        if seed is not None:
            changes["seed"] = seed
        return with_overrides(self.base.model_dump(mode="json"), changes)


def load_sweep(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Sweep:
    """Read a sweep file and check it, its base configuration and its space.

    Args:
        path: YAML file.
        overrides: Dotted keys. Those that begin with a key of the sweep (`search.num_trials`) change the
            sweep, all others are RoCORE keys. A bare `seed` is the sweep's.

    Raises:
        ConfigError: If a key or a value is wrong; unknown keys come with the nearest valid name.
    """
    from tune.space import check_space

    path = Path(path)
    written = _as_it_began(read_yaml(path), path)
    _check_set_once(written, path)
    config = _parse(set_keys(SweepConfig, written, overrides or {}, _set_own), str(path))
    base = _resolve_base(config, path)
    paper = check_space(config, base)
    config = config.model_copy(
        update={
            "base": base.model_dump(mode="json"),
            "overrides": {},
            "name": config.name or path.stem,
            "paper": paper,
            "search": config.search.model_copy(
                update={"others": tuple(_absolute(place) for place in config.search.others)}
            ),
        }
    )
    sweep = Sweep(config=config, base=base, paper=paper)
    check_budget(sweep)
    check_seeds(sweep)
    check_second_objective(sweep)
    check_limits(sweep)
    check_startup(sweep)
    return sweep


def _as_it_began(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the keys of a sweep's own directory with what its version did: its trials must be scored alike.

    The file there is resolved, so that a key it lacks is a newer one.
    """
    objective = tree.get("objective")
    if not (path.parent / FILE).is_file() or not isinstance(objective, Mapping):
        return tree
    return {**tree, "objective": {**OLDER_OBJECTIVE, **objective}}


def _absolute(place: str) -> str:
    return place if rocore.is_url(place) else str(Path(place).expanduser().resolve())


def _check_set_once(tree: Mapping[str, Any], path: Path) -> None:
    """Refuse a key that stands beside its section: which of them counts would hang on their order."""
    for name in ("overrides", "paper"):
        section = tree.get(name)
        keys = [str(key) for key in section] if isinstance(section, Mapping) else []
        twice = [(outer, key) for outer in keys for key in keys if key.startswith(f"{outer}.")]
        if twice:
            outer, key = twice[0]
            raise ConfigError(
                f"`{name}` must set a key in one place, but has both `{outer}` and `{key}` in {path}; "
                f"write `{key}` within `{outer}`"
            )


def _parse(tree: Mapping[str, Any], where: str) -> SweepConfig:
    search = tree.get("search")
    space = search.get("space") if isinstance(search, Mapping) else None
    for key, dimension in space.items() if isinstance(space, Mapping) else ():
        validated(Dimension, dimension, f"`search.space` of `{key}` in {where}")
    return validated(SweepConfig, tree, where)


def _set_own(tree: dict[str, Any], key: str, value: Any) -> bool:
    """Set a key below `paper` or `search.space`, where RoCORE keys stay dotted."""
    first, _, rest = key.partition(".")
    if first == "paper" and rest:
        set_below(tree, first, rest, value)
    elif key.startswith("search.space.") and key.rpartition(".")[2] in Dimension.model_fields:
        dimension, _, field = key.removeprefix("search.space.").rpartition(".")
        space = tree.setdefault("search", {}).setdefault("space", {})
        space[dimension] = {**space.get(dimension, {}), field: value}
    else:
        return False
    return True


def _resolve_base(config: SweepConfig, path: Path) -> Config:
    keys = known_keys(Config)
    for key in config.overrides:
        if key not in keys:
            raise ConfigError(f"unknown key `{key}` in `overrides` of {path}; {nearest(key, keys)}")
        if key in config.search.space:
            raise ConfigError(
                f"`{key}` is searched, so that setting it has no effect; don't set it, or remove it from "
                f"`search.space` and `paper`"
            )
    tree, where = read_base(config.base, path)
    changes = {**config.overrides, "seed": config.seed}
    return with_absolute_paths(make_config(with_overrides(tree, changes), where))
