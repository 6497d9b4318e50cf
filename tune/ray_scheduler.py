"""Imports Ray: early stopping whose rungs survive the sweep's process."""

# ruff: noqa: ARG002 - the signatures are Ray's

from collections import deque
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tune.config import Sweep
from tune.journal import Event
from tune.ray_searcher import METRIC
from tune.space import joint_budget
from tune.specification import trial_name

TIME = "joint_epoch"
PAPER_TRIAL = trial_name(0)
"""The paper's configuration."""


class TrialQueue:
    """The trials that wait for a process, in the order in which they came.

    Ray's own schedulers go through all trials that ever were, at every event of every trial. A trial that has begun
    never waits again here: one that lost its process goes on as another trial of Ray's.
    """

    def __init__(self) -> None:
        self._waiting: deque[RayTrial] = deque()

    def add(self, trial: RayTrial) -> None:
        """Take in a trial."""
        self._waiting.append(trial)

    def first(self) -> RayTrial | None:
        """Return who has waited longest."""
        while self._waiting and self._waiting[0].status != RayTrial.PENDING:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None


class FirstCome(FIFOScheduler):
    """First in, first out, and nobody is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TrialQueue()

    def on_trial_add(self, tune_controller: Any, trial: RayTrial) -> None:
        """Take a trial in."""
        self.queue.add(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """Return the next trial."""
        return self.queue.first()


class NamedASHA(ASHAScheduler):
    """ASHA whose rungs know trials by the sweep's names, so that they can be rebuilt from the journal.

    To Ray, a trial that goes on in another process is another trial; in the rungs it stays the same.
    """

    def __init__(self, **rules: Any) -> None:
        super().__init__(**rules)
        self.queue = TrialQueue()

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """Return the next trial."""
        return self.queue.first()

    def on_trial_add(self, tune_controller: Any, trial: RayTrial) -> None:
        """Take a trial in, once."""
        self.queue.add(trial)
        self._add(trial.config["spec"]["name"])

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: Mapping[str, Any]) -> str:
        """Decide whether a trial goes on."""
        return self._decide(trial.config["spec"]["name"], result)

    def on_trial_complete(self, tune_controller: Any, trial: RayTrial, result: Mapping[str, Any]) -> None:
        """Note the last score of a trial."""
        super().on_trial_complete(tune_controller, _named(trial.config["spec"]["name"]), result)

    def on_trial_remove(self, tune_controller: Any, trial: RayTrial) -> None:
        """Forget a trial that never ran."""
        super().on_trial_remove(tune_controller, _named(trial.config["spec"]["name"]))

    def replay(self, events: Iterable[Event]) -> set[str]:
        """Rebuild the rungs from the events of the search.

        Returns:
            Names of the trials that are stopped, whether or not they were told so.
        """
        stopped: set[str] = set()
        last: dict[str, Event] = {}
        for event in events:
            if event["event"] == "ask":
                self._add(event["name"])
            elif event["event"] == "report":
                last[event["name"]] = event
                if not event["finished"] and self._decide(event["name"], event) == TrialScheduler.STOP:
                    stopped.add(event["name"])
            elif event["event"] == "end" and event["state"] != "failed":
                super().on_trial_complete(None, _named(event["name"]), last[event["name"]])
        return stopped

    def _decide(self, name: str, result: Mapping[str, Any]) -> str:
        """Enter a score into the rungs. The paper's configuration goes on whatever it is: others are judged by it."""
        decision = str(super().on_trial_result(None, _named(name), result))
        return TrialScheduler.CONTINUE if name == PAPER_TRIAL else decision

    def _add(self, name: str) -> None:
        if name not in self._trial_info:
            super().on_trial_add(None, _named(name))


def make_scheduler(sweep: Sweep) -> TrialScheduler:
    """Return ASHA in joint epochs, or first in, first out.

    Rungs lie in the joint phase alone: scores of pre-training say nothing, and rungs that are powers of the epochs
    in all would be few and late.
    """
    scheduler = sweep.config.scheduler
    if scheduler.name == "none":
        return FirstCome()
    max_epochs = joint_budget(sweep.search_base, sweep.config.search.space)
    return NamedASHA(
        time_attr=TIME,
        metric=METRIC,
        mode="max",
        max_t=max_epochs,
        grace_period=min(scheduler.grace_epochs, max_epochs),
        reduction_factor=scheduler.reduction_factor,
    )


def _named(name: str) -> Any:
    return SimpleNamespace(trial_id=name)
