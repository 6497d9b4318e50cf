"""What a trial is told: a plain mapping that travels to any node."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from rocore.config import Config, override
from tune.config import ResourcesConfig, Sweep, TrialConfig, Value
from tune.records import TrialRecord
from tune.repetitions import run_name
from tune.space import trunk_configs


def trial_name(number: int) -> str:
    """Return the name of search trial `number`; 0 is the paper's configuration."""
    return f"{number:04d}"


def search_spec(sweep: Sweep, number: int, params: Mapping[str, Value]) -> dict[str, Any]:
    """Return the specification of search trial `number`."""
    seed = sweep.config.seed
    return _spec(
        sweep.in_search, name=trial_name(number), role="search", number=number, params=params, seed=seed
    )


def final_spec(sweep: Sweep, name: str, params: Mapping[str, Value], seed: int) -> dict[str, Any]:
    """Return the specification of one seed of the final comparison."""
    return _spec(sweep, name=run_name(name, seed), role="final", number=seed, params=params, seed=seed)


def race_name(name: str, split: int, seed: int) -> str:
    """Return the name of one run of the race."""
    return f"{name}-split{split}-seed{seed}"


def race_spec(
    sweep: Sweep, name: str, params: Mapping[str, Value], number: int, split: int, seed: int
) -> dict[str, Any]:
    """Return the specification of one run of the race: the search's objective on another, single fold."""
    name = race_name(name, split, seed)
    spec = _spec(sweep.in_search, name=name, role="race", number=number, params=params, seed=seed)
    return {**spec, "objective": {**spec["objective"], "seed": split, "num_folds": 1}}


def record_of(spec: Mapping[str, Any]) -> TrialRecord:
    """Return the record that a trial starts with."""
    return TrialRecord(
        name=spec["name"],
        number=spec["number"],
        params=dict(spec["params"]),
        role=spec["role"],
        seed=spec["seed"],
        added=spec.get("added"),
    )


def trial_base(sweep: Sweep) -> Config:
    """Return what every trial starts from."""
    return on_share(sweep.base, sweep.config.resources)


def on_share(config: Config, resources: ResourcesConfig) -> Config:
    """Return a configuration as a trial runs it: without a GPU share it must not take a GPU that it happens to see."""
    if resources.gpus_per_trial == 0 and config.train.device == "auto":
        return override(config, {"train.device": "cpu"})
    return config


def num_threads(config: Config, resources: ResourcesConfig) -> int:
    """Return the threads of a trial."""
    return config.train.num_threads or max(1, int(resources.cpus_per_trial))


def spec_of(
    record: TrialRecord, tree: dict[str, Any], layers: Collection[int], threads: int, trial: TrialConfig
) -> dict[str, Any]:
    """Return the specification of a trial.

    Args:
        record: Names it.
        tree: Its RoCORE keys.
        layers: Output layers whose trunks its node builds in one pass, where they aren't in its cache.
        threads: Of its process.
        trial: How trials run.
    """
    tree = {**tree, "seed": record.seed, "cache": {**tree["cache"], "layers": sorted(layers)}}
    return {
        "name": record.name,
        "role": record.role,
        "number": record.number,
        "params": record.params,
        "seed": record.seed,
        "config": tree,
        "num_threads": threads,
        "checkpoint_share": trial.checkpoint_share,
    }


def _spec(
    sweep: Sweep, *, name: str, role: str, number: int, params: Mapping[str, Value], seed: int
) -> dict[str, Any]:
    tree = replace(sweep, base=trial_base(sweep)).tree(params, seed)
    # A node that lacks a trunk builds those of the whole search in one pass, before its first trial trains.
    configs = trunk_configs(sweep.base, sweep.config.search.space)
    layers = {config.encoder.output_layer for config in configs}
    record = TrialRecord(name, number, dict(params), role=role, seed=seed)
    spec = spec_of(record, tree, layers, num_threads(sweep.base, sweep.config.resources), sweep.config.trial)
    return {**spec, "objective": sweep.config.objective.model_dump(mode="json")}
