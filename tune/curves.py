"""The curves of trials, written to TensorBoard as they grow."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tune.records import TrialRecord
from tune.tensorboard import TrialLogger


class CurveLogger:
    """Listens to the ledger; one TensorBoard run a trial."""

    def __init__(self, directory: Path, run_of: Callable[[TrialRecord], str] | None = None) -> None:
        """Make a listener.

        Args:
            directory: Holds the folder of all runs.
            run_of: Names a trial's run; None: by the trial and its parameters.
        """
        self.directory, self.run_of = directory, run_of
        self._open: dict[str, TrialLogger] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the runs of trials that were cut off."""
        for logger in self._open.values():
            logger.close()

    def started(self, record: TrialRecord) -> None:
        """Open the trial's run, once: a trial that goes on in another process keeps it."""
        if record.name in self._open:
            return
        name = record.name if self.run_of is None else self.run_of(record)
        params = record.params if self.run_of is None else None
        self._open[record.name] = TrialLogger(self.directory, name, params)

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:
        """Write an epoch: losses and label-free figures, the objective of a search trial, final metrics."""
        figures = dict(scalars)
        if record.role == "search" and record.objective is not None:
            figures["objective"] = record.objective
        self._open[record.name].log(record.epochs, {**figures, **(record.metrics or {})})

    def ended(self, record: TrialRecord) -> None:
        """Close the trial's run; one that a killed sweep left at its end has none here."""
        if record.name in self._open:
            self._open.pop(record.name).close()
