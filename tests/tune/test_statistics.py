import math

import pytest

from tune.statistics import Comparison, compare, holm, paired_t_test, summarize, verdict_text


def test_summarize_by_hand():
    summary = summarize([1.0, 2.0, 3.0])
    assert (summary.mean, summary.std, summary.n) == (2.0, 1.0, 3)
    # t of 0.975 with 2 degrees of freedom is 4.303; half width 4.303 / sqrt(3).
    assert summary.ci95 == pytest.approx((2 - 2.4843, 2 + 2.4843), abs=1e-3)


def test_summarize_one_value_has_no_spread():
    summary = summarize([0.5])
    assert (summary.mean, summary.std, summary.ci95) == (0.5, None, None)


def test_summarize_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        summarize([])


def test_paired_t_test_by_hand():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom; p = 0.0742.
    assert paired_t_test([1.0, 2.0, 3.0]) == pytest.approx(0.0742, abs=1e-4)
    assert paired_t_test([-1.0, -2.0, -3.0]) == pytest.approx(0.0742, abs=1e-4)


@pytest.mark.parametrize(("differences", "p"), [([0.0, 0.0], 1.0), ([0.3, 0.3, 0.3], 0.0)])
def test_paired_t_test_without_spread(differences, p):
    assert paired_t_test(differences) == p


def test_compare_is_paired_and_symmetric():
    ours, theirs = [0.50, 0.60, 0.70, 0.80], [0.48, 0.57, 0.69, 0.76]
    forth, back = compare(ours, theirs), compare(theirs, ours)
    assert forth.difference == pytest.approx(0.025)
    assert back.difference == pytest.approx(-0.025)
    assert forth.ci95[0] > 0 > back.ci95[1]
    assert forth.p_value == pytest.approx(back.p_value)
    assert (forth.probability_better, back.probability_better) == (1.0, 0.0)
    assert forth.significant
    assert back.significant


def test_compare_interval_of_two_pairs_is_their_range():
    comparison = compare([1.0, 3.0], [0.0, 0.0])
    assert comparison.ci95 == (1.0, 3.0)
    assert not comparison.significant


@pytest.mark.parametrize(("ours", "theirs", "difference"), [([], [], None), ([0.7], [0.5], 0.2)])
def test_compare_with_fewer_than_two_pairs_claims_nothing(ours, theirs, difference):
    comparison = compare(ours, theirs)
    assert comparison.difference == (None if difference is None else pytest.approx(difference))
    assert (comparison.ci95, comparison.p_value, comparison.significant) == (None, None, False)


def test_compare_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="equal lengths, but got 1 and 2"):
        compare([1.0], [1.0, 2.0])


def test_probability_better_of_two_pairs_by_hand():
    # Weights (w, 1 - w) with w uniform: 3 w - (1 - w) > 0 where w > 1/4.
    assert compare([3.0, 0.0], [0.0, 1.0]).probability_better == pytest.approx(0.75, abs=0.01)


def test_probability_better_of_equals_is_a_half():
    comparison = compare([0.5, 0.6], [0.5, 0.6])
    assert (comparison.probability_better, comparison.num_better) == (0.5, 0)


def test_compare_counts_the_seeds_that_are_better():
    assert compare([0.5, 0.6, 0.7], [0.4, 0.7, 0.6]).num_better == 2


def test_holm_by_hand():
    # Sorted .01, .02, .03 times 3, 2, 1; none below its predecessor.
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def make(difference, p, n, half=0.01):
    return Comparison(
        difference=difference,
        ci95=(difference - half, difference + half),
        p_value=p,
        probability_better=1.0,
        num_pairs=n,
        num_better=n,
    )


@pytest.mark.parametrize(
    ("comparison", "beginning", "ending"),
    [
        (make(0.05, 0.001, 8), "Ours is significantly better than theirs", "8 seeds)."),
        (make(-0.05, 0.001, 8), "Ours is significantly worse than theirs", "8 seeds)."),
        (
            make(0.05, 0.001, 3),
            "Ours is significantly better",
            "Only 3 seeds: repeat with more before relying on it.",
        ),
        (make(0.005, 0.4, 8), "No significant difference between ours and theirs", "8 seeds)."),
        (make(0.05, 0.2, 8), "No significant difference", "8 seeds)."),
        (
            make(0.005, 0.4, 2),
            "No significant difference",
            "With only 2 seeds, a small difference can't be seen.",
        ),
        (compare([0.7], [0.5]), "Ours scored +0.200 F1 against theirs on the one seed", "from chance."),
        (compare([], []), "Ours and theirs can't be compared", "both."),
    ],
)
def test_verdict_says_what_it_rests_on(comparison, beginning, ending):
    text = verdict_text("ours", "theirs", "F1", comparison)
    assert text.startswith(beginning)
    assert text.endswith(ending)


def test_bootstrap_is_reproducible():
    values = ([0.1 * math.sin(i) for i in range(6)], [0.0] * 6)
    assert compare(*values) == compare(*values)
