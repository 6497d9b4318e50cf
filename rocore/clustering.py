"""k-means for pseudo labels (equation 7), on any device, warm-started, deterministic for a seed.

Shapes: N points, M dimensions, K clusters, S starts.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

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
    starts = [] if start is None else [start[None]]
    starts += [_plus_plus(points, num_clusters, seed, num_restarts)] if num_restarts else []
    best = _lloyd(points, torch.cat(starts), max_iterations, threshold)
    return best if start is None else renamed_after(best, start)


def renamed_after(clustering: Clustering, earlier: Float[Tensor, "K M"]) -> Clustering:
    """Rename clusters so that the sum of squared distances to the earlier centroids of the same id is smallest."""
    distances = torch.cdist(earlier.double(), clustering.centroids.double()).square()
    _, theirs = linear_sum_assignment(distances.cpu().numpy())
    order = torch.from_numpy(theirs).to(earlier.device)  # earlier id -> id in `clustering`
    return replace(
        clustering, labels=order.argsort()[clustering.labels], centroids=clustering.centroids[order]
    )


def _plus_plus(points: Tensor, num_clusters: int, seed: int, num_starts: int) -> Float[Tensor, "S K M"]:
    """Draw starts with probability proportional to the squared distance to the nearest start so far."""
    draws = torch.stack(
        [
            torch.rand(num_clusters, generator=torch.Generator().manual_seed(seed + i), dtype=torch.float64)
            for i in range(num_starts)
        ]
    ).to(points.device)
    norms = points.square().sum(1)
    chosen = [(draws[:, 0] * len(points)).long()]
    nearest = points.new_full((num_starts, len(points)), torch.inf)
    for k in range(1, num_clusters):
        last = points[chosen[-1]]
        distances = (last.square().sum(1)[:, None] + norms).addmm_(last, points.T, alpha=-2)
        nearest = torch.minimum(nearest, distances.clamp_(min=0))
        weights = nearest.double().cumsum(1)
        chosen.append(torch.searchsorted(weights, draws[:, k, None] * weights[:, -1:])[:, 0])
        chosen[-1].clamp_(max=len(points) - 1)
    return points[torch.stack(chosen, dim=1)]


def _lloyd(
    points: Tensor, starts: Float[Tensor, "S K M"], max_iterations: int, threshold: float
) -> Clustering:
    """Run all starts side by side, each until its own end, and return the one of least inertia."""
    centroids = starts.clone()
    labels = _assign(points, centroids)
    iterations = [0] * len(starts)
    running = list(range(len(starts)))
    while running:
        chosen = slice(None) if len(running) == len(starts) else running
        moved, shifts = _moved(points, labels[chosen], centroids[chosen])
        centroids[chosen] = moved
        labels[chosen] = _assign(points, moved)
        for run in running:
            iterations[run] += 1
        running = [
            run
            for run, shift in zip(running, shifts, strict=True)
            if shift > threshold and iterations[run] < max_iterations
        ]
    inertia = torch.stack(
        [(points - c[own]).square().sum() for c, own in zip(centroids, labels, strict=True)]
    )
    best = int(inertia.argmin())
    return Clustering(labels[best], centroids[best], float(inertia[best]), iterations[best])


def _assign(points: Tensor, centroids: Float[Tensor, "S K M"]) -> Int[Tensor, "S N"]:
    """Nearest centroid: ||x||^2 is the same for all, so that argmin ||x - c||^2 = argmax x.c - ||c||^2 / 2."""
    flat = centroids.flatten(0, 1)
    scores = torch.addmm(flat.square().sum(1) / -2, points, flat.T)
    return scores.view(len(points), *centroids.shape[:2]).argmax(2).T.contiguous()


def _moved(
    points: Tensor, labels: Int[Tensor, "S N"], centroids: Float[Tensor, "S K M"]
) -> tuple[Tensor, list[float]]:
    """Return the mean of each cluster and each run's total squared movement.

    An empty cluster moves to the point that is farthest from its own centroid.
    """
    summed = sums_by_adding if points.device.type == "cpu" else sums_by_product
    sums, counts = summed(points, labels, centroids.shape[1])
    means = sums / counts.clamp(min=1)[:, :, None]
    shifts = (means - centroids).square().sum((1, 2))
    # Both are read back at once: what a device is asked for, it has to finish first.
    read, fewest = torch.stack([shifts, counts.amin(1).to(shifts.dtype)]).tolist()
    for run in (run for run, count in enumerate(fewest) if count == 0):
        empty = torch.nonzero(counts[run] == 0).flatten()
        distances = (points - centroids[run][labels[run]]).square().sum(1)
        means[run, empty] = points[distances.topk(len(empty)).indices]
        read[run] = float((means[run] - centroids[run]).square().sum())
    return means, read


def sums_by_adding(
    points: Float[Tensor, "N M"], labels: Int[Tensor, "S N"], num_clusters: int
) -> tuple[Float[Tensor, "S K M"], Int[Tensor, "S K"]]:
    """Return the sum of each cluster's points, and their number: the faster way on a CPU, in the same order always."""
    sums = points.new_zeros(len(labels), num_clusters, points.shape[1])
    for of_run, own in zip(sums, labels, strict=True):
        of_run.index_add_(0, own, points)
    return sums, torch.stack([own.bincount(minlength=num_clusters) for own in labels])


def sums_by_product(
    points: Float[Tensor, "N M"], labels: Int[Tensor, "S N"], num_clusters: int
) -> tuple[Float[Tensor, "S K M"], Int[Tensor, "S K"]]:
    """Return the same on a device that would add in another order every time."""
    ids = torch.arange(num_clusters, device=points.device)
    member = labels[:, None, :] == ids[:, None]  # (S, K, N)
    sums = member.flatten(0, 1).to(points.dtype) @ points
    return sums.view(len(labels), num_clusters, -1), member.sum(2)


def sample_silhouette(points: Tensor, labels: Tensor, seed: int) -> float:
    """Silhouette on a fixed sample of at most 1,000 points; -1 where fewer than two clusters are there."""
    generator = np.random.default_rng(seed)
    sample = torch.from_numpy(generator.permutation(len(points))[:SILHOUETTE_SAMPLE])
    sample = sample.to(points.device)
    return silhouette(points[sample], labels[sample])


def silhouette(points: Float[Tensor, "N M"], labels: Int[Tensor, " N"]) -> float:
    """Return the mean silhouette, on any device; -1 where fewer than two clusters are there, or as many as points.

    Of a point, (b - a) / max(a, b), with a its mean distance to the others of its cluster and b that to the nearest
    other cluster; 0 where it is alone in its cluster.
    """
    points = points.double()
    member = F.one_hot(labels).double()
    counts = member.sum(0)
    totals = torch.cdist(points, points) @ member  # (N, K) distances to all points of each cluster
    own = member.bool()
    within = totals[own] / (counts[labels] - 1).clamp(min=1)
    others = (totals / counts.clamp(min=1)).masked_fill(own | (counts == 0), torch.inf).amin(1)
    of_points = ((others - within) / torch.maximum(others, within)).where(counts[labels] > 1, 0.0)
    mean, num_clusters = of_points.nan_to_num(0.0).mean().item(), int((counts > 0).sum())
    return mean if 2 <= num_clusters < len(points) else -1.0
