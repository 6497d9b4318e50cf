import numpy as np
import pytest

from tune.config import RacingConfig
from tune.decision import compared_configurations, decide, decide_without_race, describe_decision
from tune.racing import standing
from tune.records import TrialRecord

PAPER = {"loss.pair_margin": 2.0}
WIGGLE = [0.01, -0.01, 0.01, -0.01, 0.01, -0.01, 0.01, -0.01]


def race(gains, num_pairs=8, wiggle=1.0):
    """Return where a race stands in which candidates score so much more than the paper's on average."""
    rules = RacingConfig(num_candidates=len(gains), num_pairs=num_pairs, min_pairs=num_pairs)
    pair = np.random.default_rng(0).normal(0.6, 0.05, num_pairs)
    scores = {("paper", i): pair[i] for i in range(num_pairs)}
    for name, gain in gains.items():
        scores |= {(name, i): pair[i] + gain + wiggle * WIGGLE[i] for i in range(num_pairs)}
    return standing([*gains, "paper"], rules, scores), scores


def test_decide_replaces_the_paper_by_a_significant_gain():
    where, scores = race({"trial-3": 0.03, "trial-1": 0.05})
    decision = decide(where, scores, 0.05)
    assert (decision.choice, decision.runner_up, decision.pairs_needed) == ("trial-1", "trial-3", None)
    assert decision.text.startswith(
        "Use trial-1: in the race over 8 (split, seed) pairs it is significantly better than the paper's "
        "configuration (+0.050 of the search's objective, 95% interval ["
    )
    assert "corrected for 2 comparisons" in decision.text
    assert decision.text.startswith(f"{decision.headline}: ")


def test_decide_keeps_the_paper_where_a_gain_may_be_chance_and_says_how_many_pairs_would_tell():
    where, scores = race({"trial-3": 0.005})
    decision = decide(where, scores, 0.05)
    assert (decision.choice, decision.runner_up, decision.pairs_needed) == ("paper", "trial-3", 38)
    assert decision.text.startswith(
        "Keep the paper's configuration: in the race over 8 (split, seed) pairs no candidate is significantly better. "
        "The runner-up is trial-3 (+0.005 of the search's objective, "
    )
    assert decision.text.endswith(
        "a gain of that size would take about 38 pairs to confirm (`racing.num_pairs`)."
    )


def test_decide_at_another_level_than_the_intervals_names_it():
    where, scores = race({"trial-3": 0.012})
    assert decide(where, scores, 0.05).choice == "trial-3"
    kept = decide(where, scores, 0.001)
    assert kept.choice == "paper"
    assert "no candidate is significantly better at a level of 0.001 (`racing.alpha`)." in kept.text


@pytest.mark.parametrize(
    ("gain", "ending"),
    [
        (-0.003, "it has no gain that more pairs could confirm."),
        (1e-5, "so small a gain would take more than a thousand pairs to confirm."),
    ],
)
def test_decide_without_a_gain_to_confirm_names_no_number_of_pairs(gain, ending):
    decision = decide(*race({"trial-3": gain}), 0.05)
    assert (decision.choice, decision.pairs_needed) == ("paper", None)
    assert decision.text.endswith(ending)


def test_decide_where_every_candidate_was_dropped_says_so():
    decision = decide(*race({"trial-3": -0.3}), 0.05)
    assert (decision.choice, decision.runner_up) == ("paper", None)
    assert decision.text.endswith(
        "no candidate is significantly better. All of them were dropped as significantly worse."
    )


def test_decide_corrects_for_the_candidates_that_stood_to_the_end():
    alone = decide(*race({"trial-1": 0.01}), 0.05)
    assert alone.choice == "trial-1"
    where, scores = race({"trial-1": 0.01, "trial-2": 0.009, "trial-3": -0.3})
    assert [each.name for each in where.dropped] == ["trial-3"]
    among = decide(where, scores, 0.05)
    assert among.comparison.num_compared == 2
    assert among.comparison.p_value == pytest.approx(2 * alone.comparison.p_value, rel=0.2)


def test_decide_of_equal_configurations_replaces_the_paper_no_more_often_than_its_level_says():
    rng, replaced, names = np.random.default_rng(0), 0, [f"trial-{number}" for number in range(3)]
    rules = RacingConfig(num_candidates=3, num_pairs=8, min_pairs=4)
    for _ in range(400):
        scores = {(name, pair): rng.normal(0.6, 0.03) for name in (*names, "paper") for pair in range(8)}
        replaced += decide(standing([*names, "paper"], rules, scores), scores, 0.05).choice != "paper"
    assert replaced / 400 < 0.05


def trial(number, objective, state="complete"):
    params = PAPER if number == 0 else {"loss.pair_margin": number / 10}
    return TrialRecord(f"{number:04d}", number, params, state=state, objective=objective)


@pytest.mark.parametrize(
    ("trials", "choice", "runner_up", "beginning"),
    [
        (
            [trial(0, 0.5), trial(1, 0.9)],
            "paper",
            "trial-1",
            "Keep the paper's configuration: without a race",
        ),
        (
            [trial(0, None, "failed"), trial(1, 0.4), trial(2, 0.6)],
            "trial-2",
            "trial-1",
            "Use trial-2: the paper's",
        ),
        (
            [trial(0, 0.5), trial(1, None, "failed")],
            "paper",
            None,
            "Keep the paper's configuration: no other trial of the search ended well.",
        ),
    ],
)
def test_decide_without_race_keeps_the_paper_unless_it_failed(trials, choice, runner_up, beginning):
    decision = decide_without_race(trials, PAPER)
    assert (decision.choice, decision.runner_up, decision.comparison) == (choice, runner_up, None)
    assert decision.text.startswith(beginning)


@pytest.mark.parametrize(
    ("gains", "top_k", "names"),
    [
        ({"trial-1": 0.05, "trial-2": 0.04}, 1, ["trial-1", "paper"]),
        ({"trial-1": 0.001, "trial-2": -0.02}, 1, ["paper", "trial-1"]),
        ({"trial-1": 0.002, "trial-2": 0.001}, 2, ["paper", "trial-1", "trial-2"]),
    ],
)
def test_compared_configurations_are_the_choice_the_best_and_the_paper(gains, top_k, names):
    where, scores = race(gains)
    configurations = {name: {} for name in (*gains, "paper")}
    decision = decide(where, scores, 0.05)
    assert list(compared_configurations(decision, where.survivors, configurations, top_k)) == names


def test_described_decision_holds_the_figures():
    tree = describe_decision(decide(*race({"trial-3": 0.005}), 0.05))
    assert (tree["choice"], tree["runner_up"], tree["pairs_needed"]) == ("paper", "trial-3", 38)
    assert tree["comparison"]["difference"] == pytest.approx(0.005)
    assert tree["comparison"]["ci95"][0] < 0 < tree["comparison"]["ci95"][1]
