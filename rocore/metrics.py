"""Clustering metrics of the paper: B-cubed, V-measure, adjusted Rand index; all invariant to renaming clusters."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, homogeneity_completeness_v_measure
from sklearn.metrics.cluster import contingency_matrix

CLUSTERING_METRICS = (
    "b3_precision",
    "b3_recall",
    "b3_f1",
    "homogeneity",
    "completeness",
    "v_measure",
    "ari",
)


def b_cubed(gold: ArrayLike, clusters: ArrayLike, others: ArrayLike = ()) -> tuple[float, float, float]:
    """B-cubed precision, recall and F1 (Bagga and Baldwin 1998).

    Precision of an item: the share of its cluster that has its relation; recall: the share of its relation that is in
    its cluster. Both are averaged over items; F1 is of the two means.

    Args:
        gold: (N,) relations.
        clusters: (N,) cluster ids.
        others: (O,) cluster ids of items of none of these relations, which aren't scored themselves: they count as
            members of their clusters in the precision (Troisemaine et al. 2023, arXiv 2311.05440).

    Returns:
        Precision, recall, F1, each in (0, 1].

    Raises:
        ValueError: If there is no item.
    """
    table: NDArray[np.float64] = contingency_matrix(gold, clusters).astype(np.float64)
    if table.size == 0:
        raise ValueError("at least one item must be given, but there is none")
    total = table.sum()
    beside, columns = Counter(np.asarray(others).tolist()), np.unique(clusters).tolist()
    num_others = np.array([beside[cluster] for cluster in columns])
    precision = float((table**2 / (table.sum(0) + num_others)).sum() / total)
    recall = float((table**2 / table.sum(1, keepdims=True)).sum() / total)
    return precision, recall, 2 * precision * recall / (precision + recall)


def clustering_metrics(gold: ArrayLike, clusters: ArrayLike) -> dict[str, float]:
    """Return the seven metrics of Table 2, by the names of `CLUSTERING_METRICS`.

    Args:
        gold: (N,) relations.
        clusters: (N,) cluster ids.

    Raises:
        ValueError: If there is no item.
    """
    values = (
        *b_cubed(gold, clusters),
        *(float(value) for value in homogeneity_completeness_v_measure(gold, clusters)),
        float(adjusted_rand_score(gold, clusters)),
    )
    return dict(zip(CLUSTERING_METRICS, values, strict=True))


def hungarian_accuracy(gold: Sequence[Any], clusters: NDArray[np.int64]) -> float:
    """Return the share of items that the best one-to-one matching of clusters to relations gets right.

    Args:
        gold: (N,) relations.
        clusters: (N,) cluster ids; a negative id is never matched (an item given to a known relation).
    """
    matched = clusters >= 0
    if not matched.any():
        return 0.0
    table = contingency_matrix(np.asarray(gold)[matched], clusters[matched])
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(gold))
