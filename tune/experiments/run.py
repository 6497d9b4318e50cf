"""One whole experiment: prepare, run every setting with every seed, compare, report; new or resumed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import rocore
from rocore.config import Config
from rocore.errors import CheckpointError, SweepError
from tune.config import Value
from tune.curves import CurveLogger
from tune.experiments.config import Experiment, check_here, load_experiment
from tune.experiments.preparation import Facts, prepare_experiment, trunk_groups
from tune.experiments.report import verdicts, write_experiment_report
from tune.experiments.results import ExperimentResults
from tune.interruption import stoppable
from tune.ledger import Ledger
from tune.progress import Progress
from tune.records import TrialRecord
from tune.repetitions import configuration_of, run_name
from tune.resumption import check_same_computation
from tune.session import Echo, begun_precision, prepare_once, run_steps, write_begin
from tune.specification import num_threads
from tune.sweep_directory import CONFIG, SweepDirectory, check_is_no_run, is_experiment
from tune.tensorboard import TableRow, write_table

if TYPE_CHECKING:
    from tune.trial import Trial

ROLE = "final"
"""A run is what a sweep's final comparison consists of."""


class ExperimentDirectory(SweepDirectory):
    """The folder that an experiment leaves behind."""

    what: ClassVar[str] = "experiment"
    command: ClassVar[str] = "rocore experiment"
    folders: ClassVar[Mapping[str, str]] = {ROLE: "runs"}


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment ended with.

    Attributes:
        directory: Its directory.
        results: What results.json holds.
        verdicts: What the comparison shows, sentence by sentence.
    """

    directory: Path
    results: ExperimentResults
    verdicts: tuple[str, ...]


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    echo: Echo = lambda _text: None,
    trainable: "type[Trial] | None" = None,
    prepare: Callable[[Experiment], Facts] = prepare_experiment,
) -> ExperimentResult:
    """Run an experiment into a new directory.

    Args:
        experiment: What to do.
        out: The directory; new or empty.
        echo: Told what begins.
        trainable: Runs the trials; None: `tune.trial.Trial`.
        prepare: Runs once, before any trial.

    Raises:
        ConfigError: If the directory is in use, or data or resources don't serve a setting.
        SweepError: If every run failed.
        SweepInterrupted: If it was stopped.
        DiskFullError: If no space is left.
    """
    check_here(experiment, out)
    directory = ExperimentDirectory(out.resolve())
    directory.check_free()
    facts = _prepare(experiment, prepare, echo)
    directory.create()
    return _run(experiment, directory, facts, echo, trainable)


def resume_experiment(
    out: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    echo: Echo = lambda _text: None,
    trainable: "type[Trial] | None" = None,
    prepare: Callable[[Experiment], Facts] = prepare_experiment,
) -> ExperimentResult:
    """Go on with the experiment of a directory: runs that ended stay, those that were cut off go on, the rest comes.

    Args:
        out: The directory.
        overrides: Dotted keys that say anew where and with what runs run; kept from then on.
        echo: Told what begins.
        trainable: Runs the trials; None: `tune.trial.Trial`.
        prepare: Runs once, before any trial.

    Raises:
        CheckpointError: If the directory holds no experiment, its journal is corrupt, or data or encoder have changed.
        ConfigError: If an override would change what runs compute.
        RocoreError: Like `run_experiment`.
    """
    directory = ExperimentDirectory(out.resolve())
    check_is_no_run(directory.root)
    if not (directory.root / CONFIG).is_file():
        raise CheckpointError(
            f"{out} must be an experiment's directory that holds {CONFIG}, but it doesn't; start one with "
            f"`rocore experiment FILE --out {out}`"
        )
    if not is_experiment(directory.root):
        raise CheckpointError(
            f"{out} must be an experiment's directory, but is a sweep's; go on with it with "
            f"`rocore sweep --resume {out}`"
        )
    rocore.check_folder(directory.root, "the experiment's directory")
    experiment = load_experiment(directory.root / CONFIG)
    if overrides:
        wanted = load_experiment(directory.root / CONFIG, overrides)
        check_same_computation(experiment.config, wanted.config, what="experiment")
        experiment = wanted
    check_here(experiment, out)
    facts = _prepare(experiment.in_precision(begun_precision(directory.root)), prepare, echo)
    return _run(experiment, directory, facts, echo, trainable)


def run_specs(experiment: Experiment) -> list[dict[str, Any]]:
    """Return one specification a seed and setting, seed by seed, so that pairs end close together."""
    layers: dict[str, set[int]] = {}
    for config, found in trunk_groups(experiment):
        layers.setdefault(_encoder_of(config), set()).update(found)
    params = experiment.params
    return [
        _spec(experiment, name, params[name], seed, layers)
        for seed in experiment.config.seeds
        for name in experiment.settings
    ]


def tensorboard_run(record: TrialRecord) -> str:
    """Return the name of a run's curves: SETTING/seedN."""
    return f"{configuration_of(record)}/seed{record.seed}"


def _spec(
    experiment: Experiment, name: str, params: Mapping[str, Value], seed: int, layers: Mapping[str, set[int]]
) -> dict[str, Any]:
    config, resources = experiment.settings[name], experiment.config.resources
    tree = {**config.model_dump(mode="json"), "seed": seed}
    # Where a trunk went, by pruning, the first run builds those of all settings in one pass.
    tree["cache"]["layers"] = sorted(layers[_encoder_of(config)])
    return {
        "name": run_name(name, seed),
        "role": ROLE,
        "number": seed,
        "params": dict(params),
        "seed": seed,
        "config": tree,
        "num_threads": num_threads(config, resources),
        "checkpoint_share": experiment.config.trial.checkpoint_share,
    }


def _encoder_of(config: Config) -> str:
    return config.encoder.model_dump_json(exclude={"output_layer"})


def _prepare(experiment: Experiment, prepare: Callable[[Experiment], Facts], echo: Echo) -> Facts:
    what = "data, encoders and frozen trunks"
    facts = prepare_once(experiment.config.resources, lambda: prepare(experiment), what, echo)
    for warning in _twins(experiment):
        echo(f"note: {warning}")
    return facts


def _twins(experiment: Experiment) -> list[str]:
    """Say which settings are the same: their runs will be, too."""
    first: dict[str, str] = {}
    found = []
    for name, config in experiment.settings.items():
        other = first.setdefault(config.model_dump_json(), name)
        if other != name:
            found.append(
                f"settings {other} and {name} are the same configuration, and will have the same figures"
            )
    return found


def _run(
    experiment: Experiment,
    directory: ExperimentDirectory,
    facts: Facts,
    echo: Echo,
    trainable: "type[Trial] | None",
) -> ExperimentResult:
    from tune.trial import Trial

    with Ledger(directory) as ledger, stoppable():
        steps = _Steps(experiment, directory, facts, echo, trainable or Trial, ledger)
        return run_steps(steps, ledger, experiment.config.resources, echo)


class _Steps:
    """The steps of one experiment; see `tune.session.Steps`."""

    def __init__(
        self,
        experiment: Experiment,
        directory: ExperimentDirectory,
        facts: Facts,
        echo: Echo,
        trainable: "type[Trial]",
        ledger: Ledger,
    ) -> None:
        self.experiment, self.directory, self.facts = experiment, directory, facts
        self.echo, self.trainable, self.ledger = echo, trainable, ledger

    @property
    def ended(self) -> list[TrialRecord]:
        """Runs that have ended."""
        return [record for record in self.ledger.of(ROLE) if not record.is_running]

    def begin(self) -> None:
        """Write down what the experiment is, or check that it is still the same.

        Raises:
            ConfigError: If data or encoder have changed since it began.
        """
        same = {"fingerprints": self.facts.fingerprints, "files": self.facts.files}
        write_begin(self.ledger, self.experiment.config, self.facts.environment, same)

    def settle(self) -> None:
        """Settle the precision that runs compute in where their setting leaves it open."""
        precision = self.ledger.state.precision or self.facts.precision
        if precision is not None:
            self.ledger.settle(precision)

    def train(self) -> None:
        """Run what isn't done."""
        from tune import ray_backend

        done = f", {len(self.ended)} of them done" if self.ended else ""
        self.echo(f"{len(self.experiment.settings)} settings, {self.experiment.num_runs} runs{done}")
        given = self.experiment.in_precision(self.ledger.state.precision)
        with (
            Progress(self.experiment.config.name, given.num_runs, metric=given.config.metric) as progress,
            CurveLogger(self.directory.root, tensorboard_run) as curves,
        ):
            for record in self.ended:
                progress.restored(record)
            self.ledger.listeners = (progress, curves)
            ray_backend.run_all(given, run_specs(given), self.ledger, self.trainable)

    def conclude(self) -> ExperimentResult:
        """Compare and report.

        Raises:
            SweepError: If no run ended well.
        """
        results = self._write("complete")
        if len(results.failed) == len(results.runs):
            raise SweepError(
                f"at least one run must end well, but all {len(results.runs)} failed; see error.txt in "
                f"{self.directory.root / 'runs'}; the first one: {results.failed[0].error}"
            )
        return ExperimentResult(self.directory.root, results, tuple(verdicts(results)))

    def write_partial(self) -> None:
        """Report what is known, where anything has ended."""
        if self.ended:
            self._write("interrupted")

    def _write(self, status: Literal["interrupted", "complete"]) -> ExperimentResults:
        records, root = self.ledger.of(ROLE), self.directory.root
        history = dict(self.ledger.state.history)
        results = ExperimentResults.of(self.experiment, self.facts, records, history, status)
        results.write(root)
        write_experiment_report(root)
        rows = [
            TableRow(
                tensorboard_run(record),
                {"setting": configuration_of(record), "seed": record.seed, **record.params},
                failed=record.state == "failed",
            )
            for record in self.ended
        ]
        metrics = dict.fromkeys((results.metric, *(name for run in results.runs for name in run.metrics)))
        write_table(root, rows, list(metrics))
        return results
