"""What happened to every trial, and the sweep directory that it is written to; knows no Ray."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import rocore
from rocore.errors import ConfigError
from tune.config import Value

State = str
"""running, complete, pruned or failed."""
PAPER = "paper"


def outcome(result: Mapping[str, Any] | None, error: bool = False) -> State:
    """Tell from its last result how a trial ended: only one that reached its own end is complete."""
    if error or not result or result.get("failed") or not math.isfinite(result.get("objective", math.nan)):
        return "failed"
    return "complete" if result.get("finished") else "pruned"


@dataclass
class TrialRecord:
    """One trial, or one seed of the final comparison."""

    name: str
    """`0003` or `paper-seed7`; also the name of its folder."""
    number: int
    params: dict[str, Value]
    role: str = "search"
    seed: int = 0
    state: State = "running"
    objective: float | None = None
    error: str | None = None
    traceback: str | None = None
    metrics: dict[str, float] | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_paper(self) -> bool:
        """Whether this is the paper's configuration, in the search."""
        return self.role == "search" and self.number == 0

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
            "curve": self.curve,
        }


class Listener(Protocol):
    """Who wants to hear what trials do."""

    def started(self, record: TrialRecord) -> None:
        """A trial started."""

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:
        """A trial finished an epoch; its curve holds it already."""

    def ended(self, record: TrialRecord) -> None:
        """A trial ended; its state says how."""


class SweepDirectory:
    """The folder that a sweep leaves behind."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check_free(self) -> None:
        """Refuse a folder that holds something.

        Raises:
            ConfigError: If it does.
        """
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise ConfigError(
                f"the sweep directory must be new or empty, but {self.root} isn't; choose another with --out"
            )

    def create(self) -> None:
        """Make the folder."""
        self.root.mkdir(parents=True, exist_ok=True)

    def folder(self, record: TrialRecord) -> Path:
        """Return the folder of a trial, made on the first call."""
        path = self.root / ("trials" if record.role == "search" else "final") / record.name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write_text(self, name: str, text: str) -> None:
        """Write a file in one step: readers see the old or the new one, never a part."""
        rocore.write_atomically(self.root / name, text)

    def write_json(self, name: str, tree: Mapping[str, Any]) -> None:
        """Write a JSON file in one step; NaN is refused, as JSON has none."""
        self.write_text(name, json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class Ledger:
    """The records of all trials, kept as they report, and their curves on disk."""

    def __init__(self, directory: SweepDirectory, listeners: tuple[Listener, ...] = ()) -> None:
        self.directory = directory
        self.listeners = listeners
        self.records: dict[str, TrialRecord] = {}

    def of(self, role: str) -> list[TrialRecord]:
        """Return the records of a role, by number and name."""
        chosen = [record for record in self.records.values() if record.role == role]
        return sorted(chosen, key=lambda record: (record.number, record.name))

    def start(self, record: TrialRecord) -> None:
        """Note that a trial started; one that starts again (its node was lost) keeps its record."""
        if record.name not in self.records:
            self.records[record.name] = record
            for listener in self.listeners:
                listener.started(record)

    def report(self, name: str, result: Mapping[str, Any]) -> None:
        """Note an epoch; epochs trained again, after a restart from a checkpoint, replace the lost ones."""
        record = self.records[name]
        if result.get("failed"):
            record.error, record.traceback = str(result.get("error")), result.get("traceback")
            return
        row = {key: result[key] for key in ("epoch", "phase", "objective", "seconds")}
        path = self.directory.folder(record) / "curve.jsonl"
        if record.curve and record.curve[-1]["epoch"] >= row["epoch"]:
            record.curve = [kept for kept in record.curve if kept["epoch"] < row["epoch"]]
            path.write_text("".join(json.dumps(kept) + "\n" for kept in record.curve), encoding="utf-8")
        record.curve.append(row)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        record.objective, record.metrics = float(row["objective"]), result.get("metrics")
        for listener in self.listeners:
            listener.advanced(record, result.get("scalars") or {})

    def end(self, name: str, state: State, error: str | None = None) -> None:
        """Note how a trial ended."""
        record = self.records[name]
        if record.state != "running":
            return
        record.state = state
        if state == "failed":
            record.error = record.error or error or "no epoch was reported"
            record.objective = record.metrics = None
            text = record.error + (f"\n\n{record.traceback}" if record.traceback else "")
            (self.directory.folder(record) / "error.txt").write_text(text + "\n", encoding="utf-8")
        for listener in self.listeners:
            listener.ended(record)


def timestamp() -> str:
    """Return the local time with its offset, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
