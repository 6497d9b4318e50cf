"""One whole experiment: prepare, run every setting with every seed, compare, report; new or resumed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import rocore
from rocore.errors import CheckpointError, SweepError
from tune.curves import CurveLogger
from tune.experiments.checks import check_here
from tune.experiments.config import Experiment, load_experiment
from tune.experiments.growth import check_growth
from tune.experiments.preparation import Facts, prepare_experiment, trunk_needs
from tune.experiments.report import verdicts, write_experiment_report
from tune.experiments.results import ExperimentResults
from tune.experiments.runs import ROLE, run_specs, tensorboard_rows, tensorboard_run
from tune.interruption import stoppable
from tune.ledger import Ledger
from tune.progress import Progress
from tune.records import TrialRecord
from tune.session import Echo, begun_precision, prepare_once, run_steps, write_begin
from tune.sweep_directory import CONFIG, SweepDirectory, check_is_no_run, is_experiment
from tune.tensorboard import write_table

if TYPE_CHECKING:
    from tune.trial import Trial


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
    check_here(out)
    directory = ExperimentDirectory(out.resolve())
    directory.check_free()
    facts = _prepare(experiment, prepare, echo)
    directory.create()
    return _run(experiment, directory, facts, echo, trainable)


def resume_experiment(
    out: Path,
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    echo: Echo = lambda _text: None,
    trainable: "type[Trial] | None" = None,
    prepare: Callable[[Experiment], Facts] = prepare_experiment,
) -> ExperimentResult:
    """Go on with the experiment of a directory: runs that ended stay, those that were cut off go on, the rest comes.

    Args:
        out: The directory.
        file: The experiment's file, which may name more seeds, settings and data sets than it did; None: as it began.
        overrides: Dotted keys that say anew where and with what runs run, or add such; kept from then on.
        echo: Told what begins.
        trainable: Runs the trials; None: `tune.trial.Trial`.
        prepare: Runs once, before any trial.

    Raises:
        CheckpointError: If the directory holds no experiment, its journal is corrupt, or data or encoder have changed.
        ConfigError: If what runs so far have computed would change.
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
    experiment = load_experiment(file or directory.root / CONFIG, overrides)
    check_growth(load_experiment(directory.root / CONFIG).config, experiment.config)
    check_here(out)
    facts = _prepare(experiment.in_precision(begun_precision(directory.root)), prepare, echo)
    return _run(experiment, directory, facts, echo, trainable)


def _prepare(experiment: Experiment, prepare: Callable[[Experiment], Facts], echo: Echo) -> Facts:
    resources = experiment.config.resources
    what = "data, encoders and frozen trunks" if resources.address is None else "data and encoders"
    facts = prepare_once(resources, lambda: prepare(experiment), what, echo)
    for warning in _twins(experiment):
        echo(f"note: {warning}")
    return facts


def _twins(experiment: Experiment) -> list[str]:
    """Say which settings are the same: their runs will be, too."""
    first: dict[str, str] = {}
    found = []
    for name, config in experiment.configurations.items():
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
        write_begin(self.ledger, self.experiment.config, self.facts.environment, same, may_grow=True)

    def settle(self) -> None:
        """Settle the precision that runs compute in where their setting leaves it open; on a cluster, its nodes do.

        Those build the frozen trunks, too.
        """
        precision = self.ledger.state.precision or self.facts.precision
        if self.facts.on_nodes and len(self.ended) < self.experiment.num_runs:
            from tune.ray_trunks import build_trunks

            precision = build_trunks(trunk_needs(self.experiment.in_precision(precision)), self.echo)
        if precision is not None:
            self.ledger.settle(precision)

    def train(self) -> None:
        """Run what isn't done."""
        from tune import ray_backend

        done = f", {len(self.ended)} of them done" if self.ended else ""
        self.echo(f"{len(self.experiment.config.settings)} settings, {self.experiment.num_runs} runs{done}")
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
        rows = tensorboard_rows(self.experiment, self.ended)
        metrics = dict.fromkeys((results.metric, *(name for run in results.runs for name in run.metrics)))
        write_table(root, rows, list(metrics))
        return results
