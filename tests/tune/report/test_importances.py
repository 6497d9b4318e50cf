"""Importances: found where they are, wide where there is little to say, absent below a minimum."""

import random

import pytest

from tune.report import importances_optuna
from tune.report.importances_optuna import importances
from tune.report.results import Results

pytestmark = pytest.mark.usefixtures("few_resamples")
SPACE = {
    "a": {"distribution": "uniform", "low": 0.0, "high": 1.0},
    "b": {"distribution": "integer", "low": 1, "high": 4},
}


def trial(number, objective, params, state="complete", early=0.5):
    curve = [{"epoch": 1, "phase": "joint", "objective": early}]
    if state == "complete":
        curve.append({"epoch": 2, "phase": "joint", "objective": objective})
    return {
        "number": number,
        "state": state,
        "objective": objective,
        "params": params,
        "curve": curve,
    }


def found(trials, space=SPACE):
    return importances(Results({"search": {"space": space, "trials": trials}}))


def test_importances_find_the_key_that_decides():
    trials = [
        trial(number, number / 20, {"a": number / 20, "b": 1 + (7 * number) % 4}) for number in range(20)
    ]
    result = found(trials)
    assert result.by_key["a"].share > 0.8
    assert result.by_key["a"].above_chance
    assert not result.by_key["b"].above_chance
    assert result.trials_used == "the 20 complete trials"
    assert sum(one.share for one in result.by_key.values()) == pytest.approx(1)


def test_importances_are_plain_numbers_inside_their_intervals():
    draw = random.Random(0)
    trials = [trial(n, draw.random(), {"a": draw.random(), "b": draw.randint(1, 4)}) for n in range(12)]
    for one in found(trials).by_key.values():
        assert all(type(value) is float for value in (one.share, one.low, one.high, one.chance))
        assert 0 <= one.low <= one.share <= one.high <= 1


def test_importances_leave_out_trials_outside_a_space_that_was_made_narrower():
    inside = [trial(n, n / 10, {"a": n / 10, "b": 1 + n % 4}) for n in range(10)]
    outside = [trial(n, 0.5, {"a": 3.0, "b": 2}) for n in (10, 11)] + [trial(12, 0.5, {"a": 0.5, "b": "x"})]
    assert found(inside + outside) == found(inside)


def test_importances_with_few_complete_trials_use_the_epoch_that_all_reached():
    trials = [
        trial(n, n / 10, {"a": n / 10, "b": 1 + n % 4}, "complete" if n < 3 else "pruned", early=n / 10)
        for n in range(10)
    ]
    result = found(trials)
    assert len(result.rows) == 10
    assert "after joint epoch 1" in result.trials_used
    assert result.by_key["a"].share > 0.5


def test_importances_of_many_trials_rest_on_some_of_them_and_say_so(monkeypatch):
    monkeypatch.setattr(importances_optuna, "MAX_ROWS", 20)
    trials = [trial(n, n / 50, {"a": n / 50, "b": 1 + (7 * n) % 4}) for n in range(50)]
    result = found(trials)
    assert result.trials_used == "20 drawn from the 50 complete trials"
    assert len({score for _, score in result.rows}) == 20
    assert result.by_key["a"].share > 0.8


@pytest.mark.parametrize("objective", [lambda number: 0.5, lambda number: number if number < 7 else None])
def test_importances_without_enough_different_trials_are_none(objective):
    trials = [
        {"number": n, "state": "complete", "objective": objective(n), "params": {"a": n / 10, "b": 1}}
        for n in range(10)
    ]
    assert found(trials) is None
