import numpy as np
import pytest

from rocore.errors import CheckpointError
from tune.config import Dimension
from tune.surrogate import Curve, Surrogate, continued, encode, mean_gains


@pytest.mark.parametrize(
    ("dimension", "value", "expected"),
    [
        ({"distribution": "log_uniform", "low": 0.01, "high": 1}, 0.1, [0.5]),
        ({"distribution": "uniform", "low": 1, "high": 5}, 2.0, [0.25]),
        ({"distribution": "integer", "low": 2, "high": 6}, 6, [1.0]),
        ({"distribution": "categorical", "choices": ["a", "b", "c"]}, "b", [0.0, 1.0, 0.0]),
    ],
)
def test_encode_puts_a_value_where_it_is_drawn(dimension, value, expected):
    assert encode(value, Dimension(**dimension)) == pytest.approx(expected)


def test_mean_gains_are_of_the_trials_that_have_both_epochs():
    gains = mean_gains([[0.1, 0.3], [0.2, 0.3, 0.7], [0.5]], 4)
    assert gains == pytest.approx([0.0, 0.15, 0.4, 0.0])


def test_continued_curve_keeps_what_was_recorded():
    assert continued([0.5], np.array([0.0, 0.1, 0.2])) == pytest.approx([0.5, 0.6, 0.8])


def recorded(margins, num_epochs=4):
    """Return curves that fall with the margin; every second trial was stopped after two epochs."""
    return [
        Curve(
            {"loss.center_weight": 0.01, "loss.pair_margin": margin, "encoder.output_layer": 4},
            tuple(
                (1 - margin / 5) * epoch / num_epochs
                for epoch in range(1, (3 if index % 2 else 1 + num_epochs))
            ),
        )
        for index, margin in enumerate(margins)
    ]


def test_surrogate_of_many_trials_is_close_to_them(make_sweep, monkeypatch):
    monkeypatch.setattr("tune.surrogate.NUM_TREES", 8)
    surrogate = Surrogate(make_sweep(), recorded(np.linspace(0.5, 4, 31).tolist()))
    assert surrogate.num_trials == 31
    assert surrogate.error < 0.35 * surrogate.spread
    point = {"loss.center_weight": 0.01, "loss.pair_margin": 1.0, "encoder.output_layer": 4}
    assert surrogate(point) == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.05)


def test_surrogate_of_searched_epochs_ends_with_the_trial(make_sweep):
    space = {
        "loss.pair_margin": {"distribution": "uniform", "low": 0.5, "high": 4.0},
        "train.max_epochs": {"distribution": "integer", "low": 2, "high": 4},
    }
    sweep = make_sweep(search={"space": space}, paper={"loss.pair_margin": 2.0, "train.max_epochs": 4})
    curves = [
        Curve({"loss.pair_margin": margin, "train.max_epochs": epochs}, (0.5,) * epochs)
        for margin, epochs in ((1.0, 2), (2.0, 4), (3.0, 3), (1.5, 4), (2.5, 2))
    ]
    assert len(Surrogate(sweep, curves)({"loss.pair_margin": 2.0, "train.max_epochs": 3})) == 3


@pytest.mark.parametrize("margins", [[1.0, 2.0, 3.0, 4.0], []])
def test_surrogate_of_few_trials_is_refused(make_sweep, margins):
    with pytest.raises(CheckpointError, match=rf"at least 5 trials .*, but there are {len(margins)}"):
        Surrogate(make_sweep(), recorded(margins))
