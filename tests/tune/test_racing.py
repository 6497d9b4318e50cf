import numpy as np
import pytest

from rocore.errors import ConfigError, RocoreError
from tune.config import RacingConfig
from tune.racing import (
    describe_race,
    missing_specs,
    race_pairs,
    rounds,
    run_race,
    scores_of,
    standing,
)
from tune.records import TrialRecord

RULES = RacingConfig(num_candidates=3, num_pairs=8, min_pairs=4)
NOISE = [0.00, 0.02, -0.01, 0.01, 0.03, -0.02, 0.00, 0.01]
"""What a pair adds to everybody's score: a paired test doesn't see it."""


def table(**qualities):
    """Return the scores of every configuration on every pair; small wiggles of their own."""
    rng = np.random.default_rng(0)
    return {
        (name, pair): quality + NOISE[pair] + rng.normal(scale=0.003)
        for name, quality in qualities.items()
        for pair in range(8)
    }


def run_out(names, rules, known):
    """Give the race what it asks for until it is over; return the standing and what was asked for."""
    scores, asked = {}, []
    where = standing(names, rules, scores)
    while where.missing:
        asked += where.missing
        scores |= {run: known[run] for run in where.missing}
        where = standing(names, rules, scores)
    return where, asked


@pytest.mark.parametrize(
    ("least", "most", "expected"), [(4, 8, (4, 8)), (3, 8, (3, 6, 8)), (2, 16, (2, 4, 8, 16)), (5, 5, (5,))]
)
def test_rounds_double_up_to_the_last_pair(least, most, expected):
    assert rounds(RacingConfig(num_pairs=most, min_pairs=least)) == expected


def test_race_first_asks_for_the_first_round_pair_by_pair():
    where = standing(["a", "paper"], RULES, {("a", 0): 0.5})
    assert where.missing == (
        ("paper", 0),
        *((name, pair) for pair in (1, 2, 3) for name in ("a", "paper")),
    )
    assert (where.survivors, where.dropped) == (("a", "paper"), ())


def test_race_drops_whom_the_paired_test_speaks_against():
    known = table(a=0.60, b=0.55, c=0.40, paper=0.50)
    where, asked = run_out(["c", "b", "a", "paper"], RULES, known)
    assert where.survivors == ("a", "b", "paper")
    (dropped,) = where.dropped
    assert (dropped.name, dropped.num_pairs, dropped.leader) == ("c", 4, "a")
    assert dropped.difference == pytest.approx(-0.2, abs=0.01)
    assert dropped.p_value < 0.05
    assert [run for run in asked if run[0] == "c"] == [("c", pair) for pair in range(4)]
    assert len(asked) == len(set(asked)) == 4 * 4 + 3 * 4


def test_race_of_equals_drops_each_as_rarely_as_its_level_says():
    names, dropped = [f"trial-{number}" for number in range(8)], 0
    rng = np.random.default_rng(0)
    for _ in range(100):
        known = {(name, pair): rng.normal(0.5, 0.1) for name in names for pair in range(8)}
        dropped += len(run_out(names, RULES, known)[0].dropped)
    assert dropped / (100 * len(names)) < 0.07


def test_race_without_differences_keeps_everybody_in_the_searchs_order():
    names = ["b", "a", "paper"]
    where, asked = run_out(names, RULES, {(name, pair): 0.5 for name in names for pair in range(8)})
    assert (where.survivors, where.dropped) == (("b", "a", "paper"), ())
    assert len(asked) == 3 * 8


def test_race_never_drops_the_papers_configuration_nor_the_upper_half():
    known = table(a=0.90, b=0.50, c=0.20, paper=0.10)
    where, _ = run_out(["a", "b", "c", "paper"], RULES, known)
    assert where.survivors == ("a", "b", "paper")
    assert [each.name for each in where.dropped] == ["c"]


def test_race_corrects_for_the_comparisons_of_a_round():
    # Against `a`, p is about 0.03 for each of three: one alone is dropped, three together aren't.
    losing = [-0.02, -0.05, -0.08, -0.03, 0.0, 0.0, 0.0, 0.0]
    known = {("a", pair): 0.5 for pair in range(8)}
    known |= {(name, pair): 0.5 + losing[pair] for name in ("x", "y", "z") for pair in range(8)}
    first = {run: score for run, score in known.items() if run[1] < 4}
    alone = standing(["a", "x"], RULES, first)
    assert [each.name for each in alone.dropped] == ["x"]
    filled = first | {(name, pair): 0.5 for name in ("b", "c") for pair in range(4)}
    together = standing(["a", "b", "c", "x", "y", "z"], RULES, filled)
    assert together.dropped == ()


def test_race_is_a_function_of_its_scores_however_they_came():
    known = table(a=0.60, b=0.55, c=0.40, paper=0.50)
    names = ["c", "b", "a", "paper"]
    whole, asked = run_out(names, RULES, known)
    for cut in range(len(asked)):
        scores = {run: known[run] for run in asked[:cut]}
        where = standing(names, RULES, scores)
        assert where.missing
        # Nothing that is known is asked for again.
        assert not set(where.missing) & set(scores)
        while where.missing:
            scores |= {run: known[run] for run in where.missing}
            where = standing(names, RULES, scores)
        assert where == whole
        assert set(scores) == set(asked)


def test_pairs_are_used_by_neither_search_nor_reevaluation(make_sweep):
    sweep = make_sweep({"racing.num_candidates": 2, "seed": 5, "objective.seed": 7})
    pairs = race_pairs(sweep)
    assert [pair.seed for pair in pairs] == list(range(6, 14))
    assert [pair.split for pair in pairs] == list(range(8, 16))
    assert sweep.final_seeds == (14, 15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"racing.first_seed": 0}, r"seeds of the race must differ from the search's, .*\[0, 1, 2, 3"),
        ({"reevaluation.first_seed": 8}, r"differ from those of search and race, .* but are \[8, 9\]"),
        ({"racing.min_pairs": 9}, r"`racing.min_pairs` must be at most `racing.num_pairs`, but is 9 of 8"),
    ],
)
def test_racing_that_would_use_a_seed_twice_is_refused(make_sweep, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_sweep({"racing.num_candidates": 2, **changes})


def test_specs_are_of_the_searchs_objective_on_a_fold_of_their_own(make_sweep):
    sweep = make_sweep({"racing.num_candidates": 1, "seed": 3})
    configurations = {"trial-1": dict(sweep.paper) | {"loss.pair_margin": 1.0}, "paper": dict(sweep.paper)}
    where = standing(list(configurations), sweep.config.racing, {})
    specs = missing_specs(sweep, configurations, where)
    assert [spec["name"] for spec in specs[:3]] == [
        "trial-1-split1-seed4",
        "paper-split1-seed4",
        "trial-1-split2-seed5",
    ]
    assert {spec["role"] for spec in specs} == {"race"}
    assert specs[2]["objective"] | {"seed": 2, "num_folds": 1} == specs[2]["objective"]
    assert specs[2]["config"]["seed"] == 5
    assert specs[2]["config"]["loss"]["pair_margin"] == 1.0


def ended(spec, objective):
    state = "failed" if objective is None else "complete"
    return TrialRecord(
        spec["name"], spec["number"], spec["params"], role="race", state=state, objective=objective
    )


@pytest.fixture
def race(make_sweep):
    """Return a sweep, who starts, and a function that runs specifications into a list of records."""
    sweep = make_sweep({"racing.num_candidates": 2, "racing.num_pairs": 4, "racing.min_pairs": 2})
    margins = {"trial-1": 1.0, "trial-2": 3.0, "paper": 2.0}
    configurations = {
        name: dict(sweep.paper) | {"loss.pair_margin": margin} for name, margin in margins.items()
    }
    records = []

    def run(specs):
        for spec in specs:
            margin, wiggle = spec["params"]["loss.pair_margin"], 0.001 * spec["seed"]
            records.append(ended(spec, None if margin == 3.0 else 0.9 - 0.1 * margin + wiggle * margin))

    return sweep, configurations, run, records


def test_run_race_ends_with_the_best_in_front_and_failures_last(race):
    sweep, configurations, run, records = race
    where = run_race(sweep, configurations, run, lambda: records)
    assert where.survivors[0] == "trial-1"
    assert [each.name for each in where.dropped] == ["trial-2"]
    tree = describe_race(sweep, configurations, records)
    entries = {entry["name"]: entry for entry in tree["configurations"]}
    assert entries["trial-2"]["values"] == [0.0, 0.0, None, None]
    assert entries["trial-2"]["dropped"]["leader"] == "trial-1"
    assert [failure["run"] for failure in tree["failed"]] == ["trial-2-split1-seed1", "trial-2-split2-seed2"]
    assert tree["text"] == (
        "2 of 3 configurations stood to the end of the race over 4 (split, seed) pairs; dropped as significantly "
        "worse than the leader: trial-2 after 2. trial-1 has the best mean."
    )


def test_describe_race_that_is_under_way_says_so(race):
    sweep, configurations, run, records = race
    run_race(sweep, configurations, run, lambda: records)
    assert "under way" in describe_race(sweep, configurations, records[:4])["text"]


def test_run_race_after_a_cut_runs_only_what_is_missing(race):
    sweep, configurations, run, records = race
    run_race(sweep, configurations, run, lambda: records)
    whole = {record.name: record.objective for record in records}
    del records[3:]
    kept = [record.name for record in records]
    run_race(sweep, configurations, run, lambda: records)
    assert [record.name for record in records[:3]] == kept
    assert {record.name: record.objective for record in records} == whole
    assert len(records) == len(whole)


def test_run_race_whose_runs_leave_no_record_stops(race):
    sweep, configurations, _, _ = race
    with pytest.raises(RocoreError, match=r"every run of the race must end, but .* didn't"):
        run_race(sweep, configurations, lambda specs: None, list)


def test_scores_leave_out_what_still_runs(race):
    sweep, configurations, _, _ = race
    running = TrialRecord("paper-split1-seed1", 0, {}, role="race", objective=0.3)
    assert scores_of(list(configurations), race_pairs(sweep), [running]) == {}
