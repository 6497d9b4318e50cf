import numpy as np
import pytest

from benchmarks.arithmetic import (
    Lengths,
    Sizes,
    Work,
    clustering_step,
    executed_joint_step,
    features,
    features_backward,
    joint_step,
    product,
    projector,
    trunk,
)

SIZES = Sizes(hidden=4, inner=8, heads=2, clustering=(8, 5, 5, 3), num_known=3, num_novel=2)
LENGTHS = Lengths(np.array([5, 3]), np.array([2, 1]))  # P = 8, Q = 3, sum of q * l = 13, sum of l * l = 34


def test_product_counts_two_operations_a_multiply_add_and_each_operand_once():
    assert product(2, 3, 5) == Work(flops=2 * 2 * 3 * 5, elements=2 * 3 + 3 * 5 + 2 * 5)


def test_product_of_arrays_is_the_sum():
    assert product(np.array([2, 1]), 3, np.array([5, 4])) == product(2, 3, 5) + product(1, 3, 4)


def test_trunk_counts_every_layer_below_the_output_layer_over_real_tokens():
    linear = 2 * 8 * (4 * 4 * 4 + 2 * 4 * 8)  # P tokens; four H x H and two H x I
    attention = 2 * 2 * 34 * 4  # scores and context, all heads together H wide
    assert trunk(LENGTHS, SIZES, output_layer=3).flops == 2 * (linear + attention)


def test_trunk_where_the_output_layer_is_the_first_is_nothing():
    assert trunk(LENGTHS, SIZES, output_layer=1) == Work()


def test_features_counts_keys_of_all_tokens_and_the_rest_of_span_tokens():
    keys_values = 2 * 8 * 4 * 8
    spans = 2 * 3 * (2 * 4 * 4 + 2 * 4 * 8)
    assert features(LENGTHS, SIZES).flops == keys_values + spans + 2 * 2 * 13 * 4


def test_features_backward_leaves_the_frozen_tokens_out():
    weights_alone = 2 * 8 * 4 * 8 + 2 * 3 * 4 * 4
    both = 2 * (2 * 3 * 4 * 4 + 2 * 2 * 3 * 4 * 8 + 2 * 2 * 13 * 4)
    assert features_backward(LENGTHS, SIZES).flops == weights_alone + both


def test_clustering_step_leaves_the_gradient_into_constant_features_out():
    multiply_adds = 8 * 5 + 5 * 5 + 5 * 3
    assert projector(7, SIZES).flops == 2 * 7 * multiply_adds
    assert clustering_step(7, SIZES).flops == 2 * 7 * (6 * multiply_adds - 8 * 5)


def test_joint_step_is_the_sum_of_its_parts():
    classifiers = 3 * 2 * 8 * (1 * 3 + 1 * 2)  # one labeled, one unlabeled row
    parts = features(LENGTHS, SIZES) + features_backward(LENGTHS, SIZES) + clustering_step(2, SIZES)
    assert joint_step(LENGTHS, SIZES, num_labeled=1).flops == parts.flops + classifiers


def test_executed_joint_step_has_no_keys_and_values():
    keys_values = 2 * (2 * 8 * 4 * 8) + 3 * (
        2 * 2 * 13 * 4
    )  # backward their weights alone; attention three times
    folded = 6 * (2 * 3 * 4 * 4) + 4 * (
        2 * (2 * 13) * 4
    )  # six products by head; four of a query's two heads and tokens
    needed = joint_step(LENGTHS, SIZES, num_labeled=1).flops
    assert executed_joint_step(LENGTHS, SIZES, num_labeled=1).flops == needed - keys_values + folded


@pytest.mark.parametrize("row", [0, 1])
def test_lengths_of_one_row_add_up(row):
    assert len(LENGTHS[[row]]) == 1
    whole = features(LENGTHS[[0]], SIZES) + features(LENGTHS[[1]], SIZES)
    assert whole.flops == features(LENGTHS, SIZES).flops
