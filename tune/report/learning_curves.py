"""What the curves of the search's trials say: scores by joint epoch, and how soon their ranking was right."""

import itertools
import math
from dataclasses import dataclass
from statistics import median_low

from tune.report.results import Record, Results

MIN_COMPARED = 3
"""Complete trials below which a ranking says nothing."""


def joint_curve(trial: Record) -> list[tuple[int, float]]:
    """Return (epoch, objective) of the joint phase; before it the objective stands at its floor."""
    rows = trial.get("curve") or []
    return [(int(row["epoch"]), float(row["objective"])) for row in rows if row.get("phase") != "pretrain"]


def by_joint_epoch(trial: Record) -> dict[int, float]:
    """Return the objective by joint epoch, from 1."""
    rows = trial.get("curve") or []
    before = max((int(row["epoch"]) for row in rows if row.get("phase") == "pretrain"), default=0)
    return {epoch - before: objective for epoch, objective in joint_curve(trial)}


def best_so_far(trials: list[Record]) -> list[tuple[int, float]]:
    """Return the highest objective of a complete trial after each trial; trials stopped early don't count."""
    best, line = None, []
    for trial in trials:
        value = trial.get("objective")
        if trial.get("state") == "complete" and value is not None and (best is None or value > best):
            best = value
        if best is not None:
            line.append((int(trial["number"]), float(best)))
    return line


def median_trial(results: Results) -> Record | None:
    """Return the complete trial whose objective is the median (the lower of two)."""
    complete = [trial for trial in results.of_state("complete") if trial.get("objective") is not None]
    if not complete:
        return None
    middle = median_low(trial["objective"] for trial in complete)
    return next(trial for trial in complete if trial["objective"] == middle)


def common_scores(results: Results) -> tuple[int, list[tuple[Record, float]]]:
    """Return the last joint epoch that every trial with a joint epoch reached, and each trial's score there.

    Scores at one epoch are comparable; those at which trials were stopped are not. Failed trials are left out.
    A trial that converged earlier keeps its last score.
    """
    curves = [
        (trial, curve)
        for trial in results.trials
        if trial.get("state") != "failed" and (curve := by_joint_epoch(trial))
    ]
    last = min((max(curve) for _, curve in curves), default=0)
    return last, [(trial, curve[last]) for trial, curve in curves if last in curve]


def rungs(results: Results) -> list[int]:
    """Return the joint epochs at which ASHA compared trials; none for another scheduler."""
    scheduler = results.search.get("scheduler") or {}
    first = scheduler.get("first_rung") or scheduler.get("grace_epochs")
    if scheduler.get("name") != "asha" or not first:
        return []
    longest = max((max(by_joint_epoch(trial), default=0) for trial in results.trials), default=0)
    last = scheduler.get("max_epochs") or longest
    factor, found, level = float(scheduler.get("reduction_factor") or 3), [], float(first)
    while math.ceil(level) < last:
        found.append(math.ceil(level))
        level *= factor
    return found


@dataclass(frozen=True)
class Agreement:
    """How the ranking of the complete trials after some joint epochs agrees with their final one.

    Attributes:
        joint_epoch: Where they are compared.
        num_reached: Trials, of any state, that reached it.
        num_stopped: Trials that were stopped early there.
        num_compared: Complete trials, whose final score is known.
        concordant: Share of their pairs that stood in the final order already; a tie counts half.
        tau: Kendall's rank correlation (tau-b); None where all scores there are equal.
    """

    joint_epoch: int
    num_reached: int
    num_stopped: int
    num_compared: int
    concordant: float
    tau: float | None


def agreements(results: Results) -> list[Agreement]:
    """Compare the ranking after every joint epoch but the last with the final one.

    Returns:
        One entry a joint epoch; empty with fewer than `MIN_COMPARED` complete trials, or where all ended equal.
    """
    curves = [(trial, by_joint_epoch(trial)) for trial in results.trials]
    complete = [(trial, curve) for trial, curve in curves if trial.get("state") == "complete" and curve]
    final = [float(trial["objective"]) for trial, _ in complete]
    if len(complete) < MIN_COMPARED or len(set(final)) < 2:
        return []
    found = []
    for epoch in range(1, max(max(curve) for _, curve in complete)):
        early = [curve.get(min(epoch, max(curve)), math.nan) for _, curve in complete]
        found.append(
            Agreement(
                joint_epoch=epoch,
                num_reached=sum(max(curve, default=0) >= epoch for _, curve in curves),
                num_stopped=sum(
                    trial.get("state") == "pruned" and max(curve, default=0) == epoch
                    for trial, curve in curves
                ),
                num_compared=len(complete),
                concordant=concordance(early, final),
                tau=_tau(early, final),
            )
        )
    return found


def concordance(early: list[float], final: list[float]) -> float:
    """Return the share of pairs in the same order, of those that have an order in the end: at least one must."""
    marks = []
    for (a, x), (b, y) in itertools.combinations(zip(early, final, strict=True), 2):
        if x != y:
            marks.append(0.5 if a == b else float((a < b) == (x < y)))
    return sum(marks) / len(marks)


def _tau(early: list[float], final: list[float]) -> float | None:
    from scipy.stats import kendalltau

    if len(set(early)) < 2:
        return None
    return float(kendalltau(early, final).statistic)
