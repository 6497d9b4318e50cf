"""The evenly spread start of a search."""

import pytest

from rocore.errors import ConfigError
from tune.config import Dimension
from tune.optuna_study import Study, quiet_optuna
from tune.records import TrialRecord
from tune.replay import check_record
from tune.simulation import Method, simulate
from tune.startup import startup_point

from .test_replay import curves, events_of

SPACE = {
    "a": Dimension(distribution="log_uniform", low=1e-4, high=1.0),
    "b": Dimension(distribution="uniform", low=0.0, high=4.0),
    "c": Dimension(distribution="integer", low=2, high=8, step=2),
    "d": Dimension(distribution="categorical", choices=("x", None, True, 7)),
    "e": Dimension(distribution="uniform", low=0.0, high=1.0, step=0.25),
}


def test_points_are_spread_evenly_over_every_kind_of_dimension():
    points = [startup_point(SPACE, 3, index) for index in range(16)]
    # 2^4 points of the sequence: each quarter of each dimension holds four.
    assert sorted(int(p["b"]) for p in points) == sorted([0, 1, 2, 3] * 4)
    assert sorted(p["c"] for p in points) == sorted([2, 4, 6, 8] * 4)
    assert [[p["d"] for p in points].count(choice) for choice in ("x", None, True, 7)] == [4] * 4
    assert [sum(10**-k <= p["a"] < 10 ** (1 - k) for p in points) for k in (1, 2, 3, 4)] == [4] * 4
    assert {p["e"] for p in points} == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert {type(p["c"]) for p in points} == {int}


def test_point_is_a_function_of_seed_and_number():
    assert startup_point(SPACE, 3, 5) == startup_point(SPACE, 3, 5)
    assert startup_point(SPACE, 3, 5) != startup_point(SPACE, 4, 5)


@pytest.mark.parametrize("searcher", ["tpe", "gp"])
def test_study_starts_evenly_beside_the_papers_point_and_then_learns(make_sweep, searcher):
    quiet_optuna()
    sweep = make_sweep({"search.startup": "sobol", "search.searcher": searcher})
    study, space = Study(sweep, "s"), sweep.config.search.space
    proposed = []
    for number in range(11):
        proposed.append(study.propose()[1])
        record = TrialRecord(
            f"{number:04d}", number, proposed[-1], objective=0.1 * (number % 3), state="complete"
        )
        study.ended(record)
    assert proposed[0] == sweep.paper
    assert proposed[1:10] == [startup_point(space, 0, number) for number in range(1, 10)]
    assert proposed[10] != startup_point(space, 0, 10)


def test_start_of_many_workers_is_the_same_rebuilt_on_the_way(make_sweep):
    sweep = make_sweep({"search.startup": "sobol"})
    lived = Study(sweep, "s")
    proposed = [lived.propose()[1] for _ in range(16)]
    records = [TrialRecord(f"{number:04d}", number, params) for number, params in enumerate(proposed[:7])]
    rebuilt = Study(sweep, "s", records)
    assert [rebuilt.propose()[1] for _ in range(9)] == proposed[7:]


def test_replay_of_a_search_that_started_evenly_agrees(make_sweep):
    sweep = Method("tpe", "asha").of(make_sweep({"search.startup": "sobol"}), seed=0)
    records, _ = simulate(sweep, curves, max_trials=14, num_workers=3)
    agreement = check_record(sweep, events_of(simulate(sweep, curves, max_trials=14)[0]))
    assert (agreement.num_proposals, agreement.num_same_proposals) == (14, 14)
    assert records[1].params == startup_point(sweep.config.search.space, 0, 1)


def test_even_start_of_a_search_that_never_learns_is_refused(make_sweep):
    with pytest.raises(ConfigError, match=r"`search\.startup` sobol is for searchers that learn"):
        make_sweep({"search.startup": "sobol", "search.searcher": "random"})
