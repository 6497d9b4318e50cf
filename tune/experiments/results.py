"""results.json of an experiment: one typed model, written and read by the same class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError

import rocore
from rocore.config import Section
from rocore.errors import CheckpointError
from tune.config import Value
from tune.experiments.config import Experiment
from tune.experiments.preparation import Facts
from tune.ledger import timestamp
from tune.records import TrialRecord
from tune.repetitions import compare_each, finished, run_name, setting_of, summarize_runs
from tune.report.results import Results
from tune.statistics import Comparison, detectable

FILE = "results.json"
SCHEMA = 1


class FailedSeed(Section):
    """A run that didn't reach its end."""

    seed: int
    error: str


class MetricSummary(Section):
    """One metric over the seeds that finished; see `tune.statistics.Summary`."""

    mean: float
    std: float | None
    n: int
    values: tuple[float, ...]
    ci95: tuple[float, float] | None


class ComparisonSummary(Section):
    """A setting against the reference, paired by seed; see `tune.statistics.Comparison`."""

    difference: float | None
    std: float | None
    ci95: tuple[float, float] | None
    p_value: float | None
    probability_better: float | None
    num_pairs: int
    num_better: int
    num_compared: int
    detectable: float | None
    """True difference that so many pairs of this spread see four times in five; null for fewer than two pairs."""

    @property
    def comparison(self) -> Comparison:
        """The same for `tune.statistics`."""
        return Comparison(**self.model_dump(exclude={"detectable"}))


class SettingSummary(Section):
    """One setting; of several data sets, on one of them."""

    name: str
    """Of the setting, and of the data set where there are several: `paper-on-fewrel`."""
    data_set: str | None = None
    params: dict[str, Value]
    """Values of the keys in which settings or data sets differ."""
    seeds: tuple[int, ...]
    """That finished, ascending; metrics have their values in this order."""
    stop_reasons: tuple[str | None, ...]
    failed_seeds: tuple[FailedSeed, ...]
    metrics: dict[str, MetricSummary]
    seconds: float
    """Training time of all its runs."""
    against_reference: ComparisonSummary | None
    """Null of the reference itself, without one, and where `shares_data` is false."""
    shares_data: bool
    """Whether its data are the reference's, so that equal seeds make pairs."""

    @property
    def setting(self) -> str:
        """The setting's own name."""
        return setting_of(self.name, self.data_set)


class RunSummary(Section):
    """One run."""

    name: str
    """Its folder below runs/."""
    setting: str
    data_set: str | None = None
    seed: int
    state: Literal["complete", "failed", "running"]
    epochs: int
    seconds: float
    stop_reason: str | None
    error: str | None
    metrics: dict[str, float]


class ExperimentResults(Section):
    """What an experiment found."""

    kind: Literal["experiment"] = "experiment"
    version: Literal[1] = 1
    name: str
    created: str
    status: Literal["interrupted", "complete"]
    synthetic: bool
    metric: str
    reference: str | None
    seeds: tuple[int, ...]
    data_sets: tuple[str, ...] = ()
    """Names; empty where there is but one."""
    settings: tuple[SettingSummary, ...]
    runs: tuple[RunSummary, ...]
    data: tuple[dict[str, Any], ...]
    encoders: tuple[str, ...]
    history: dict[str, int]
    environment: dict[str, Any]

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        facts: Facts,
        records: Sequence[TrialRecord],
        history: dict[str, int],
        status: Literal["interrupted", "complete"],
    ) -> Self:
        """Sum up the runs so far."""
        config = experiment.config
        ended = [record for record in records if not record.is_running]
        return cls(
            name=config.name,
            created=timestamp(),
            status=status,
            synthetic=facts.synthetic,
            metric=config.metric,
            reference=config.reference,
            seeds=config.seeds,
            data_sets=tuple(config.data_sets),
            settings=_settings(experiment, ended),
            runs=_runs(experiment, records),
            data=facts.data,
            encoders=tuple(dict.fromkeys(each.encoder.name for each in experiment.configurations.values())),
            history=history,
            environment=facts.environment,
        )

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            CheckpointError: If results.json is absent, torn or of another kind or version.
        """
        path = directory / FILE
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{directory} must be an experiment's directory that holds {FILE}, but it doesn't; it is written when "
                f"the experiment ends (rocore experiment --resume {directory})"
            ) from error
        except ValidationError as error:
            raise CheckpointError(
                f"{path} must hold the results of an experiment, of version {SCHEMA}, but {error.error_count()} things "
                f"in it aren't so, the first one: {error.errors()[0]['loc']}, {error.errors()[0]['msg']}; use the "
                "version of rocore-tune that wrote it"
            ) from error

    def write(self, directory: Path) -> None:
        """Write results.json in one step."""
        text = self.model_dump_json(indent=1)
        rocore.write_atomically(directory / FILE, text + "\n")

    @property
    def failed(self) -> tuple[RunSummary, ...]:
        """Runs that failed."""
        return tuple(run for run in self.runs if run.state == "failed")

    @property
    def each_data_set(self) -> tuple[str | None, ...]:
        """Names of the data sets; None stands for the only one."""
        return self.data_sets or (None,)

    def on(self, data_set: str | None) -> list[SettingSummary]:
        """Return the settings on a data set."""
        return [setting for setting in self.settings if setting.data_set == data_set]

    def view(
        self, directory_name: str = "experiment", config_yaml: str = "", data_set: str | None = None
    ) -> Results:
        """Return the same as the parts of a report take it that it shares with a sweep's.

        Args:
            directory_name: Last part of the directory's path.
            config_yaml: The resolved file.
            data_set: The one that it is about; None: all.
        """
        shown = [each for each in self.settings if data_set in (None, each.data_set)]
        tree = self.model_dump(mode="json", exclude={"settings", "runs", "data"})
        final = [setting.model_dump(mode="json") for setting in shown]
        if data_set is not None:
            # What tells data sets apart is the same within one.
            differing = [
                key for key in shown[0].params if len({repr(each.params[key]) for each in shown}) > 1
            ]
            for setting, entry in zip(shown, final, strict=True):
                entry |= {"name": setting.setting, "params": {key: entry["params"][key] for key in differing}}
        one_encoder = {"name": self.encoders[0]} if len(self.encoders) == 1 else {}
        tree |= {"final": final, "data": self.data[0] if len(self.data) == 1 else {}, "encoder": one_encoder}
        return Results({**tree, "data_set": data_set}, directory_name, config_yaml)


def _settings(experiment: Experiment, ended: Sequence[TrialRecord]) -> tuple[SettingSummary, ...]:
    compared = compare_each(experiment.references, ended, experiment.config.metric)
    return tuple(
        SettingSummary.model_validate(
            {
                **summarize_runs(name, params, ended),
                "data_set": experiment.parts[name][1],
                "against_reference": _as_summary(compared[name]) if name in compared else None,
                "shares_data": experiment.shares_data(name),
            }
        )
        for name, params in experiment.params.items()
    )


def _as_summary(comparison: Comparison) -> dict[str, Any]:
    return {**vars(comparison), "detectable": detectable(comparison)}


def _runs(experiment: Experiment, records: Sequence[TrialRecord]) -> tuple[RunSummary, ...]:
    by_name = {record.name: record for record in records}
    return tuple(
        _run(*parts, by_name[run_name(name, seed)])
        for name, parts in experiment.parts.items()
        for seed in experiment.config.seeds
        if run_name(name, seed) in by_name
    )


def _run(setting: str, data_set: str | None, record: TrialRecord) -> RunSummary:
    state: Any = "complete" if finished(record) else "running" if record.is_running else "failed"
    return RunSummary(
        name=record.name,
        setting=setting,
        data_set=data_set,
        seed=record.seed,
        state=state,
        epochs=record.epochs,
        seconds=record.seconds,
        stop_reason=record.stop_reason,
        error=record.error,
        metrics=record.metrics or {},
    )
