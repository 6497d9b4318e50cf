"""Means, intervals and paired comparisons over seeds; pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
FEW_PAIRS = 5


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
        ci95: Paired bootstrap interval of the difference (percentiles); None for fewer than two pairs.
        p_value: Two-sided paired t-test; None for fewer than two pairs.
        probability_better: Probability that the mean difference is positive, by the Bayesian bootstrap: the
            share of random weightings of the seen differences (Dirichlet, all parameters 1) with a positive
            weighted mean, half of those at zero included; None for fewer than two pairs. Differences that weren't
            seen have no weight, so that it is too sure of itself for a handful of pairs.
        num_pairs: Seeds that both finished.
        num_better: Of these, seeds on which ours is higher.
    """

    difference: float | None
    ci95: tuple[float, float] | None
    p_value: float | None
    probability_better: float | None
    num_pairs: int
    num_better: int = 0

    @property
    def significant(self) -> bool:
        """Whether the t-test and the bootstrap interval both speak against equality at 5%."""
        if self.p_value is None or self.ci95 is None:
            return False
        return self.p_value < 1 - CONFIDENCE and not self.ci95[0] <= 0 <= self.ci95[1]


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
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * std / math.sqrt(n)
    return Summary(mean=mean, std=std, n=n, values=tuple(values), ci95=(mean - half, mean + half))


def paired_t_test(differences: Sequence[float]) -> float:
    """Return the two-sided p value of a mean difference of zero; n >= 2 differences.

    Equal differences leave no spread to judge by: p is 1 where they are zero, else 0.
    """
    mean, std, n = float(np.mean(differences)), float(np.std(differences, ddof=1)), len(differences)
    if std <= 1e-12 * max(1.0, abs(mean)):
        return 1.0 if abs(mean) <= 1e-12 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (std / math.sqrt(n)), n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's corrected p values: rejecting those below a level errs at most at that level, all in all.

    The i-th smallest of m (from 0) is multiplied by m - i, is at least its predecessor, and at most 1.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def compare(
    ours: Sequence[float], theirs: Sequence[float], num_samples: int = 10_000, seed: int = 0
) -> Comparison:
    """Compare paired values; position i of both belongs to the same seed.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"a paired comparison needs equal lengths, but got {len(ours)} and {len(theirs)}")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    n, num_better = len(differences), int((differences > 0).sum())
    if n < 2:
        difference = float(differences[0]) if n else None
        return Comparison(difference, None, None, None, num_pairs=n, num_better=num_better)
    rng = np.random.default_rng(seed)
    means = differences[rng.integers(0, n, size=(num_samples, n))].mean(axis=1)
    weighted = rng.dirichlet(np.ones(n), size=num_samples) @ differences
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Comparison(
        difference=float(differences.mean()),
        ci95=(float(low), float(high)),
        p_value=paired_t_test(differences.tolist()),
        probability_better=float((weighted > 0).mean() + (weighted == 0).mean() / 2),
        num_pairs=n,
        num_better=num_better,
    )


def verdict_text(best: str, against: str, metric: str, comparison: Comparison) -> str:
    """Say in one sentence what a comparison shows, and how much it rests on."""
    n = comparison.num_pairs
    if comparison.difference is None:
        return f"{_capital(best)} and {against} can't be compared: no seed finished for both."
    if comparison.ci95 is None or comparison.p_value is None:
        return (
            f"{_capital(best)} scored {comparison.difference:+.3f} {metric} against {against} on the one seed that "
            f"finished for both; one seed can't tell a difference from chance."
        )
    figures = (
        f"{comparison.difference:+.3f} {metric}, 95% interval [{comparison.ci95[0]:+.3f}, "
        f"{comparison.ci95[1]:+.3f}], paired t-test p = {comparison.p_value:.3f}, probability of being better "
        f"{comparison.probability_better:.2f}, better on {comparison.num_better} of {n} seeds"
    )
    few = f" With only {n} seeds, a small difference can't be seen." if n < FEW_PAIRS else ""
    if not comparison.significant:
        return f"No significant difference between {best} and {against} ({figures}).{few}"
    word = "better" if comparison.difference > 0 else "worse"
    few = f" Only {n} seeds: repeat with more before relying on it." if n < FEW_PAIRS else ""
    return f"{_capital(best)} is significantly {word} than {against} ({figures}).{few}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
