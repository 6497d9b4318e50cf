"""A search without training: the sweep's own searcher and early stopping, on curves that are known.

No Ray is started and nothing is written; a simulated sweep takes as long as its proposals.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tune.config import Sweep, Value
from tune.optuna_study import Study
from tune.ray_scheduler import TIME, make_scheduler
from tune.records import TrialRecord, outcome
from tune.specification import trial_name

Curves = Callable[[Mapping[str, Value]], Sequence[float]]
"""Returns the objective of a configuration after each joint epoch, as if trained to its end."""
NUM_RANDOM = 1000
"""Random configurations among which the optimum is sought."""


@dataclass(frozen=True)
class Method:
    """How a search is led.

    Attributes:
        searcher: Who proposes.
        scheduler: Who stops early.
    """

    searcher: Literal["random", "tpe", "gp"]
    scheduler: Literal["none", "asha"]

    def __str__(self) -> str:
        return self.searcher + (" + asha" if self.scheduler == "asha" else "")

    def of(self, sweep: Sweep, seed: int) -> Sweep:
        """Return a sweep led this way, by its first objective."""
        config = sweep.config.model_copy(
            update={
                "seed": seed,
                "search": sweep.config.search.model_copy(update={"searcher": self.searcher}),
                "scheduler": sweep.config.scheduler.model_copy(update={"name": self.scheduler}),
                "objective": sweep.config.objective.model_copy(update={"second": None}),
            }
        )
        return replace(sweep, config=config)


METHODS = tuple(Method(s, stop) for s in ("random", "tpe", "gp") for stop in ("none", "asha"))


def simulate(
    sweep: Sweep,
    curves: Curves,
    *,
    max_trials: int | None = None,
    max_epochs: int | None = None,
    num_workers: int = 1,
) -> tuple[list[TrialRecord], list[float]]:
    """Run a search on known curves; every joint epoch takes the same time, and pre-training none.

    Args:
        sweep: Its searcher, early stopping, seed and space.
        curves: What the trials report.
        max_trials: Number of trials; None: no bound.
        max_epochs: Joint epochs in all; the trials that are running then stay so. None: no bound.
        num_workers: Trials at a time.

    Returns:
        The trials by number; and, by joint epochs spent (from 0), the final objective of the best trial that was
        complete by then, the objective's floor before the first one.
    """
    study, scheduler = Study(sweep, "simulation"), make_scheduler(sweep)
    records: list[TrialRecord] = []
    known: list[Sequence[float]] = []
    running: list[tuple[int, int]] = []
    best, now = [0.0], 0
    while max_epochs is None or len(best) <= max_epochs:
        while len(running) < num_workers and (max_trials is None or len(records) < max_trials):
            number, params = study.propose()
            records.append(TrialRecord(trial_name(number), number, params, seed=sweep.config.seed))
            known.append(curves(params))
            scheduler.on_trial_add(None, ray_trial(records[-1].name))
            heapq.heappush(running, (now + 1, number))
        if not running:
            break
        now, number = heapq.heappop(running)
        record = records[number]
        if _advance(record, known[number], study, scheduler):
            heapq.heappush(running, (now + 1, number))
        reached = record.objective if record.state == "complete" else None
        best.append(max(best[-1], reached or 0.0))
    return records, best


def compare_methods(
    sweep: Sweep,
    curves: Curves,
    *,
    max_epochs: int,
    seeds: Sequence[int],
    num_workers: int = 1,
    methods: Sequence[Method] = METHODS,
    told: Callable[[Method], None] = lambda _method: None,
) -> dict[Method, NDArray[np.float64]]:
    """Return the regret of each method, (seeds, 1 + max_epochs), by joint epochs spent.

    Regret is the optimum's final objective minus that of the best complete trial so far. The optimum is the best of
    all configurations that any method tried and of `NUM_RANDOM` random ones.
    """
    points = Study(Method("random", "none").of(sweep, seed=0), "optimum")
    optimum = max(curves(points.propose()[1])[-1] for _ in range(NUM_RANDOM))
    found = {}
    for method in methods:
        runs = (
            simulate(method.of(sweep, seed), curves, max_epochs=max_epochs, num_workers=num_workers)[1]
            for seed in seeds
        )
        found[method] = np.array(list(runs))
        told(method)
    optimum = max(optimum, *(float(best.max()) for best in found.values()))
    return {method: optimum - best for method, best in found.items()}


def _advance(record: TrialRecord, curve: Sequence[float], study: Study, scheduler: Any) -> bool:
    """Let a trial report its next joint epoch, in the order of Ray's controller; tell whether it goes on."""
    epoch = record.epochs + 1
    result = {
        "epoch": epoch,
        TIME: epoch,
        "objective": float(curve[epoch - 1]),
        "finished": epoch == len(curve),
    }
    trial = ray_trial(record.name)
    stops = result["finished"] or scheduler.on_trial_result(None, trial, result) == "STOP"
    record.curve.append({"epoch": epoch, "phase": "joint", "objective": result["objective"], "seconds": 0.0})
    record.objective = result["objective"]
    study.advanced(record, {})
    if stops:
        scheduler.on_trial_complete(None, trial, result)
        record.state = outcome(result)
        study.ended(record)
    return not stops


def ray_trial(name: str) -> Any:
    """Return what schedulers ask of Ray's trials."""
    return SimpleNamespace(trial_id=name, config={"spec": {"name": name}})
