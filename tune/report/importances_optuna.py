"""Imports Optuna: how much each searched parameter matters, and how sure that is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tune.report.learning_curves import common_scores
from tune.report.results import Record, Results

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_TRIALS = 8
NUM_RESAMPLES = 30
NUM_TREES = 64
NUM_TREES_RESAMPLED = 16
MAX_ROWS = 300
"""Trials at most: the time of fANOVA grows with their square, and 3,000 would take more than an hour."""
Row = tuple[Record, float]
"""Parameters of a trial and its score."""


@dataclass(frozen=True)
class Importance:
    """A parameter's share of the variance of the scores.

    Attributes:
        share: Over all trials used.
        low, high: The middle 80% over trials drawn anew with replacement.
        chance: What 9 of 10 shares stay below when the scores are shuffled among the trials.
    """

    share: float
    low: float
    high: float
    chance: float

    @property
    def above_chance(self) -> bool:
        """Whether the share is more than shuffled scores give."""
        return self.share > self.chance


@dataclass(frozen=True)
class Importances:
    """Importances by dotted key, and which trials they rest on."""

    by_key: dict[str, Importance]
    trials_used: str
    rows: list[Row]


def importances(results: Results) -> Importances | None:
    """Return the share of the objective's variance that each searched key accounts for (fANOVA).

    Complete trials count with their final score. Where early stopping left fewer than `MIN_TRIALS` of them, all
    trials count with their score at the last joint epoch that all reached. Failed trials have no score. Of more than
    `MAX_ROWS`, as many are drawn.

    Returns:
        Shares that sum to 1; None with fewer than `MIN_TRIALS` trials, or where all scored the same.
    """
    space = results.space
    distributions = {key: _distribution(dimension) for key, dimension in space.items()}
    rows, trials_used = _usable(results, distributions)
    draw = np.random.default_rng(0)
    if len(rows) > MAX_ROWS:
        rows = [rows[index] for index in sorted(draw.choice(len(rows), MAX_ROWS, replace=False))]
        trials_used = f"{MAX_ROWS} drawn from {trials_used}"
    if len(rows) < MIN_TRIALS or len({score for _, score in rows}) < 2 or not space:
        return None
    with _quiet():
        shares = _shares(rows, distributions, NUM_TREES)
        resampled, shuffled = [], []
        for _ in range(NUM_RESAMPLES):
            again = [rows[index] for index in draw.integers(0, len(rows), len(rows))]
            if len({score for _, score in again}) > 1:
                resampled.append(_shares(again, distributions, NUM_TREES_RESAMPLED))
            scores = draw.permutation([score for _, score in rows])
            mixed = [(params, float(score)) for (params, _), score in zip(rows, scores, strict=True)]
            shuffled.append(_shares(mixed, distributions, NUM_TREES_RESAMPLED))
    by_key = {
        key: Importance(
            share=share,
            low=min(share, _quantile(resampled, key, 0.1)),
            high=max(share, _quantile(resampled, key, 0.9)),
            chance=_quantile(shuffled, key, 0.9),
        )
        for key, share in shares.items()
    }
    return Importances(by_key, trials_used, rows)


def _usable(results: Results, distributions: "dict[str, BaseDistribution]") -> tuple[list[Row], str]:
    """Return trials with a score, inside the space: an extension may have made it narrower."""
    complete = [
        (trial["params"], float(trial["objective"]))
        for trial in results.of_state("complete")
        if trial.get("objective") is not None and _is_inside(trial["params"], distributions)
    ]
    if len(complete) >= MIN_TRIALS:
        return complete, f"the {len(complete)} complete trials"
    epoch, scored = common_scores(results)
    rows = [(trial["params"], score) for trial, score in scored if _is_inside(trial["params"], distributions)]
    return rows, (
        f"{len(rows)} trials, complete or stopped early, by their score after joint epoch {epoch}, "
        f"the last that all of them reached ({len(complete)} complete ones are too few)"
    )


def _is_inside(params: Record, distributions: "dict[str, BaseDistribution]") -> bool:
    try:
        return all(
            distribution._contains(distribution.to_internal_repr(params[key]))
            for key, distribution in distributions.items()
        )
    except (KeyError, ValueError):
        return False


def _shares(
    rows: Sequence[Row], distributions: "dict[str, BaseDistribution]", num_trees: int
) -> dict[str, float]:
    import optuna

    study = optuna.create_study(direction="maximize")
    for params, score in rows:
        chosen = {key: params[key] for key in distributions}
        study.add_trial(optuna.trial.create_trial(params=chosen, distributions=distributions, value=score))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=num_trees, seed=0)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in shares.items()}


def _quantile(drawn: Sequence[dict[str, float]], key: str, quantile: float) -> float:
    return float(np.quantile([shares[key] for shares in drawn], quantile))


@contextmanager
def _quiet() -> Iterator[None]:
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _distribution(dimension: Record) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kind = dimension["distribution"]
    if kind == "categorical":
        return CategoricalDistribution(tuple(dimension["choices"]))
    low, high, step = dimension["low"], dimension["high"], dimension.get("step")
    if kind == "integer":
        whole = int(step or 1)
        return IntDistribution(int(low), int(high) - (int(high) - int(low)) % whole, step=whole)
    return FloatDistribution(float(low), float(high), log=kind == "log_uniform")
