import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from tune.statistics import (
    compare,
    corrected,
    detectable_difference,
    holm,
    pairs_to_decide,
    summarize,
    verdict_text,
)


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


def test_compare_by_hand():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom, whose 97.5 % quantile is 4.3027.
    comparison = compare([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (comparison.difference, comparison.std, comparison.num_better) == (2.0, 1.0, 3)
    assert comparison.ci95 == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert comparison.p_value == pytest.approx(0.0742, abs=1e-4)
    assert comparison.probability_better == pytest.approx(1 - 0.0742 / 2, abs=1e-4)


def test_compare_is_paired_and_symmetric():
    ours, theirs = [0.50, 0.60, 0.70, 0.80], [0.48, 0.57, 0.69, 0.76]
    forth, back = compare(ours, theirs), compare(theirs, ours)
    assert forth.difference == pytest.approx(0.025)
    assert back.difference == pytest.approx(-0.025)
    assert forth.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert forth.p_value == pytest.approx(back.p_value)
    assert forth.probability_better == pytest.approx(1 - back.probability_better)
    assert forth.significant
    assert back.significant


@given(
    st.lists(st.floats(-1, 1).map(lambda value: round(value, 6)), min_size=2, max_size=10),
    st.integers(0, 3),
)
def test_compare_never_contradicts_itself(differences, num_others):
    comparison = compare(differences, [0.0] * len(differences))
    assert comparison.p_value == pytest.approx(
        2 * min(comparison.probability_better, 1 - comparison.probability_better), abs=1e-9
    )
    others = [of(0.01, 0.02, 5)] * num_others
    for each in (comparison, *corrected([comparison, *others])):
        assume(abs(each.p_value - 0.05) > 1e-9)
        low, high = each.ci95
        leaves_zero_out = low > 0 or high < 0
        assert each.significant == (each.p_value < 0.05) == leaves_zero_out


@pytest.mark.parametrize(
    ("ours", "figures"),
    [([0.5, 0.5], (0.0, 1.0, 0.5)), ([0.8] * 3, (0.3, 0.0, 1.0)), ([0.2] * 3, (-0.3, 0.0, 0.0))],
)
def test_compare_without_spread(ours, figures):
    comparison = compare(ours, [0.5] * len(ours))
    found = (comparison.difference, comparison.p_value, comparison.probability_better)
    assert found == pytest.approx(figures)


@pytest.mark.parametrize(("ours", "theirs", "difference"), [([], [], None), ([0.7], [0.5], 0.2)])
def test_compare_with_fewer_than_two_pairs_claims_nothing(ours, theirs, difference):
    comparison = compare(ours, theirs)
    assert comparison.difference == (None if difference is None else pytest.approx(difference))
    assert (comparison.ci95, comparison.p_value, comparison.significant) == (None, None, False)


def test_compare_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="equal lengths, but got 1 and 2"):
        compare([1.0], [1.0, 2.0])


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


def of(mean, std, n):
    """Return n pairs whose differences have this mean and standard deviation."""
    wiggle = [(-1) ** i for i in range(n)] if n % 2 == 0 else [-1, 0, 1] + [(-1) ** i for i in range(n - 3)]
    spread = (sum(value**2 for value in wiggle) / (n - 1)) ** 0.5
    return compare([mean + std * value / spread for value in wiggle], [0.0] * n)


def test_corrected_by_hand():
    clear, near, none = of(0.05, 0.02, 5), of(0.03, 0.02, 5), of(0.0, 0.02, 5)
    together = corrected([near, clear, none])
    assert [each.p_value for each in together] == pytest.approx([2 * near.p_value, 3 * clear.p_value, 1.0])
    assert [each.num_compared for each in together] == [3, 3, 3]
    assert [each.probability_better for each in together] == [
        each.probability_better for each in (near, clear, none)
    ]
    # 1 - .05 / 3 of Student's t with 4 degrees of freedom lies within 3.961 standard errors.
    half = 3.961 * 0.02 / 5**0.5
    assert together[1].ci95 == pytest.approx((0.05 - half, 0.05 + half), abs=1e-4)


def test_corrected_leaves_comparisons_without_a_test_alone():
    lone = compare([0.7], [0.5])
    found, other = corrected([lone, of(0.05, 0.02, 5)])
    assert found == lone
    assert other.num_compared == 1


@pytest.mark.parametrize(("num_pairs", "level"), [(2, 0.05), (3, 0.05), (5, 0.05 / 3), (8, 0.05)])
def test_detectable_difference_is_seen_four_times_in_five(num_pairs, level):
    true = detectable_difference(0.03, num_pairs, level=level)
    drawn = np.random.default_rng(0).normal(true, 0.03, size=(40_000, num_pairs))
    p_values = stats.ttest_1samp(drawn, 0.0, axis=1).pvalue
    assert (p_values < level).mean() == pytest.approx(0.8, abs=0.01)


def test_pairs_to_decide_is_the_first_number_that_can_see_it():
    needed = pairs_to_decide(0.02, 0.03)
    assert detectable_difference(0.03, needed) <= 0.02 < detectable_difference(0.03, needed - 1)


@pytest.mark.parametrize(
    ("difference", "std", "needed"), [(0.0, 0.03, None), (1e-4, 0.03, None), (0.3, 0.0, 2)]
)
def test_pairs_to_decide_at_its_ends(difference, std, needed):
    assert pairs_to_decide(difference, std) == needed


@pytest.mark.parametrize(
    ("comparison", "beginning", "ending"),
    [
        (
            of(0.05, 0.02, 8),
            "Ours is significantly better than theirs (+0.050 F1, 95% interval [+0.",
            "8 seeds).",
        ),
        (of(-0.05, 0.02, 8), "Ours is significantly worse than theirs", "8 seeds)."),
        (of(0.05, 0.001, 3), "Ours is significantly better", "3 seeds)."),
        (
            of(0.02, 0.03, 3),
            "No significant difference between ours and theirs (+0.020 F1, 95% interval [-0.055, +0.095], p = 0.368",
            "3 seeds of this spread see a true difference of 0.098 or more four times in five.",
        ),
        (compare([0.7], [0.5]), "Ours scored +0.200 F1 against theirs on the one seed", "from chance."),
        (compare([], []), "Ours and theirs can't be compared", "for both."),
    ],
)
def test_verdict_says_what_it_rests_on(comparison, beginning, ending):
    text = verdict_text("ours", "theirs", "F1", comparison)
    assert text.startswith(beginning)
    assert text.endswith(ending)


def test_verdict_of_a_corrected_comparison_says_for_how_many():
    comparison = corrected([of(0.05, 0.001, 5), of(0.0, 0.02, 5), of(0.0, 0.02, 5)])[0]
    assert "p < 0.001 by a paired t-test, corrected for 3 comparisons" in verdict_text(
        "a", "b", "F1", comparison
    )
