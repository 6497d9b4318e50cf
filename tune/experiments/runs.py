"""The runs of an experiment: every configuration with every seed; their specifications and their names."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rocore.config import Config
from tune.config import Value
from tune.experiments.config import Experiment
from tune.experiments.preparation import trunk_groups
from tune.records import TrialRecord
from tune.repetitions import configuration_of, run_name
from tune.specification import num_threads, spec_of
from tune.tensorboard import TableRow

ROLE = "final"
"""A run is what a sweep's final comparison consists of."""


def run_specs(experiment: Experiment) -> list[dict[str, Any]]:
    """Return one specification a seed and setting, seed by seed, so that pairs end close together."""
    # Where a trunk went, by pruning, the first run builds those of all settings in one pass.
    layers: dict[str, set[int]] = {}
    for config, found in trunk_groups(experiment):
        layers.setdefault(_encoder_of(config), set()).update(found)
    params = experiment.params
    return [
        _spec(experiment, name, params[name], seed, layers[_encoder_of(experiment.configurations[name])])
        for seed in experiment.config.seeds
        for name in experiment.configurations
    ]


def tensorboard_run(record: TrialRecord) -> str:
    """Return the name of a run's curves: SETTING/seedN."""
    return f"{configuration_of(record)}/seed{record.seed}"


def tensorboard_rows(experiment: Experiment, records: Iterable[TrialRecord]) -> list[TableRow]:
    """Return the rows of the table of hyper-parameters."""
    parts, params = experiment.parts, experiment.params
    rows = []
    for record in records:
        name = configuration_of(record)
        setting, data_set = parts[name]
        on: dict[str, Value] = {} if data_set is None else {"data_set": data_set}
        hyper = {"setting": setting, **on, "seed": record.seed, **params[name]}
        rows.append(TableRow(tensorboard_run(record), hyper, failed=record.state == "failed"))
    return rows


def _spec(
    experiment: Experiment, name: str, params: Mapping[str, Value], seed: int, layers: Collection[int]
) -> dict[str, Any]:
    config = experiment.configurations[name]
    record = TrialRecord(run_name(name, seed), seed, dict(params), role=ROLE, seed=seed)
    threads = num_threads(config, experiment.config.resources)
    return spec_of(record, config.model_dump(mode="json"), layers, threads, experiment.config.trial)


def _encoder_of(config: Config) -> str:
    return config.encoder.model_dump_json(exclude={"output_layer"})
