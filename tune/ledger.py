"""The ledger of a sweep: what happens to its trials is written down, taken in and told; knows no Ray."""

import time
from collections.abc import Mapping
from typing import Any, Protocol, Self

from rocore.errors import CheckpointError
from tune.config import Value
from tune.journal import FILE, Event, Journal, Sink
from tune.records import Learned, LimitReached, Records, State, TrialRecord, take_in
from tune.sweep_directory import SweepDirectory

MAX_LOST_PROCESSES = 2
"""How often in a row, with no epoch in between, a trial may lose its process and go on from its checkpoint."""


class Listener(Protocol):
    """Who wants to hear what trials do."""

    def started(self, record: TrialRecord) -> None:
        """A trial is given a process: its first, or another one after a loss or a kill."""

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:
        """A trial finished an epoch; its curve holds it already."""

    def ended(self, record: TrialRecord) -> None:
        """A trial ended; its state says how."""


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
                take_in(self.state, event, f"{self.journal.path}, line {number}")
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
                **({} if record.added is None else {"added": record.added}),
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

    def hold(self, gpus: float, num_packs: int) -> None:
        """Note what the search holds in this session: GPUs of a trial, or of each of its packs."""
        self._write("hold", gpus=gpus, packs=num_packs)

    def reach(self, limit: LimitReached) -> None:
        """Note, once, that a limit has ended the search."""
        if self.state.limit is None or (self.state.limit.key, self.state.limit.most) != (
            limit.key,
            limit.most,
        ):
            self._write("limit", key=limit.key, most=limit.most, used=round(limit.used, 6))

    def add(self, params: Mapping[str, Value]) -> None:
        """Note a point of the user's own, to be tried first."""
        self._write("add", params=dict(params))

    def change_space(self, before: Mapping[str, Any], space: Mapping[str, Any]) -> None:
        """Note what is searched from now on, where it isn't what was."""
        known = before if self.state.space is None else self.state.space
        if self.records and known != space:
            self._write("space", before=dict(known), space=dict(space))

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
