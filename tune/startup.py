"""The first points of a search, spread evenly over the space; knows no Optuna.

Optuna's own QMCSampler counts its points as they are asked for, draws choices at random, and finds the space out from
earlier trials. Here a point is a function of seed, space and number of the trial, so that resumes and several workers
change nothing, and integers and choices are spread, too.
"""

import math
from collections.abc import Mapping

from tune.config import Dimension, Value


def startup_point(space: Mapping[str, Dimension], seed: int, index: int) -> dict[str, Value]:
    """Return one point of a scrambled Sobol sequence (Owen, 1998; as in SciPy), each key a dimension of it.

    Args:
        space: What is searched.
        seed: Of the scrambling.
        index: Which point, from 0.
    """
    from scipy.stats.qmc import Sobol

    keys = sorted(space)
    sequence = Sobol(len(keys), scramble=True, rng=seed)
    if index:
        sequence.fast_forward(index)
    (point,) = sequence.random(1)
    return {key: _value(space[key], float(share)) for key, share in zip(keys, point, strict=True)}


def _value(dimension: Dimension, share: float) -> Value:
    """Return the value below which a share, in [0, 1), of a dimension lies."""
    if dimension.distribution == "categorical":
        choices = dimension.choices or ()
        return choices[int(share * len(choices))]
    assert dimension.low is not None
    assert dimension.high is not None
    low, high = dimension.low, dimension.high
    if dimension.distribution == "log_uniform":
        return min(float(high), math.exp(math.log(low) + share * math.log(high / low)))
    step = dimension.step or (1 if dimension.distribution == "integer" else None)
    if step is None:
        return low + share * (high - low)
    num_values = int((high - low) / step + 1e-9) + 1
    value = low + step * int(share * num_values)
    return int(value) if dimension.distribution == "integer" else float(value)
