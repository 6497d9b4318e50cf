import pytest

from tune.records import TrialRecord
from tune.reevaluation import METRIC, against_paper, candidates, final_specs, name_of, rank, summarize_final

PAPER = {"loss.pair_margin": 2.0}


def trial(number, objective, state="complete", margin=None):
    params = dict(PAPER) if number == 0 else {"loss.pair_margin": margin or float(number) / 10}
    return TrialRecord(f"{number:04d}", number, params, state=state, objective=objective)


def final(name, seed, score, state="complete", error=None):
    metrics = None if score is None else {METRIC: score, "known_accuracy": 0.9}
    curve = [{"epoch": 1, "seconds": 3.0}]
    return TrialRecord(
        f"{name}-seed{seed}",
        seed,
        {},
        role="final",
        seed=seed,
        state=state,
        error=error,
        metrics=metrics,
        curve=curve,
    )


def test_rank_puts_complete_trials_first_and_leaves_failed_ones_out():
    trials = [
        trial(0, 0.3),
        trial(1, 0.9, "pruned"),
        trial(2, None, "failed"),
        trial(3, 0.5),
        trial(4, 0.95, "pruned"),
        trial(5, 0.5),
    ]
    assert [record.number for record in rank(trials)] == [3, 5, 0, 4, 1]


def test_rank_counts_the_last_epoch_and_not_the_best():
    lucky, steady = trial(1, 0.4), trial(2, 0.5)
    lucky.curve = [{"epoch": 1, "objective": 0.9}, {"epoch": 2, "objective": 0.4}]
    assert rank([lucky, steady])[0] is steady


def test_rank_keeps_the_best_placed_of_equal_configurations():
    trials = [trial(1, 0.2, margin=3.0), trial(2, 0.6, margin=3.0), trial(3, 0.4)]
    assert [record.number for record in rank(trials)] == [2, 3]


@pytest.mark.parametrize(
    ("trials", "names"),
    [
        ([trial(0, 0.1), trial(1, 0.5), trial(2, 0.6), trial(3, 0.4)], ["trial-2", "trial-1", "paper"]),
        ([trial(0, 0.9), trial(1, 0.5), trial(2, 0.6)], ["paper", "trial-2", "trial-1"]),
        ([trial(0, None, "failed"), trial(1, 0.5)], ["trial-1", "paper"]),
    ],
)
def test_candidates_are_the_best_in_order_and_always_the_paper(trials, names):
    assert list(candidates(trials, PAPER, 2)) == names


def test_name_of_the_papers_configuration_met_again_is_paper():
    assert name_of(trial(7, 0.5, margin=2.0), PAPER) == "paper"


def test_final_specs_cover_every_seed_and_configuration(make_sweep):
    sweep = make_sweep(seed=3)
    specs = final_specs(sweep, {"trial-1": dict(sweep.paper), "paper": dict(sweep.paper)})
    assert [spec["name"] for spec in specs] == [
        "trial-1-seed4",
        "paper-seed4",
        "trial-1-seed5",
        "paper-seed5",
    ]
    assert {(spec["seed"], spec["config"]["seed"]) for spec in specs} == {(4, 4), (5, 5)}
    assert {spec["role"] for spec in specs} == {"final"}
    assert all(spec["config"]["data"]["pseudo_novel"] is None for spec in specs)


def test_summary_shows_failed_seeds():
    records = [
        final("paper", 1, 0.5),
        final("paper", 2, None, "failed", "loss is nan"),
        final("paper", 3, 0.7),
    ]
    (entry,) = summarize_final({"paper": PAPER}, records)
    assert entry["seeds"] == [1, 3]
    assert entry["failed_seeds"] == [{"seed": 2, "error": "loss is nan"}]
    assert entry["metrics"][METRIC]["values"] == [0.5, 0.7]
    assert entry["metrics"][METRIC]["mean"] == pytest.approx(0.6)
    assert entry["metrics"][METRIC]["n"] == 2
    assert entry["seconds"] == 9.0


def test_summary_tells_trial_1_from_trial_10():
    records = [final("trial-1", 1, 0.5), final("trial-10", 1, 0.7)]
    first, tenth = summarize_final({"trial-1": {}, "trial-10": {}}, records)
    assert (first["metrics"][METRIC]["values"], tenth["metrics"][METRIC]["values"]) == ([0.5], [0.7])


def test_against_paper_pairs_the_seeds_that_both_finished():
    ours = [final("trial-1", seed, 0.6 + seed / 100) for seed in (1, 2, 3)]
    theirs = [final("paper", seed, 0.5 + seed / 100) for seed in (2, 3, 4)]
    comparison = against_paper(["trial-1", "paper"], [*ours, *theirs])["trial-1"]
    assert comparison.num_pairs == 2
    assert comparison.difference == pytest.approx(0.1)


def test_summary_compares_each_with_the_paper_and_corrects_for_all():
    records = [
        final(name, seed, base + seed * step)
        for name, base, step in (("trial-1", 0.6, 0.01), ("trial-2", 0.3, 0.02), ("paper", 0.5, 0.015))
        for seed in (1, 2, 3)
    ]
    first, second, paper = summarize_final({"trial-1": {}, "trial-2": {}, "paper": {}}, records)
    assert paper["against_paper"] is None
    assert first["against_paper"]["difference"] == pytest.approx(0.09)
    assert first["against_paper"]["num_better"] == 3
    assert second["against_paper"]["probability_better"] < 0.01
    assert {entry["against_paper"]["num_compared"] for entry in (first, second)} == {2}
    alone = against_paper(["trial-1", "paper"], records)["trial-1"]
    assert first["against_paper"]["p_value"] in (alone.p_value, pytest.approx(2 * alone.p_value))
