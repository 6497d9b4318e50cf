"""A stand-in for training: the learning curves of a sweep, extended to configurations that it never tried."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocore.errors import CheckpointError
from tune.config import Dimension, Sweep, Value
from tune.space import joint_budget

NUM_TREES = 32
MIN_TRIALS = 5


@dataclass(frozen=True)
class Curve:
    """What a trial recorded.

    Attributes:
        params: Its searched keys.
        objectives: Objective after each of its joint epochs.
    """

    params: Mapping[str, Value]
    objectives: tuple[float, ...]


class Surrogate:
    """Extremely randomized trees over parameters and joint epoch.

    A trial that was stopped early goes on, for the fit, by the mean gain of those that ran on: left out, its later
    epochs would be guessed from the good trials alone. Failures aren't modelled.

    Attributes:
        num_trials: Trials that it rests on.
        error: Root mean square error of the recorded objectives, each trial predicted from the others.
        spread: Their standard deviation: the error of a constant.
    """

    def __init__(self, sweep: Sweep, curves: Sequence[Curve]) -> None:
        """Fit.

        Raises:
            CheckpointError: If the curves are too few, or none reached the last joint epoch.
        """
        self._space = sweep.config.search.space
        self._max_epochs = joint_budget(sweep.search_base, self._space)
        self._own_epochs = sweep.search_base.train.max_epochs
        if len(curves) < MIN_TRIALS or max(len(curve.objectives) for curve in curves) < self._max_epochs:
            raise CheckpointError(
                f"a surrogate needs at least {MIN_TRIALS} trials with joint epochs, one of them with all "
                f"{self._max_epochs}, but there are {len(curves)}; let the sweep run longer"
            )
        self.num_trials = len(curves)
        gains = mean_gains([curve.objectives for curve in curves], self._max_epochs)
        rows = [self._rows(curve.params) for curve in curves]
        values = [continued(curve.objectives, gains) for curve in curves]
        seen = [len(curve.objectives) for curve in curves]
        left_out = []
        for index in range(len(curves)):
            others = [other for other in range(len(curves)) if other != index]
            model = _fit([rows[other] for other in others], [values[other] for other in others])
            left_out += list(model.predict(rows[index][: seen[index]]) - values[index][: seen[index]])
        recorded = np.concatenate([curve.objectives for curve in curves])
        self.error, self.spread = float(np.sqrt(np.mean(np.square(left_out)))), float(recorded.std())
        self._model = _fit(rows, values)

    def __call__(self, params: Mapping[str, Value]) -> list[float]:
        """Return the objective of a configuration after each of its joint epochs."""
        epochs = params.get("train.max_epochs", self._own_epochs)
        return [float(value) for value in self._model.predict(self._rows(params)[: int(epochs or 1)])]

    def _rows(self, params: Mapping[str, Value]) -> NDArray[np.float64]:
        """Return (max_epochs, features)."""
        point = np.concatenate([encode(params[key], dimension) for key, dimension in self._space.items()])
        epochs = np.arange(1, self._max_epochs + 1) / self._max_epochs
        return np.column_stack([np.tile(point, (self._max_epochs, 1)), epochs])


def encode(value: Value, dimension: Dimension) -> list[float]:
    """Return a value in [0, 1], on a logarithmic scale where it is drawn so; a choice as one of several."""
    if dimension.distribution == "categorical":
        return [float(value == choice) for choice in dimension.choices or ()]
    assert isinstance(value, int | float)
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.distribution == "log_uniform":
        return [math.log(value / dimension.low) / math.log(dimension.high / dimension.low)]
    return [(value - dimension.low) / (dimension.high - dimension.low)]


def mean_gains(curves: Sequence[Sequence[float]], num_epochs: int) -> NDArray[np.float64]:
    """Return (num_epochs,) mean gain of each epoch over the one before, of the trials that have both; else 0."""
    gains = np.zeros(num_epochs)
    for epoch in range(1, num_epochs):
        steps = [curve[epoch] - curve[epoch - 1] for curve in curves if len(curve) > epoch]
        gains[epoch] = np.mean(steps) if steps else 0.0
    return gains


def continued(objectives: Sequence[float], gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a curve over all epochs; what wasn't recorded grows by the mean gains."""
    start = len(objectives)
    return np.concatenate([objectives, objectives[-1] + np.cumsum(gains[start:])])


def _fit(rows: Sequence[NDArray[np.float64]], values: Sequence[NDArray[np.float64]]) -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    model = ExtraTreesRegressor(n_estimators=NUM_TREES, random_state=0)
    return model.fit(np.concatenate(rows), np.concatenate(values))
