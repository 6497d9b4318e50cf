"""k-means for pseudo labels (equation 7), on any device, warm-started, deterministic for a seed.

Shapes: N points, M dimensions, K clusters.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import silhouette_score
from torch import Tensor

SILHOUETTE_SAMPLE = 1000


@dataclass(frozen=True)
class Clustering:
    """Result of k-means.

    Attributes:
        labels: (N,) cluster ids from 0.
        centroids: (K, M).
        inertia: Sum of squared distances to the own centroid.
        num_iterations: Lloyd iterations used.
    """

    labels: Tensor
    centroids: Tensor
    inertia: float
    num_iterations: int


def kmeans(
    points: Float[Tensor, "N M"],
    num_clusters: int,
    *,
    seed: int,
    start: Float[Tensor, "K M"] | None = None,
    num_restarts: int = 10,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
) -> Clustering:
    """Minimise sum_i ||x_i - c_{y_i}||^2 by Lloyd's algorithm.

    Args:
        points: Rows to cluster.
        num_clusters: K, at most N.
        seed: Of the k-means++ starts.
        start: Centroids of an earlier call. They are tried as a start beside the k-means++ ones, and the result's
            cluster ids follow them, so that ids are stable from one call to the next.
        num_restarts: How many k-means++ starts; of all starts the best inertia wins. 0 is allowed with `start`.
        max_iterations: Of one run.
        tolerance: Ends a run when the centroids' total squared movement falls below this share of the data's variance.

    Returns:
        Labels, centroids and inertia.

    Raises:
        ValueError: If K > N or K < 1.
    """
    if not 1 <= num_clusters <= len(points):
        raise ValueError(f"1 <= num_clusters <= {len(points)} points must hold, but got {num_clusters}")
    threshold = tolerance * float(points.var(dim=0, correction=0).mean())
    generator = torch.Generator().manual_seed(seed)
    starts = [] if start is None else [start]
    starts += [_plus_plus(points, num_clusters, generator) for _ in range(num_restarts)]
    best = min((_lloyd(points, s, max_iterations, threshold) for s in starts), key=lambda run: run.inertia)
    return best if start is None else renamed_after(best, start)


def renamed_after(clustering: Clustering, earlier: Float[Tensor, "K M"]) -> Clustering:
    """Rename clusters so that the sum of squared distances to the earlier centroids of the same id is smallest."""
    distances = torch.cdist(earlier.double(), clustering.centroids.double()).square()
    _, theirs = linear_sum_assignment(distances.cpu().numpy())
    order = torch.from_numpy(theirs).to(earlier.device)  # earlier id -> id in `clustering`
    return replace(
        clustering, labels=order.argsort()[clustering.labels], centroids=clustering.centroids[order]
    )


def _plus_plus(points: Tensor, num_clusters: int, generator: torch.Generator) -> Tensor:
    """Draw starts with probability proportional to the squared distance to the nearest start so far."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = (points - points[chosen[0]]).square().sum(1)
    for _ in range(num_clusters - 1):
        weights = nearest.double().cumsum(0)
        draw = torch.rand((), generator=generator, dtype=torch.float64).to(points.device) * weights[-1]
        index = int(torch.searchsorted(weights, draw).clamp(max=len(points) - 1))
        chosen.append(index)
        nearest = torch.minimum(nearest, (points - points[index]).square().sum(1))
    return points[torch.tensor(chosen, device=points.device)].clone()


def _lloyd(points: Tensor, centroids: Tensor, max_iterations: int, threshold: float) -> Clustering:
    labels = _assign(points, centroids)
    for iteration in range(1, max_iterations + 1):  # noqa: B007 (reported after the loop)
        moved = _means(points, labels, centroids)
        shift = float((moved - centroids).square().sum())
        centroids = moved
        labels = _assign(points, centroids)
        if shift <= threshold:
            break
    inertia = float((points - centroids[labels]).square().sum())
    return Clustering(labels, centroids, inertia, iteration)


def _assign(points: Tensor, centroids: Tensor) -> Int[Tensor, " N"]:
    """Nearest centroid: ||x||^2 is the same for all, so that argmin ||x - c||^2 = argmax x.c - ||c||^2 / 2."""
    return torch.addmm(centroids.square().sum(1) / -2, points, centroids.T).argmax(1)


def _means(points: Tensor, labels: Tensor, centroids: Tensor) -> Tensor:
    """Mean of each cluster; an empty one moves to the point that is farthest from its own centroid."""
    num_clusters = len(centroids)
    member = torch.nn.functional.one_hot(labels, num_clusters).to(points.dtype)
    counts = member.sum(0)
    means = (member.T @ points) / counts.clamp(min=1)[:, None]
    empty = torch.nonzero(counts == 0).flatten()
    if len(empty):
        distances = (points - centroids[labels]).square().sum(1)
        means[empty] = points[distances.topk(len(empty)).indices]
    return means


def sample_silhouette(points: Tensor, labels: Tensor, seed: int) -> float:
    """Silhouette on a fixed sample of at most 1,000 points; -1 where fewer than two clusters are there."""
    generator = np.random.default_rng(seed)
    sample = torch.from_numpy(generator.permutation(len(points))[:SILHOUETTE_SAMPLE])
    chosen = labels[sample].cpu().numpy()
    num_clusters = len(np.unique(chosen))
    if not 2 <= num_clusters < len(chosen):
        return -1.0
    return float(silhouette_score(points[sample].cpu().numpy(), chosen))
