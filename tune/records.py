"""What happened to every trial: what the events of a journal add up to."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rocore.errors import CheckpointError
from tune.config import Value
from tune.held import Held
from tune.journal import FILE, Event, read_events

State = str
"""running, complete, pruned or failed."""
PAPER = "paper"
PAUSES = ("begin", "grow", "session", "settle", "add", "space")
"""Events before which no trial was running."""
OF_SEARCH = ("learn", "hold", "limit")
"""Events of the search that belong to no trial of it."""


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
    added: int | None = None
    """Which of the user's own points it is, from 0; None: it was proposed."""

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
            "is_added": self.added is not None,
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


@dataclass(frozen=True)
class LimitReached:
    """A limit that ended the search.

    Attributes:
        key: Of `search`.
        most: Its value.
        used: What was counted, in its unit.
    """

    key: str
    most: float
    used: float


class Records:
    """What the events of a journal add up to.

    Attributes:
        begin: What the sweep began with; empty before.
        precision: What every trial computes in; None before it is settled.
        by_name: Every trial.
        seconds: Time that passed between events, by role; pauses between sessions don't count.
        learned: What the search has heard of other sweeps, in its order.
        added: The user's own points, in their order, tried yet or not.
        limit: What ended the search last; None: no limit has.
        space: What is searched since an extension changed it; None before.
        spaces: What was searched before each change, and how many trials had been proposed by then.
        num_without_gain: Trials of the search that ended well since the last complete one that was the best so far.
        last_at: Time of the last event, in seconds since 1970.
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
        self.added: list[dict[str, Value]] = []
        self.limit: LimitReached | None = None
        self.space: dict[str, Any] | None = None
        self.spaces: list[tuple[int, dict[str, Any]]] = []
        self.num_without_gain = 0
        self.last_at = 0.0
        self._best: float | None = None
        self._held = Held()

    def of(self, role: str) -> list[TrialRecord]:
        """Return the records of a role, by number and name."""
        chosen = [record for record in self.by_name.values() if record.role == role]
        return sorted(chosen, key=lambda record: (record.number, record.name))

    def count(self, role: str) -> int:
        """Return how many trials of a role there are, in every state."""
        return sum(record.role == role for record in self.by_name.values())

    @property
    def waiting_added(self) -> list[int]:
        """The user's own points that haven't been tried, by their places in `added`."""
        tried = {record.added for record in self.by_name.values()}
        return [index for index in range(len(self.added)) if index not in tried]

    def gpu_seconds(self, gpus_per_trial: float, since: float = 0.0) -> float:
        """Return the GPUs that trials of the search have held, times seconds.

        Args:
            gpus_per_trial: Of sessions of older versions, whose journals don't tell it.
            since: Seconds since the last event, for those that hold some now.
        """
        return self._held.gpu_seconds(gpus_per_trial, since)

    def apply(self, event: Event) -> None:
        """Take one event in."""
        kind, at = event["event"], float(event["at"])
        if kind not in PAUSES:
            self._held.pass_time(at - self.last_at)
        if kind == "begin":
            self.begin, self.precision, self.learned = event, None, []
        elif kind == "ask":
            names = ("name", "number", "params", "role", "seed")
            given = {name: event[name] for name in names}
            self.by_name[event["name"]] = TrialRecord(**given, added=event.get("added"))
        elif kind == "session":
            self.history["sessions"] += 1
            self._held.end_session()
        elif kind == "settle":
            self.precision = event["precision"]
        elif kind in ("grow", "learn", "hold", "limit", "add", "space"):
            getattr(self, f"_{kind}")(event)
        else:
            getattr(self, f"_{kind}")(self.by_name[event["name"]], event)
        if kind not in PAUSES:
            role = "search" if kind in OF_SEARCH else self.by_name[event["name"]].role
            self.seconds[role] += at - self.last_at  # type: ignore[assignment]
        self.last_at = at

    def _grow(self, event: Event) -> None:
        self.begin |= {name: value for name, value in event.items() if name not in ("event", "at")}

    def _hold(self, event: Event) -> None:
        self._held.share, self._held.packs = float(event["gpus"]), int(event["packs"])

    def _limit(self, event: Event) -> None:
        self.limit = LimitReached(event["key"], float(event["most"]), float(event["used"]))

    def _add(self, event: Event) -> None:
        self.added.append(dict(event["params"]))

    def _space(self, event: Event) -> None:
        self.spaces.append((self.count("search"), event["before"]))
        self.space = event["space"]

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
        if record.role == "search":
            self._held.names.add(record.name)

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
        self._held.names.discard(record.name)
        self.history.update(lost_processes=1, lost_with_node=int(with_node))
        record.error = event["error"]

    def _end(self, record: TrialRecord, event: Event) -> None:
        record.state, record.error = event["state"], event["error"]
        self._held.names.discard(record.name)
        if record.state == "failed":
            record.objective = record.metrics = None
        elif record.role == "search":
            self._count_gain(record)

    def _count_gain(self, record: TrialRecord) -> None:
        """Count from the first complete trial on; a stopped one is no gain, nor is a failed one a trial without."""
        score = record.objective or 0.0
        if record.state == "complete" and (self._best is None or score > self._best):
            self._best, self.num_without_gain = score, 0
        elif self._best is not None:
            self.num_without_gain += 1


def read_records(directory: Path) -> Records:
    """Return the records of a sweep directory, also while the sweep is running.

    Raises:
        CheckpointError: If its journal is absent or corrupt.
    """
    path = directory / FILE
    records = Records()
    for number, event in enumerate(read_events(path), start=1):
        take_in(records, event, f"{path}, line {number}")
    return records


def take_in(records: Records, event: Event, where: str) -> None:
    """Take in an event that stands in a journal.

    Raises:
        CheckpointError: If it doesn't follow from those before it; `where` says where it stands.
    """
    try:
        records.apply(event)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{where} must follow from the lines before it, but {type(error).__name__}: {error}; "
            "restore the file from a copy, or start the sweep anew in another directory"
        ) from error
