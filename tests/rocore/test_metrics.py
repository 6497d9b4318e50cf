from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, v_measure_score

from rocore.metrics import CLUSTERING_METRICS, b_cubed, clustering_metrics, hungarian_accuracy

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25)
QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def slow_b_cubed(gold: Sequence[int], clusters: Sequence[int]) -> tuple[float, float, float]:
    """Item by item, as Bagga and Baldwin write it."""
    precision = recall = 0.0
    for relation, cluster in zip(gold, clusters, strict=True):
        own_cluster = [g for g, c in zip(gold, clusters, strict=True) if c == cluster]
        own_relation = [c for g, c in zip(gold, clusters, strict=True) if g == relation]
        precision += own_cluster.count(relation) / len(own_cluster) / len(gold)
        recall += own_relation.count(cluster) / len(own_relation) / len(gold)
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("gold", "clusters", "precision", "recall"),
    [
        pytest.param("aabb", [0, 0, 0, 0], 1 / 2, 1.0, id="one cluster"),
        pytest.param("aabb", [0, 1, 2, 3], 1.0, 1 / 2, id="a cluster for each item"),
        pytest.param("aab", [0, 0, 0], 5 / 9, 1.0, id="unequal relations"),
        pytest.param("aaab", [0, 0, 1, 1], 3 / 4, 2 / 3, id="one item astray"),
    ],
)
def test_b_cubed_hand_value(gold: str, clusters: list[int], precision: float, recall: float) -> None:
    f1 = 2 * precision * recall / (precision + recall)
    assert b_cubed(list(gold), clusters) == pytest.approx((precision, recall, f1))


@QUICK
@given(PAIRS)
def test_b_cubed_equals_loop_over_items(pairs: list[tuple[int, int]]) -> None:
    gold, clusters = zip(*pairs, strict=True)
    assert b_cubed(gold, clusters) == pytest.approx(slow_b_cubed(gold, clusters))


@QUICK
@given(PAIRS, st.lists(st.integers(0, 6), max_size=10))
def test_b_cubed_others_count_in_the_precision_alone(pairs: list[tuple[int, int]], others: list[int]) -> None:
    gold, clusters = zip(*pairs, strict=True)
    precision, recall, f1 = b_cubed(gold, clusters, others)
    members = [*zip(gold, clusters, strict=True), *((-1, cluster) for cluster in others)]
    shares = [
        sum(m == (g, c) for m in members) / sum(other == c for _, other in members)
        for g, c in zip(gold, clusters, strict=True)
    ]
    assert precision == pytest.approx(sum(shares) / len(gold))
    assert recall == pytest.approx(slow_b_cubed(gold, clusters)[1])
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


@QUICK
@given(PAIRS, st.permutations(range(5)))
def test_clustering_metrics_renamed_clusters_are_the_same(
    pairs: list[tuple[int, int]], names: list[int]
) -> None:
    gold, clusters = zip(*pairs, strict=True)
    renamed = [f"cluster {names[cluster]}" for cluster in clusters]
    assert clustering_metrics(gold, renamed) == pytest.approx(clustering_metrics(gold, clusters), abs=1e-12)


@QUICK
@given(PAIRS)
def test_clustering_metrics_lie_within_bounds(pairs: list[tuple[int, int]]) -> None:
    values = clustering_metrics(*zip(*pairs, strict=True))
    ari = values.pop("ari")
    assert -0.5 <= ari <= 1
    assert all(-1e-12 <= value <= 1 + 1e-12 for value in values.values())
    assert min(values["b3_precision"], values["b3_recall"], values["b3_f1"]) > 0


@QUICK
@given(PAIRS)
def test_clustering_metrics_perfect_clusters_are_one(pairs: list[tuple[int, int]]) -> None:
    gold = [relation for relation, _ in pairs]
    perfect = clustering_metrics(gold, [9 - relation for relation in gold])
    assert perfect == pytest.approx(dict.fromkeys(CLUSTERING_METRICS, 1.0))


def test_clustering_metrics_are_named_after_what_they_are() -> None:
    """One cluster is complete and not homogeneous; a cluster for each item is homogeneous."""
    gold = [0, 0, 1, 1]
    whole, single = clustering_metrics(gold, [0] * 4), clustering_metrics(gold, range(4))
    assert tuple(whole) == CLUSTERING_METRICS
    assert (whole["homogeneity"], whole["completeness"]) == pytest.approx((0, 1))
    assert (single["homogeneity"], single["completeness"]) == pytest.approx((1, 0.5))
    assert (whole["b3_precision"], whole["b3_recall"]) == pytest.approx((0.5, 1))


def test_clustering_metrics_v_measure_and_ari_are_those_of_sklearn() -> None:
    gold, clusters = [0, 0, 0, 1, 1, 2, 2, 2], [1, 1, 0, 0, 0, 2, 2, 1]
    values = clustering_metrics(gold, clusters)
    assert values["v_measure"] == pytest.approx(v_measure_score(gold, clusters))
    assert values["ari"] == pytest.approx(adjusted_rand_score(gold, clusters))


@pytest.mark.parametrize("metric", [b_cubed, clustering_metrics])
def test_metrics_without_items_are_refused(metric: object) -> None:
    with pytest.raises(ValueError, match="at least one item must be given, but there is none"):
        metric([], [])


@pytest.mark.parametrize(
    ("gold", "clusters", "expected"),
    [
        pytest.param("aabb", [7, 7, 3, 3], 1.0, id="renamed"),
        pytest.param("aabb", [0, 0, 0, 0], 0.5, id="one cluster has one relation"),
        pytest.param("aabb", [0, 1, 2, 3], 0.5, id="a relation has one cluster"),
        pytest.param("aaabb", [0, 0, 1, 1, 1], 0.8, id="best matching"),
        pytest.param("aabb", [0, 0, -3, 1], 0.75, id="given to a known relation"),
        pytest.param("aabb", [-1, -1, -2, -2], 0.0, id="all given to known relations"),
        pytest.param("ab", [-1, 0], 0.5, id="negative ids never match"),
    ],
)
def test_hungarian_accuracy_hand_value(gold: str, clusters: list[int], expected: float) -> None:
    assert hungarian_accuracy(list(gold), np.array(clusters)) == pytest.approx(expected)


def test_hungarian_accuracy_is_the_best_matching_and_not_the_greedy_one() -> None:
    """Greedy takes a-0 (3 items) and leaves b-1 (0); the best is a-1, b-0 (2 + 2)."""
    gold = list("aaa" + "aa" + "bb")
    clusters = np.array([0, 0, 0, 1, 1, 0, 0])
    assert hungarian_accuracy(gold, clusters) == pytest.approx(4 / 7)
