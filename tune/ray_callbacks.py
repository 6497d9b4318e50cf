"""Imports Ray: passes what Ray's trials do to the ledger, as plain rows."""

# ruff: noqa: ARG002 - the signatures are Ray's

import json
from collections.abc import Mapping
from typing import Any

import ray.tune as ray_tune
from ray.tune.experiment import Trial as RayTrial

from tune.ledger import Ledger, outcome
from tune.specification import record_of


class LedgerCallback(ray_tune.Callback):
    """Feeds a ledger, which knows no Ray."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __getstate__(self) -> dict[str, Any]:
        """Ray stores its callbacks with every experiment; the ledger lives in this process alone."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: object) -> None:
        """A trial got its process."""
        self.ledger.start(record_of(trial.config["spec"]))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: Mapping[str, Any],
        **info: object,
    ) -> None:
        """A trial reported an epoch, or why it failed."""
        plain = dict(result)
        for key in ("scalars", "metrics"):
            plain[key] = json.loads(plain.get(key) or "null")
        self.ledger.report(_name(trial), plain)

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: object
    ) -> None:
        """A trial reached its end, was stopped by the scheduler, or reported that it failed."""
        self.ledger.end(_name(trial), outcome(trial.last_result))

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: object) -> None:
        """A trial's process was lost for good."""
        self.ledger.start(record_of(trial.config["spec"]))
        self.ledger.end(_name(trial), "failed", _cause(trial))


def _name(trial: RayTrial) -> str:
    return str(trial.config["spec"]["name"])


def _cause(trial: RayTrial) -> str:
    """Return what happened in one line, not Ray's stack."""
    error = trial.get_pickled_error() or trial.get_error()
    cause = getattr(error, "cause", None) or error
    if cause is None:
        return "the trial's process was lost"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"the trial's process was lost ({type(cause).__name__}): {' '.join(lines[:2])}"
