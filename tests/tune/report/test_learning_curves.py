"""What the report reads off the trials' curves."""

import pytest

from tune.report.learning_curves import (
    agreements,
    best_so_far,
    by_joint_epoch,
    common_scores,
    concordance,
    joint_curve,
    median_trial,
    rungs,
)
from tune.report.results import Results

ASHA = {"name": "asha", "first_rung": 2, "reduction_factor": 2.0, "max_epochs": 8}


def trial(number, scores, state="complete", pretrain=1):
    rows = [{"epoch": epoch + 1, "phase": "pretrain", "objective": 0.0} for epoch in range(pretrain)]
    rows += [
        {"epoch": pretrain + 1 + index, "phase": "joint", "objective": value}
        for index, value in enumerate(scores)
    ]
    return {"number": number, "state": state, "objective": scores[-1] if scores else None, "curve": rows}


def results(trials, scheduler=ASHA):
    return Results({"search": {"trials": trials, "scheduler": scheduler}})


def test_best_so_far_counts_complete_trials_only():
    trials = [
        {"number": 0, "state": "failed", "objective": None},
        {"number": 1, "state": "complete", "objective": 0.5},
        {"number": 2, "state": "pruned", "objective": 0.9},
        {"number": 3, "state": "complete", "objective": 0.6},
    ]
    assert best_so_far(trials) == [(1, 0.5), (2, 0.5), (3, 0.6)]


def test_joint_curve_leaves_pre_training_out():
    one = trial(0, [0.4, 0.5], pretrain=3)
    assert joint_curve(one) == [(4, 0.4), (5, 0.5)]
    assert by_joint_epoch(one) == {1: 0.4, 2: 0.5}


def test_median_trial_is_a_complete_one():
    trials = [
        trial(0, [0.9]),
        trial(1, [0.1]),
        trial(2, [0.5]),
        trial(3, [0.4]),
        trial(4, [0.45], state="pruned"),
    ]
    assert median_trial(results(trials))["number"] == 3
    assert median_trial(results([])) is None


def test_common_scores_are_those_of_the_last_epoch_that_all_reached():
    trials = [
        trial(0, [0.1, 0.2, 0.9]),
        trial(1, [0.3, 0.4], state="pruned"),
        trial(2, [0.5], state="failed"),
    ]
    epoch, scored = common_scores(results(trials))
    assert epoch == 2
    assert [(one["number"], score) for one, score in scored] == [(0, 0.2), (1, 0.4)]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (ASHA, [2, 4]),
        (ASHA | {"first_rung": 3, "reduction_factor": 3.0, "max_epochs": 10}, [3, 9]),
        ({"name": "none"}, []),
    ],
)
def test_rungs_lie_below_the_last_epoch(scheduler, expected):
    assert rungs(results([], scheduler)) == expected


@pytest.mark.parametrize(
    ("early", "final", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], 1.0),
        ([3, 2, 1], [1, 2, 3], 0.0),
        ([1, 3, 2], [1, 2, 3], 2 / 3),
        ([1, 1, 2], [1, 2, 3], 2.5 / 3),
        ([1, 2, 2], [1, 5, 5], 1.0),
    ],
)
def test_concordance_counts_pairs_by_hand(early, final, expected):
    assert concordance(early, final) == pytest.approx(expected)


def test_agreements_compare_complete_trials_at_every_joint_epoch_but_the_last():
    trials = [
        trial(0, [0.3, 0.2, 0.1]),
        trial(1, [0.2, 0.3, 0.2]),
        trial(2, [0.1, 0.4, 0.3]),
        trial(3, [0.0, 0.1], state="pruned"),
    ]
    first, second = agreements(results(trials))
    assert (first.joint_epoch, first.num_reached, first.num_stopped, first.num_compared) == (1, 4, 0, 3)
    assert (first.concordant, first.tau) == (0.0, pytest.approx(-1))
    assert (second.num_stopped, second.concordant, second.tau) == (1, 1.0, pytest.approx(1))


@pytest.mark.parametrize("finals", [[0.2, 0.3], [0.2, 0.2, 0.2]])
def test_agreements_of_too_few_or_equal_complete_trials_are_not_given(finals):
    trials = [trial(number, [number / 10, final]) for number, final in enumerate(finals)]
    assert agreements(results(trials)) == []
