"""How a sweep or an experiment stands, read from its directory alone: from another process, while it runs or after."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rocore.errors import CheckpointError
from tune.config import ResourcesConfig, Sweep, load_sweep
from tune.experiments.config import load_experiment
from tune.journal import FILE
from tune.limits import as_tree as limit_tree
from tune.limits import ended_by, num_search_trials
from tune.plan import count_race_runs
from tune.records import LimitReached, Records, TrialRecord, read_records
from tune.reevaluation import rank
from tune.sweep_directory import check_is_no_run, is_experiment

ROLES = {"search": "search", "race": "race", "final": "final comparison"}
"""Roles of trials, in their order, and what their phase is called."""


@dataclass(frozen=True)
class Phase:
    """The trials of one role: those that were started, and how many there will be at most."""

    title: str
    most: int
    records: tuple[TrialRecord, ...]

    def count(self, *states: str) -> int:
        """Return how many are in one of these states."""
        return sum(record.state in states for record in self.records)

    @property
    def num_left(self) -> int:
        """Trials that haven't ended, at most."""
        return self.most - len(self.records) + self.count("running")


@dataclass(frozen=True)
class Status:
    """How a sweep or an experiment stands.

    Attributes:
        name: Its title.
        command: What resumes it.
        phases: Search, race and final comparison; of an experiment, its runs.
        is_complete: Whether nothing is left to do.
        best: The search's best trial so far.
        verdict: The last sentence of a complete sweep.
        left_s: Seconds to the end, at most; None before any trial has ended.
        ended_by: The limit that ended the search; None where none has.
        idle_s: Seconds since the journal was written to.
    """

    name: str
    command: str
    phases: tuple[Phase, ...]
    is_complete: bool
    best: TrialRecord | None
    verdict: str | None
    left_s: float | None
    ended_by: LimitReached | None
    idle_s: float

    def in_state(self, state: str) -> list[TrialRecord]:
        """Return the trials of all phases that are in a state."""
        return [record for phase in self.phases for record in phase.records if record.state == state]


def read_status(directory: Path) -> Status:
    """Read the journal, the configuration and, where there is one, the result.

    Raises:
        CheckpointError: If this is no sweep directory, or its journal is corrupt.
    """
    check_is_no_run(directory)
    if not (directory / "config.yaml").is_file():
        raise CheckpointError(
            f"{directory} must be a sweep directory, or an experiment's, that holds config.yaml, but it doesn't; give "
            "the --out of a sweep or an experiment"
        )
    return _of_experiment(directory) if is_experiment(directory) else _of_sweep(directory)


def _of_experiment(directory: Path) -> Status:
    experiment, records = load_experiment(directory / "config.yaml"), read_records(directory).of("final")
    phase = Phase("runs", experiment.num_runs, tuple(records))
    results = _read_results(directory)
    is_complete = results.get("status") == "complete" and phase.num_left == 0
    return Status(
        name=experiment.config.name,
        command="rocore experiment",
        phases=(phase,),
        is_complete=is_complete,
        best=None,
        verdict=None,
        left_s=0.0 if is_complete else _left_s([phase], experiment.config.resources, []),
        ended_by=None,
        idle_s=_idle_s(directory),
    )


def _of_sweep(directory: Path) -> Status:
    sweep, records = load_sweep(directory / "config.yaml"), read_records(directory)
    most = _most_runs(sweep, records)
    phases = tuple(
        Phase(title, most[role], tuple(records.of(role)))
        for role, title in ROLES.items()
        if most[role] or records.of(role)
    )
    results = _read_results(directory)
    is_complete = results.get("status") == "complete" and phases[0].num_left == 0
    return Status(
        name=sweep.config.name,
        command="rocore sweep",
        phases=phases,
        is_complete=is_complete,
        best=next(iter(rank(records.of("search"))), None),
        verdict=(results.get("verdict") or {}).get("text") if is_complete else None,
        left_s=0.0 if is_complete else _left_of_sweep_s(sweep, phases),
        ended_by=ended_by(sweep.config.search, records),
        idle_s=_idle_s(directory),
    )


def as_tree(status: Status) -> dict[str, Any]:
    """Return a status for programs."""
    return {
        "name": status.name,
        "complete": status.is_complete,
        "phases": {
            phase.title: {
                "most": phase.most,
                **{state: phase.count(state) for state in ("running", "complete", "pruned", "failed")},
            }
            for phase in status.phases
        },
        "best": None if status.best is None else _short(status.best),
        "running": [_short(record) for record in status.in_state("running")],
        "failed": [{**_short(record), "error": record.error} for record in status.in_state("failed")],
        "verdict": status.verdict,
        "left_s": status.left_s,
        "ended_by": limit_tree(status.ended_by),
        "idle_s": status.idle_s,
    }


def _short(record: TrialRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "params": record.params,
        "epochs": record.epochs,
        "objective": record.objective,
    }


def _most_runs(sweep: Sweep, records: Records) -> dict[str, int]:
    config = sweep.config
    return {
        "search": num_search_trials(config.search, records),
        "race": count_race_runs(sweep),
        "final": (config.reevaluation.top_k + 1) * config.reevaluation.num_seeds,
    }


def _left_of_sweep_s(sweep: Sweep, phases: Sequence[Phase]) -> float | None:
    """A phase that hasn't begun is taken to have runs as long as a trial of the search, without its other folds."""
    folds = sweep.config.objective.num_folds if sweep.config.objective.name == "pseudo_novel" else 1
    whole = [r.seconds / folds for r in phases[0].records if r.state == "complete"]
    return _left_s(phases, sweep.config.resources, whole)


def _left_s(phases: Sequence[Phase], resources: ResourcesConfig, expected: Sequence[float]) -> float | None:
    """Return what is left of each phase times the mean seconds of its ended trials, over the trials that run at once.

    Args:
        phases: In their order.
        resources: What trials have.
        expected: Seconds of trials like those of a phase of which none has ended.
    """
    num_running = sum(phase.count("running") for phase in phases)
    at_once = resources.max_concurrent_trials or max(1, num_running)
    total = 0.0
    for phase in phases:
        ended = [record.seconds for record in phase.records if not record.is_running] or expected
        if phase.num_left and not ended:
            return None
        if phase.num_left:
            under_way = sum(record.seconds for record in phase.records if record.is_running)
            total += max(0.0, phase.num_left * fmean(ended) - under_way)
    return total / at_once


def _idle_s(directory: Path) -> float:
    return max(0.0, time.time() - (directory / FILE).stat().st_mtime)


def _read_results(directory: Path) -> dict[str, Any]:
    path = directory / "results.json"
    if not path.is_file():
        return {}
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results
