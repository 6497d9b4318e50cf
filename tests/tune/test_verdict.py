import pytest

from tune.decision import Decision
from tune.records import TrialRecord
from tune.reevaluation import METRIC
from tune.verdict import judge

KEEP = Decision("paper", "trial-1", None, 12, "Keep the paper's configuration.")
USE = Decision("trial-1", None, None, None, "Use trial-1.")
NAMES = ["paper", "trial-1"]


def runs(name, scores):
    """Return final runs over seeds 1, 2, ...; a score of None is a run that failed."""
    return [
        TrialRecord(
            f"{name}-seed{seed}",
            seed,
            {},
            role="final",
            seed=seed,
            state="failed" if score is None else "complete",
            metrics=None if score is None else {METRIC: score},
        )
        for seed, score in enumerate(scores, start=1)
    ]


PAPER = runs("paper", [0.50, 0.52, 0.51])


def test_judge_measures_the_choice_against_the_paper():
    verdict = judge(USE, NAMES, [*PAPER, *runs("trial-1", [0.60, 0.63, 0.61])])
    assert (verdict["best"], verdict["compared"], verdict["significant"]) == ("trial-1", "trial-1", True)
    assert verdict["headline"] == "Use trial-1"
    assert verdict["difference"] == pytest.approx(0.1033, abs=1e-4)
    assert verdict["text"].startswith(
        "Use trial-1. Measured on the novel relations afterwards: trial-1 is significantly better than the paper's "
        "configuration (+0.103 novel-test B-cubed F1, 95% interval ["
    )


def test_judge_that_keeps_the_paper_measures_the_runner_up():
    verdict = judge(KEEP, NAMES, [*PAPER, *runs("trial-1", [0.51, 0.50, 0.53])])
    assert (verdict["best"], verdict["compared"], verdict["significant"]) == ("paper", "trial-1", False)
    assert (
        "afterwards: no significant difference between trial-1 and the paper's configuration"
        in verdict["text"]
    )
    assert "3 seeds of this spread see a true difference of" in verdict["text"]


@pytest.mark.parametrize(("decision", "shift"), [(KEEP, 0.1), (USE, -0.1)])
def test_judge_whose_measurement_speaks_against_the_choice_says_so_and_keeps_it(decision, shift):
    verdict = judge(decision, NAMES, [*PAPER, *runs("trial-1", [0.5 + shift, 0.53 + shift, 0.51 + shift])])
    assert verdict["best"] == decision.choice
    assert verdict["significant"]
    assert "The choice stays: novel gold must not make it." in verdict["text"]


def test_judge_names_the_seeds_that_failed():
    verdict = judge(USE, NAMES, [*PAPER, *runs("trial-1", [0.6, 0.62, None])])
    assert (verdict["num_pairs"], verdict["num_better"], verdict["num_failed_seeds"]) == (2, 2, 1)
    assert verdict["failed_seeds"] == {"paper": [], "trial-1": [3]}
    assert verdict["text"].endswith(" Seeds that failed, and don't count: trial-1 on 3.")


def test_judge_of_the_paper_alone_measures_nothing():
    alone = Decision("paper", None, None, None, "Keep the paper's configuration: no other trial ended well.")
    verdict = judge(alone, ["paper"], PAPER)
    assert (verdict["significant"], verdict["compared"]) == (False, None)
    assert verdict["text"] == alone.text


def test_judge_without_gold_gives_the_decision_and_says_that_nothing_was_measured():
    for record in (found := runs("paper", [0.5])):
        record.metrics = {"silhouette": 0.4}
    text = judge(KEEP, NAMES, found)["text"]
    assert text.startswith("Keep the paper's configuration. The novel instances carry no gold relations")
    assert text.endswith("the figures are label-free.")
