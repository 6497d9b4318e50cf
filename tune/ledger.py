"""What happened to every trial, and the sweep directory that it is written to; knows no Ray."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from rocore.errors import CheckpointError
from tune.config import Value
from tune.journal import FILE, Event, Journal, Sink, read_events
from tune.sweep_directory import SweepDirectory

State = str
"""running, complete, pruned or failed."""
PAPER = "paper"
MAX_LOST_PROCESSES = 2
"""How often in a row, with no epoch in between, a trial may lose its process and go on from its checkpoint."""


def outcome(result: Mapping[str, Any] | None, error: bool = False) -> State:
    """Tell from its last result how a trial ended: only one that reached its own end is complete."""
    if error or not result or result.get("failed") or not math.isfinite(result.get("objective", math.nan)):
        return "failed"
    return "complete" if result.get("finished") else "pruned"


@dataclass
class TrialRecord:
    """One trial of the search, one run of the race, or one seed of the final comparison."""

    name: str
    """`0003` or `paper-seed7`; also the name of its folder."""
    number: int
    params: dict[str, Value]
    role: str = "search"
    seed: int = 0
    state: State = "running"
    objective: float | None = None
    error: str | None = None
    metrics: dict[str, float] | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None
    """Of a trial that reached its own end: `converged` or `max_epochs`."""
    finished: bool = False
    """Whether its last epoch was its own last one; it may not have been told so yet."""
    num_starts: int = 0
    """Processes that it has been given; each has a folder of its own."""
    num_lost: int = 0
    """Processes lost since its last epoch, but for those that went with their node."""

    @property
    def is_paper(self) -> bool:
        """Whether this is the paper's configuration, in the search."""
        return self.role == "search" and self.number == 0

    @property
    def is_running(self) -> bool:
        """Whether its end isn't known; it may be waiting for a process."""
        return self.state == "running"

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return int(self.curve[-1]["epoch"]) if self.curve else 0

    @property
    def seconds(self) -> float:
        """Training time, in seconds."""
        return float(sum(row["seconds"] for row in self.curve))

    def as_json(self) -> dict[str, Any]:
        """Return the entry of results.json."""
        return {
            "number": self.number,
            "params": self.params,
            "objective": self.objective,
            "state": self.state,
            "is_paper": self.is_paper,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "error": self.error,
            "stop_reason": self.stop_reason,
            "curve": self.curve,
        }


@dataclass(frozen=True)
class Learned:
    """A trial of another sweep that this one's search has heard of.

    Attributes:
        sweep: Directory or URL of the other sweep.
        record: The trial; its curve holds the last epoch alone.
        before: How many trials of this search had been proposed by then.
    """

    sweep: str
    record: TrialRecord
    before: int


class Listener(Protocol):
    """Who wants to hear what trials do."""

    def started(self, record: TrialRecord) -> None:
        """A trial is given a process: its first, or another one after a loss or a kill."""

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:
        """A trial finished an epoch; its curve holds it already."""

    def ended(self, record: TrialRecord) -> None:
        """A trial ended; its state says how."""


class Records:
    """What the events of a journal add up to.

    Attributes:
        begin: What the sweep began with; empty before.
        precision: What every trial computes in; None before it is settled.
        by_name: Every trial.
        seconds: Time that passed between events, by role; pauses between sessions don't count.
        learned: What the search has heard of other sweeps, in its order.
        history: How often the sweep was begun or resumed, how many processes of its trials were lost, and of how many
            trials of other sweeps it learned.
    """

    def __init__(self) -> None:
        self.begin: Event = {}
        self.precision: str | None = None
        self.by_name: dict[str, TrialRecord] = {}
        self.learned: list[Learned] = []
        self.seconds: Counter[str] = Counter()
        self.history: Counter[str] = Counter(sessions=0, lost_processes=0, lost_with_node=0, learned=0)
        self._last = 0.0

    def of(self, role: str) -> list[TrialRecord]:
        """Return the records of a role, by number and name."""
        chosen = [record for record in self.by_name.values() if record.role == role]
        return sorted(chosen, key=lambda record: (record.number, record.name))

    def count(self, role: str) -> int:
        """Return how many trials of a role there are, in every state."""
        return sum(record.role == role for record in self.by_name.values())

    def apply(self, event: Event) -> None:
        """Take one event in."""
        kind, at = event["event"], float(event["at"])
        if kind == "begin":
            self.begin, self.precision, self.learned = event, None, []
        elif kind == "ask":
            names = ("name", "number", "params", "role", "seed")
            self.by_name[event["name"]] = TrialRecord(**{name: event[name] for name in names})
        elif kind == "grow":
            self.begin |= {name: value for name, value in event.items() if name not in ("event", "at")}
        elif kind == "session":
            self.history["sessions"] += 1
        elif kind == "settle":
            self.precision = event["precision"]
        elif kind == "learn":
            self._learn(event)
        else:
            getattr(self, f"_{kind}")(self.by_name[event["name"]], event)
        if kind not in ("begin", "grow", "session", "settle"):
            role = "search" if kind == "learn" else self.by_name[event["name"]].role
            self.seconds[role] += at - self._last  # type: ignore[assignment]
        self._last = at

    def _learn(self, event: Event) -> None:
        row = {key: event[key] for key in ("epoch", "phase", "objective", "seconds")}
        record = TrialRecord(
            event["trial"],
            -1,
            event["params"],
            state=event["state"],
            objective=event["objective"],
            curve=[row],
        )
        self.history["learned"] += 1
        self.learned.append(Learned(event["sweep"], record, before=self.count("search")))

    def _start(self, record: TrialRecord, _event: Event) -> None:
        record.num_starts += 1

    def _report(self, record: TrialRecord, event: Event) -> None:
        record.curve.append({key: event[key] for key in ("epoch", "phase", "objective", "seconds")})
        record.objective, record.metrics = float(event["objective"]), event["metrics"]
        record.finished, record.num_lost = event["finished"], 0
        # Journals of older versions don't say it.
        record.stop_reason = event.get("stop_reason")

    def _lose(self, record: TrialRecord, event: Event) -> None:
        # Journals of older versions don't say it.
        with_node = bool(event.get("with_node", False))
        record.num_lost += not with_node
        self.history.update(lost_processes=1, lost_with_node=int(with_node))
        record.error = event["error"]

    def _end(self, record: TrialRecord, event: Event) -> None:
        record.state, record.error = event["state"], event["error"]
        if record.state == "failed":
            record.objective = record.metrics = None


def read_records(directory: Path) -> Records:
    """Return the records of a sweep directory, also while the sweep is running.

    Raises:
        CheckpointError: If its journal is absent or corrupt.
    """
    path = directory / FILE
    records = Records()
    for number, event in enumerate(read_events(path), start=1):
        _replay(records, event, f"{path}, line {number}")
    return records


def _replay(records: Records, event: Event, where: str) -> None:
    try:
        records.apply(event)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{where} must follow from the lines before it, but {type(error).__name__}: {error}; "
            "restore the file from a copy, or start the sweep anew in another directory"
        ) from error


class Ledger:
    """The records of all trials: written to the journal first, then taken in, then told to listeners.

    Whatever is told twice (Ray says some things more than once) counts once.
    """

    def __init__(
        self, directory: SweepDirectory, listeners: tuple[Listener, ...] = (), sink: Sink | None = None
    ) -> None:
        """Open the journal of a sweep directory and take in what stands there.

        Args:
            directory: Of the sweep.
            listeners: Told of everything.
            sink: Where the journal is copied to before anything acts on a line.

        Raises:
            ConfigError: If another process runs this sweep.
            CheckpointError: If the journal is corrupt.
        """
        self.directory = directory
        self.listeners = listeners
        self.journal = Journal(directory.root / FILE, sink, directory.resume_command)
        self.state = Records()
        try:
            for number, event in enumerate(self.journal.events, start=1):
                _replay(self.state, event, f"{self.journal.path}, line {number}")
        except CheckpointError:
            self.close()
            raise

    @property
    def records(self) -> dict[str, TrialRecord]:
        """Every trial by name."""
        return self.state.by_name

    def of(self, role: str) -> list[TrialRecord]:
        """Return the records of a role, by number and name."""
        return self.state.of(role)

    def past(self, role: str) -> list[Event]:
        """Return what stood in the journal about trials of a role when it was opened."""
        names = {record.name for record in self.of(role)}
        return [event for event in self.journal.events if event.get("name") in names]

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Note what the sweep runs on, anew until it has tried something, and that a session begins."""
        if not self.records:
            self._write("begin", **facts)
        self._write("session")

    def grow(self, facts: Mapping[str, Any]) -> None:
        """Note facts that replace those that it began with, where they differ."""
        if any(self.state.begin.get(name) != now for name, now in facts.items()):
            self._write("grow", **facts)

    def settle(self, precision: str) -> None:
        """Note what every trial computes in, once: a sweep that is resumed elsewhere keeps it."""
        if self.state.precision is None:
            self._write("settle", precision=precision)

    def ask(self, record: TrialRecord) -> None:
        """Note that a trial was proposed."""
        if record.name not in self.records:
            self._write(
                "ask",
                name=record.name,
                number=record.number,
                role=record.role,
                seed=record.seed,
                params=record.params,
            )

    def start(self, record: TrialRecord) -> TrialRecord:
        """Note that a trial is given a process; return the ledger's own record of it."""
        self.ask(record)
        self._write("start", name=record.name)
        for listener in self.listeners:
            listener.started(self.records[record.name])
        return self.records[record.name]

    def report(self, name: str, result: Mapping[str, Any]) -> None:
        """Note an epoch. One that is trained again, from an older checkpoint, stands as it was first told."""
        record = self.records[name]
        if record.state != "running" or result["epoch"] <= record.epochs:
            return
        scalars = result.get("scalars") or {}
        kept = ("epoch", "joint_epoch", "phase", "objective", "seconds", "finished", "stop_reason", "metrics")
        self._write("report", name=name, **{key: result.get(key) for key in kept}, scalars=scalars)
        for listener in self.listeners:
            listener.advanced(record, scalars)

    def lose(self, name: str, error: str, *, again: bool, with_node: bool = False) -> bool:
        """Note that a trial's process was lost.

        Args:
            name: The trial.
            error: Why, in one line.
            again: Whether another process may do better.
            with_node: Whether it went with its node, which isn't the trial's fault and doesn't count against it.

        Returns:
            Whether the trial goes on in another process; if not, it has failed.
        """
        record = self.records[name]
        if record.state != "running":
            return False
        if again and (with_node or record.num_lost < MAX_LOST_PROCESSES):
            self._write("lose", name=name, error=error, with_node=with_node)
            return True
        self.end(name, "failed", error)
        return False

    def end(self, name: str, state: State, error: str | None = None, traceback: str | None = None) -> None:
        """Note how a trial ended."""
        record = self.records[name]
        if record.state != "running":
            return
        cause = (error or "no epoch was reported") if state == "failed" else None
        self._write("end", name=name, state=state, error=cause)
        if cause is not None:
            text = cause + (f"\n\n{traceback}" if traceback else "")
            (self.directory.folder(record) / "error.txt").write_text(text + "\n", encoding="utf-8")
        for listener in self.listeners:
            listener.ended(record)

    def learn(self, sweep: str, record: TrialRecord) -> Learned:
        """Note a trial of another sweep that has ended, before the search hears of it."""
        kept = {"trial": record.name, "params": record.params, "state": record.state}
        self._write("learn", sweep=sweep, **kept, **record.curve[-1])
        return self.state.learned[-1]

    def close(self) -> None:
        """Let another process run this sweep."""
        self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, event: str, **fields: Any) -> None:
        self.state.apply(self.journal.write({"event": event, **fields}))


def timestamp() -> str:
    """Return the local time with its offset, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
