"""The expected number of epochs, against Ray's own rungs."""

import numpy as np
import pytest
from ray.tune.schedulers.async_hyperband import _Bracket

from tune.config import SchedulerConfig
from tune.rungs import expected_joint_epochs, expected_passes, pass_probability, rungs


def asha(grace, factor):
    return SchedulerConfig(grace_epochs=grace, reduction_factor=factor)


class FakeTrial:
    def __init__(self, number):
        self.trial_id = str(number)


def simulate(num_trials, grace, factor, max_epochs, *, noise, seed):
    """Run trials one after the other through Ray's bracket; return the epochs of all together."""
    generator = np.random.default_rng(seed)
    bracket = _Bracket(grace, max_epochs, factor, 0)
    total = 0
    for number, quality in enumerate(generator.random(num_trials)):
        for epoch in range(1, max_epochs + 1):
            total += 1
            score = quality + noise * generator.standard_normal()
            if epoch < max_epochs and bracket.on_result(FakeTrial(number), epoch, score) == "STOP":
                break
    return total


@pytest.mark.parametrize(
    ("grace", "factor", "max_epochs", "expected"),
    [
        (3, 3, 30, (3, 9, 27)),
        (3, 3, 27, (3, 9)),
        (2, 2, 10, (2, 4, 8)),
        (3, 2.5, 20, (3, 8, 19)),
        (5, 3, 4, ()),
        (1, 4, 1, ()),
    ],
)
def test_rungs_lie_a_factor_apart_below_the_maximum(grace, factor, max_epochs, expected):
    assert rungs(asha(grace, factor), max_epochs) == expected


def test_rungs_without_asha_are_none():
    assert rungs(SchedulerConfig(name="none"), 30) == ()


def test_rungs_are_rays():
    bracket = _Bracket(3, 30, 3.0, 0)
    assert rungs(asha(3, 3), 30) == tuple(reversed([milestone for milestone, _ in bracket._rungs]))


def test_pass_probability_where_nobody_came_before_is_one():
    assert pass_probability(0, 3.0) == 1.0


def test_pass_probability_where_one_came_before_is_a_half():
    assert pass_probability(1, 3.0) == 0.5


def test_pass_probability_tends_to_one_in_the_factor():
    assert pass_probability(10_000, 4.0) == pytest.approx(0.25, abs=1e-3)


def test_expected_passes_of_a_fraction_lie_between_those_of_whole_numbers():
    low, middle, high = (expected_passes(n, 3.0) for n in (4, 4.5, 5))
    assert middle == pytest.approx((low + high) / 2)


def test_expected_joint_epochs_without_asha_are_all_of_them():
    assert expected_joint_epochs(7, SchedulerConfig(name="none"), 30) == 210


def test_expected_joint_epochs_of_two_trials_by_hand():
    # Both reach epoch 2; the second one passes half the time: 2 * 2 + 1.5 * 2 at the next rung, ...
    passing = 1 + 0.5 * 0.5
    assert expected_joint_epochs(2, asha(2, 2), 6) == pytest.approx(2 * 2 + 1.5 * 2 + passing * 2)


SEARCHES = pytest.mark.parametrize(
    ("num_trials", "grace", "factor", "max_epochs"), [(24, 3, 3, 30), (64, 2, 2, 10), (8, 2, 2, 10)]
)


def mean_of_simulations(*search, noise):
    return np.mean([simulate(*search, noise=noise, seed=seed) for seed in range(120)])


@SEARCHES
def test_expected_joint_epochs_where_rungs_rank_anew_are_those_of_rays_brackets(
    num_trials, grace, factor, max_epochs
):
    mean = mean_of_simulations(num_trials, grace, factor, max_epochs, noise=3.0)
    assert expected_joint_epochs(num_trials, asha(grace, factor), max_epochs) == pytest.approx(mean, rel=0.04)


@SEARCHES
def test_expected_joint_epochs_where_all_rungs_rank_alike_are_at_most_a_sixth_too_few(
    num_trials, grace, factor, max_epochs
):
    mean = mean_of_simulations(num_trials, grace, factor, max_epochs, noise=0.0)
    assert mean * 5 / 6 < expected_joint_epochs(num_trials, asha(grace, factor), max_epochs) < mean
