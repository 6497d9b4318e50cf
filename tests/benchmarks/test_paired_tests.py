import numpy as np
import pytest

from benchmarks.paired_tests import (
    CANDIDATES,
    DIFFERENCES,
    NUM_SEEDS,
    TRUE_DIFFERENCES,
    WAYS,
    false_alarms,
    family_alarms,
    power,
    replacements,
    report,
    resampled_alarms,
    resampling_weights,
)
from tune.records import PAPER


def tables_of(text):
    """Return the rows of each table below its header, as lists of cells."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    return [[line.strip("| ").split(" | ") for line in block[2:]] for block in blocks]


def test_report_prints_a_row_for_every_simulation():
    alarms, family, seen, race = tables_of(report(repetitions=10))
    assert [row[:2] for row in alarms] == [[name, way] for name in DIFFERENCES for way in WAYS.values()]
    assert [row[0] for row in family] == ["each by itself", "Holm"]
    assert [row[0] for row in seen] == [*(f"{size:.2f}" for size in TRUE_DIFFERENCES), "**seen in 80%**"]
    assert len(race) == 7
    for rows, first, num_cells in ((alarms, 2, 4), (family, 1, 4), (seen[:-1], 1, 4), (race, 2, 6)):
        assert all(len(row) - first == num_cells for row in rows)
        assert all(0 <= float(cell.removesuffix("%")) <= 100 for row in rows for cell in row[first:])


@pytest.mark.parametrize("num_seeds", NUM_SEEDS)
def test_false_alarms_of_normal_differences_are_near_the_level(num_seeds):
    found = false_alarms("normal", num_seeds, 1000)
    assert found["t"] == pytest.approx(0.05, abs=0.02)  # three standard errors
    assert found["interval"] > 0.08
    assert found["probability"] > 0.08


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences_have_no_true_mean(name):
    drawn = DIFFERENCES[name](np.random.default_rng(0), (100, 1000))
    assert drawn.mean() == pytest.approx(0, abs=5 * drawn.std() / np.sqrt(drawn.size))


def test_resampled_alarms_count_rows_on_one_side_of_zero():
    rows = np.array([[1.0, 2.0, 3.0], [-1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]])
    for weights in resampling_weights(3).values():
        assert resampled_alarms(rows, weights) == 0.5


def test_holm_keeps_the_alarms_of_a_family_near_the_level():
    single, corrected = family_alarms(5, 500)
    assert single > 0.09
    assert corrected == pytest.approx(0.05, abs=0.03)


def test_power_rises_with_the_difference_and_the_seeds():
    assert power(0.02, 5, 200) < power(0.05, 5, 200) < power(0.05, 10, 200)


def scores_of(**leads):
    """Return eight pairs of each candidate; those that aren't named are worse than the incumbent."""
    noise = np.random.default_rng(0).normal(0, 0.001, (len(CANDIDATES) + 1, 8))
    means = {PAPER: 0.0} | {name: leads.get(name.replace("-", "_"), -0.1) for name in CANDIDATES}
    return {name: mean + row for (name, mean), row in zip(means.items(), noise, strict=True)}


def test_replacements_where_one_is_far_better_every_rule_names_it():
    replaced = replacements(scores_of(trial_3=0.1), 8, CANDIDATES)
    assert len(replaced) == 7
    assert set(replaced.values()) == {"trial-3"}


def test_replacements_where_all_are_worse_or_out_nobody_replaces():
    assert replacements(scores_of(), 8, CANDIDATES) == {}
    assert replacements(scores_of(trial_3=0.1), 8, []) == {}


def test_replacements_where_one_is_slightly_better_the_correction_counts_who_is_left():
    scores = scores_of(trial_0=0.0)
    wave = np.array([1, -1, 1, -1, 1, -1, 1, -1])
    scores["trial-0"] = (
        scores[PAPER] + 0.01 + 0.01 * wave
    )  # two-sided p = .033, over one candidate or over eight
    assert replacements(scores, 8, ["trial-0"]) == {
        ("the best mean, no test", "-"): "trial-0",
        ("t-test of the best alone", "one"): "trial-0",
        ("t-test of the best alone", "two"): "trial-0",
        ("Holm over who is left", "one"): "trial-0",
        ("Holm over who is left", "two"): "trial-0",
    }
