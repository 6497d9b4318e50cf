"""Sweeps that are killed at random moments and resumed: nothing is lost, nothing is done twice."""

import pytest

from .crashes import check_nothing_lost_nothing_twice, read_results, run_with_kills, without_times

pytestmark = pytest.mark.ray
NUM_TRIALS = 6
TRIAL = "ray::"


@pytest.fixture
def sequential(sweep_file):
    return sweep_file(resources={"max_concurrent_trials": 1})


@pytest.fixture
def uninterrupted(sequential, tmp_path):
    assert run_with_kills(tmp_path / "whole", sequential, seed=0, kills=()) == 0
    return without_times(read_results(tmp_path / "whole"))


def test_sequential_sweep_killed_and_resumed_gives_the_same_trials_and_numbers(
    sequential, uninterrupted, tmp_path
):
    assert run_with_kills(tmp_path / "cut", sequential, seed=1, kills=("driver", TRIAL, "driver")) >= 2
    check_nothing_lost_nothing_twice(tmp_path / "cut", NUM_TRIALS)
    assert without_times(read_results(tmp_path / "cut")) == uninterrupted


@pytest.mark.slow
def test_sequential_sweep_killed_many_times_gives_the_same_trials_and_numbers(
    sequential, uninterrupted, tmp_path
):
    struck = 0
    for seed in range(4):
        out = tmp_path / f"cut-{seed}"
        struck += run_with_kills(out, sequential, seed, ("driver", "raylet", TRIAL, "gcs_server", "driver"))
        check_nothing_lost_nothing_twice(out, NUM_TRIALS)
        assert without_times(read_results(out)) == uninterrupted
    assert struck >= 12


@pytest.mark.slow
def test_parallel_sweep_killed_many_times_loses_nothing(sweep_file, tmp_path):
    parallel, struck = sweep_file(resources={"cpus_per_trial": 0.5, "max_concurrent_trials": 3}), 0
    for seed in range(4):
        out = tmp_path / f"cut-{seed}"
        struck += run_with_kills(out, parallel, seed, ("driver", TRIAL, "raylet", "driver"))
        check_nothing_lost_nothing_twice(out, NUM_TRIALS)
    assert struck >= 10
