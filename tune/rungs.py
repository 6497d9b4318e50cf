"""How many epochs a search takes under ASHA; arithmetic alone.

ASHA lets a trial pass a rung if its score reaches the (1 - 1/factor) quantile of the scores that reached the rung
before it.
"""

import math

from tune.config import SchedulerConfig


def rungs(scheduler: SchedulerConfig, max_epochs: int) -> tuple[int, ...]:
    """Return the joint epochs after which a trial may be stopped: grace * factor^k below the maximum, rounded up.

    Empty without ASHA.
    """
    if scheduler.name == "none":
        return ()
    first, factor = min(scheduler.grace_epochs, max_epochs), scheduler.reduction_factor
    count = int(math.log(max_epochs / first) / math.log(factor) + 1)
    stops = (math.ceil(first * factor**k) for k in range(count))
    return tuple(stop for stop in stops if stop < max_epochs)


def pass_probability(num_before: int, factor: float) -> float:
    """Return how likely a trial passes a rung that m = `num_before` others have reached.

    The interpolated quantile lies (m - 1) (1 - 1/factor) gaps above the lowest of the m scores, so that
    m - (m - 1) (1 - 1/factor) of the m + 1 gaps between them are above it; a new score falls into each gap equally
    likely. The first trial always passes.
    """
    m = num_before
    return (m - (m - 1) * (1 - 1 / factor)) / (m + 1) if m else 1.0


def expected_passes(num_arriving: float, factor: float) -> float:
    """Return how many of n trials that reach a rung pass it: the sum of pass_probability(m) over m < n."""
    whole = int(num_arriving)
    passes = sum(pass_probability(m, factor) for m in range(whole))
    return passes + (num_arriving - whole) * pass_probability(whole, factor)


def expected_joint_epochs(num_trials: int, scheduler: SchedulerConfig, max_epochs: int) -> float:
    """Return the joint epochs of all trials of a search together, in expectation.

    Everybody runs to the first rung, those that pass it to the second, and so on to `max_epochs`. It is taken that
    scores don't depend on the order in which trials reach a rung. Where all rungs rank alike, or the searcher learns,
    later ones are better and more pass: up to a sixth more epochs. Converging before the end saves some.
    """
    arriving, total, before = float(num_trials), 0.0, 0
    for stop in rungs(scheduler, max_epochs):
        total += arriving * (stop - before)
        arriving, before = expected_passes(arriving, scheduler.reduction_factor), stop
    return total + arriving * (max_epochs - before)
