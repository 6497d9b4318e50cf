"""What a sweep shows while it runs: a live table on a terminal, else one line a finished trial."""

import time
from collections.abc import Mapping
from types import TracebackType

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rocore import shown
from tune.config import Value
from tune.names import short_keys, short_value
from tune.records import TrialRecord

MAX_ROWS = 20
METRIC_TEXTS = {"novel_test.b3_f1": "novel-test F1"}
STYLES = {"running": "cyan", "complete": "green", "pruned": "yellow", "failed": "red"}


class Progress:
    """Listens to the ledger and draws; knows no Ray."""

    def __init__(
        self,
        title: str,
        num_trials: int,
        console: Console | None = None,
        metric: str = "novel_test.b3_f1",
    ) -> None:
        """Make a table.

        Args:
            title: What runs.
            num_trials: How many will have run in the end.
            console: Where to; None: standard error.
            metric: Shown of a run on the real split.
        """
        self.title, self.metric = title, metric
        self.num_trials = num_trials
        self.console = console or Console(stderr=True)
        self.records: dict[str, TrialRecord] = {}
        self._starts: dict[str, float] = {}
        self._elapsed: dict[str, float] = {}
        self._begin = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self.table, console=self.console, refresh_per_second=2, transient=False
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def restored(self, record: TrialRecord) -> None:
        """A trial ended in an earlier session."""
        self.records[record.name] = record
        self._elapsed[record.name] = record.seconds

    def started(self, record: TrialRecord) -> None:
        """A trial started, or goes on after its process was lost."""
        self.records[record.name] = record
        self._starts[record.name] = time.monotonic()
        if record.num_starts > 1 and self._live is None:
            click.echo(f"{record.name} lost its process and goes on after {record.epochs} epochs")

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:  # noqa: ARG002
        """A trial finished an epoch."""
        self._elapsed[record.name] = time.monotonic() - self._starts[record.name]

    def ended(self, record: TrialRecord) -> None:
        """A trial ended; one that a killed sweep left at its end has no start here."""
        if record.name in self._starts:
            self._elapsed[record.name] = time.monotonic() - self._starts[record.name]
        else:
            self.restored(record)
        if self._live is None:
            click.echo(self.line(record))

    def best(self) -> TrialRecord | None:
        """Return the search trial with the highest objective of its last epoch so far."""
        scored = [
            record
            for record in self.records.values()
            if record.role == "search" and record.objective is not None and record.state != "failed"
        ]
        return max(scored, key=lambda record: record.objective or 0.0, default=None)

    def line(self, record: TrialRecord) -> str:
        """Return one line on a finished trial."""
        done = sum(other.state != "running" for other in self.records.values())
        figure = record.error if record.state == "failed" else self._score(record)
        return shown(
            f"[{done}/{self.num_trials}] {record.name} {record.state} after {record.epochs} epochs, "
            f"{self._elapsed[record.name]:.0f} s: {figure}  {format_params(record.params)}"
        )

    def table(self) -> Table:
        """Return the table of trials: the running ones and the latest ended ones."""
        done = sum(record.state != "running" for record in self.records.values())
        best = self.best()
        caption = f"{done} of {self.num_trials} done, {_clock(time.monotonic() - self._begin)}"
        if best is not None:
            caption += f"; best so far: {best.name} with {best.objective:.4f}"
        title = Text(shown(self.title))
        table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
        for column in ("trial", "parameters", "phase", "epoch", "score", "state", "elapsed"):
            table.add_column(column, justify="right" if column in ("epoch", "score", "elapsed") else "left")
        for record in self._shown():
            phase = record.curve[-1]["phase"] if record.curve else "starting"
            running = record.state == "running"
            elapsed = time.monotonic() - self._starts[record.name] if running else self._elapsed[record.name]
            name = f"{record.name} (paper)" if record.is_paper else record.name
            state = f"[{STYLES[record.state]}]{record.state}[/]"
            score = "" if record.objective is None else self._score(record)
            params = Text(shown(format_params(record.params)))
            cells = (params, phase, str(record.epochs), score, state, _clock(elapsed))
            table.add_row(name, *cells, style="bold" if best is not None and record is best else None)
        return table

    def _shown(self) -> list[TrialRecord]:
        records = list(self.records.values())
        running = [record for record in records if record.state == "running"]
        ended = [record for record in records if record.state != "running"]
        keep = max(0, MAX_ROWS - len(running))
        return [*(ended[-keep:] if keep else []), *running]

    def _score(self, record: TrialRecord) -> str:
        if record.role == "final":
            value = (record.metrics or {}).get(self.metric)
            name = METRIC_TEXTS.get(self.metric, self.metric)
            return "" if value is None else f"{name} {value:.4f}"
        return "" if record.objective is None else f"objective {record.objective:.4f}"


def format_params(params: Mapping[str, Value]) -> str:
    """Return parameters in short."""
    names = short_keys(params)
    return " ".join(f"{names[key]}={short_value(value)}" for key, value in params.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
