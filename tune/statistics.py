"""Means, intervals and paired comparisons over seeds; pure functions.

One test stands behind every comparison: Student's t over paired differences. Interval, p value and probability all
follow from it, so that they can't contradict each other.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95
POWER = 0.8
"""How often a comparison is meant to see a difference that is there."""
MOST_PAIRS = 1000
"""Nobody runs more."""
QUANTILES = (np.arange(2000) + 0.5) / 2000
"""Where a mean over a distribution is taken, by its quantiles."""


@dataclass(frozen=True)
class Summary:
    """One metric over seeds.

    Attributes:
        mean: Arithmetic mean.
        std: Standard deviation with n - 1; None for a single value.
        n: Number of values.
        values: The values, by seed.
        ci95: Student's t interval of the mean; None for a single value.
    """

    mean: float
    std: float | None
    n: int
    values: tuple[float, ...]
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two configurations over the same seeds.

    Attributes:
        difference: Mean of (ours - theirs); None without pairs.
        std: Standard deviation (n - 1) of the differences; None for fewer than two pairs.
        ci95: Student's t interval of the difference; None for fewer than two pairs.
        p_value: Two-sided paired t-test; None for fewer than two pairs.
        probability_better: Probability that the true mean difference is positive: the posterior of the same t with a
            flat prior, P(true difference > 0) = F_{n-1}(mean / standard error). None for fewer than two pairs.
        num_pairs: Seeds that both finished.
        num_better: Of these, seeds on which ours is higher.
        num_compared: Comparisons that `ci95` and `p_value` are corrected for (`corrected`).
    """

    difference: float | None
    std: float | None
    ci95: tuple[float, float] | None
    p_value: float | None
    probability_better: float | None
    num_pairs: int
    num_better: int = 0
    num_compared: int = 1

    @property
    def significant(self) -> bool:
        """Whether p is below 5 %, which is to say that the interval leaves 0 out."""
        return self.p_value is not None and self.p_value < 1 - CONFIDENCE


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as results.json holds it."""
    tree = asdict(comparison)
    return {**tree, "ci95": list(comparison.ci95) if comparison.ci95 else None}


def summarize(values: Sequence[float]) -> Summary:
    """Return mean, standard deviation and Student's t interval of the mean.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("a summary needs at least one value, but got none")
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return Summary(mean=mean, std=None, n=1, values=tuple(values), ci95=None)
    std = float(np.std(values, ddof=1))
    ci95 = _interval(mean, std, n, CONFIDENCE)
    return Summary(mean=mean, std=std, n=n, values=tuple(values), ci95=ci95)


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Compare paired values by Student's t; position i of both belongs to the same seed.

    Equal differences leave no spread to judge by: p is then 1 where they are zero, else 0.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"a paired comparison needs equal lengths, but got {len(ours)} and {len(theirs)}")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    n, num_better = len(differences), int((differences > 0).sum())
    if n < 2:
        difference = float(differences[0]) if n else None
        return Comparison(difference, None, None, None, None, num_pairs=n, num_better=num_better)
    mean, std = float(differences.mean()), float(differences.std(ddof=1))
    if std <= 1e-12 * max(1.0, abs(mean)):  # what rounding leaves of no spread at all
        mean, std = (0.0 if abs(mean) <= 1e-12 else mean), 0.0
    t = _t(mean, std, n)
    return Comparison(
        difference=mean,
        std=std,
        ci95=_interval(mean, std, n, CONFIDENCE),
        p_value=float(2 * stats.t.sf(abs(t), n - 1)),
        probability_better=float(stats.t.cdf(t, n - 1)),
        num_pairs=n,
        num_better=num_better,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's corrected p values: rejecting those below a level errs at most at that level, all in all.

    The i-th smallest of m (from 0) is multiplied by m - i, is at least its predecessor, and at most 1.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct comparisons that are made together, by Holm's rule.

    Where a p value grows by a factor, its interval is that of the level divided by the factor: it leaves 0 out
    exactly where the corrected p value is below 5 %. The probability stays: it says what these pairs say alone.

    Args:
        comparisons: With the same configuration; those of fewer than two pairs stay as they are.
    """
    tested = [index for index, each in enumerate(comparisons) if each.p_value is not None]
    raw = [comparisons[index].p_value or 0.0 for index in tested]
    found = list(comparisons)
    for index, before, p_value in zip(tested, raw, holm(raw), strict=True):
        each = comparisons[index]
        assert each.difference is not None
        assert each.std is not None
        level = (1 - CONFIDENCE) * before / p_value if before else (1 - CONFIDENCE) / len(tested)
        found[index] = replace(
            each,
            p_value=p_value,
            ci95=_interval(each.difference, each.std, each.num_pairs, 1 - level),
            num_compared=len(tested),
        )
    return found


def detectable_difference(
    std: float, num_pairs: int, *, power: float = POWER, level: float = 1 - CONFIDENCE
) -> float:
    """Return the true mean difference that a two-sided paired t-test sees with a given probability.

    With n pairs, t = (Z + d) / S, where Z is a standard normal, S^2 a chi-squared variable of n - 1 degrees of freedom
    divided by them, and d = difference / (std / sqrt(n)). So P(|t| > c) is the mean over S of
    Phi(d - c S) + Phi(-d - c S). (SciPy's noncentral t gives no numbers for few degrees of freedom.)

    Args:
        std: Standard deviation of the paired differences.
        num_pairs: n, at least 2.
        power: Probability of a significant result.
        level: Of the test.
    """
    dof = num_pairs - 1
    critical = float(stats.t.isf(level / 2, dof))
    bounds = critical * np.sqrt(stats.chi2.ppf(QUANTILES, dof) / dof)

    def excess(d: float) -> float:
        return float((stats.norm.cdf(d - bounds) + stats.norm.cdf(-d - bounds)).mean()) - power

    return float(optimize.brentq(excess, 0.0, bounds[-1] + 10)) * std / math.sqrt(num_pairs)


def pairs_to_decide(difference: float, std: float, *, level: float = 1 - CONFIDENCE) -> int | None:
    """Return how many pairs see a difference of this size with a probability of `POWER`; None above `MOST_PAIRS`.

    Args:
        difference: True mean difference, above 0.
        std: Standard deviation of the paired differences.
        level: Of the two-sided paired t-test.
    """
    low, high = 2, MOST_PAIRS
    if difference <= 0 or detectable_difference(std, high, level=level) > difference:
        return None
    while low < high:  # what can be seen falls with every pair
        middle = (low + high) // 2
        if detectable_difference(std, middle, level=level) <= difference:
            high = middle
        else:
            low = middle + 1
    return low


def verdict_text(best: str, against: str, metric: str, comparison: Comparison) -> str:
    """Say in a sentence or two what a comparison shows, and what it can't see.

    Args:
        best: Whose scores come first in the comparison.
        against: Whose come second.
        metric: What was compared.
        comparison: The figures, over seeds.
    """
    if comparison.difference is None:
        return f"{_capital(best)} and {against} can't be compared: no seed finished for both."
    if comparison.std is None:
        return (
            f"{_capital(best)} scored {comparison.difference:+.3f} {metric} against {against} on the one seed that "
            f"finished for both; one seed can't tell a difference from chance."
        )
    figures = figures_text(metric, comparison)
    if not comparison.significant:
        unseen = _detectable_text(comparison)
        return f"No significant difference between {best} and {against} ({figures}). {unseen}"
    word = "better" if comparison.difference > 0 else "worse"
    return f"{_capital(best)} is significantly {word} than {against} ({figures})."


def figures_text(metric: str, comparison: Comparison, units: str = "seeds") -> str:
    """Return the figures of a comparison of at least two pairs, for a bracket."""
    assert comparison.ci95 is not None
    assert comparison.p_value is not None
    low, high = comparison.ci95
    for_all = f", corrected for {comparison.num_compared} comparisons" if comparison.num_compared > 1 else ""
    return (
        f"{comparison.difference:+.3f} {metric}, 95% interval [{low:+.3f}, {high:+.3f}], "
        f"{_p_text(comparison.p_value)} by a paired t-test{for_all}, probability of being better "
        f"{comparison.probability_better:.2f}, better on {comparison.num_better} of {comparison.num_pairs} {units}"
    )


def detectable(comparison: Comparison) -> float | None:
    """Return the true difference that so many pairs of this spread can see; None for fewer than two pairs."""
    if comparison.std is None:
        return None
    level = (1 - CONFIDENCE) / comparison.num_compared
    return detectable_difference(comparison.std, comparison.num_pairs, level=level)


def _detectable_text(comparison: Comparison) -> str:
    seen = detectable(comparison)
    assert seen is not None
    seeds = f"{comparison.num_pairs} seeds of this spread"
    return f"{seeds} see a true difference of {seen:.3f} or more four times in five."


def _p_text(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _t(mean: float, std: float, n: int) -> float:
    if std == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / (std / math.sqrt(n))


def _interval(mean: float, std: float, n: int, confidence: float) -> tuple[float, float]:
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * std / math.sqrt(n)
    return (mean - half, mean + half)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
