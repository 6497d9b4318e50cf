import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from torch import Tensor

from rocore.clustering import kmeans, renamed_after, silhouette, sums_by_adding, sums_by_product


def blobs(num_points: int = 200, num_blobs: int = 5, spread: float = 0.7, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centers = 3 * torch.randn(num_blobs, 4, generator=generator)
    noise = spread * torch.randn(num_points, 4, generator=generator)
    return centers[torch.arange(num_points) % num_blobs] + noise


@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_kmeans_same_start_equals_sklearn(spread: float) -> None:
    points = blobs(spread=spread)
    start = points[:5].clone()
    ours = kmeans(points, 5, seed=0, start=start, num_restarts=0, tolerance=0.0)
    theirs = KMeans(5, init=start.numpy(), n_init=1, tol=0.0, max_iter=300, algorithm="lloyd").fit(
        points.numpy()
    )
    assert ours.labels.tolist() == theirs.labels_.tolist()
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-5)
    assert torch.allclose(ours.centroids, torch.from_numpy(theirs.cluster_centers_), atol=1e-5)


def test_kmeans_restarts_find_separate_blobs() -> None:
    points = blobs(spread=0.1)
    labels = kmeans(points, 5, seed=3).labels
    expected = torch.arange(len(points)) % 5
    assert torch.equal(labels[:, None] == labels[None, :], expected[:, None] == expected[None, :])


def test_kmeans_more_restarts_is_never_worse() -> None:
    points = blobs(spread=2.0)
    inertia = [kmeans(points, 12, seed=1, num_restarts=n).inertia for n in (1, 4, 16)]
    assert inertia == sorted(inertia, reverse=True)


def test_kmeans_result_is_consistent() -> None:
    points = blobs(spread=2.0)
    found = kmeans(points, 6, seed=0)
    distances = torch.cdist(points, found.centroids)
    assert torch.equal(found.labels, distances.argmin(1))
    assert found.inertia == pytest.approx(float(distances.min(1).values.square().sum()), rel=1e-5)


def test_kmeans_same_seed_is_same_and_leaves_global_generator_alone() -> None:
    points = blobs(spread=3.0)
    state = torch.get_rng_state()
    first, second = kmeans(points, 9, seed=4), kmeans(points, 9, seed=4)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.centroids, second.centroids)
    assert torch.equal(torch.get_rng_state(), state)


def test_kmeans_other_seed_starts_elsewhere() -> None:
    points = blobs(spread=3.0)
    labels = [kmeans(points, 20, seed=seed, num_restarts=1).labels.tolist() for seed in (0, 1)]
    assert labels[0] != labels[1]


def test_kmeans_warm_start_keeps_cluster_ids() -> None:
    points = blobs()
    cold = kmeans(points, 5, seed=0)
    drift = 0.05 * torch.randn(points.shape, generator=torch.Generator().manual_seed(9))
    warm = kmeans(points + drift, 5, seed=123, num_restarts=0, start=cold.centroids)
    assert torch.equal(warm.labels, cold.labels)


def test_kmeans_converged_start_ends_at_once() -> None:
    points = blobs()
    cold = kmeans(points, 5, seed=0, tolerance=0.0)
    assert kmeans(points, 5, seed=0, num_restarts=0, start=cold.centroids).num_iterations == 1


def test_kmeans_start_is_left_as_it_was() -> None:
    points = blobs()
    start = points[:5].clone()
    kmeans(points, 5, seed=0, num_restarts=0, start=start)
    assert torch.equal(start, points[:5])


def test_kmeans_max_iterations_is_kept() -> None:
    assert kmeans(blobs(spread=3.0), 8, seed=0, max_iterations=2, tolerance=0.0).num_iterations == 2


def test_kmeans_empty_cluster_moves_to_farthest_point() -> None:
    """All points are nearest to the first start; the second cluster takes over the outlier."""
    points = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    found = kmeans(points, 2, seed=0, num_restarts=0, start=torch.tensor([[0.0], [1000.0]]))
    assert found.labels.tolist() == [0, 0, 0, 1]
    assert found.centroids.flatten().tolist() == [1.0, 50.0]


def test_kmeans_two_empty_clusters_move_to_two_points() -> None:
    points = torch.tensor([[0.0], [1.0], [30.0], [50.0]])
    found = kmeans(points, 3, seed=0, num_restarts=0, start=torch.tensor([[0.0], [1000.0], [2000.0]]))
    assert found.labels.unique().tolist() == [0, 1, 2]
    assert found.inertia == pytest.approx(0.5)


def test_kmeans_as_many_clusters_as_points_has_no_inertia() -> None:
    points = blobs(12)
    found = kmeans(points, 12, seed=0)
    assert sorted(found.labels.tolist()) == list(range(12))
    assert found.inertia == pytest.approx(0.0, abs=1e-6)


def test_kmeans_fewer_distinct_points_than_clusters_ends_with_finite_centroids() -> None:
    points = torch.tensor([[1.0, 2.0]]).repeat(6, 1)
    found = kmeans(points, 3, seed=0)
    assert found.inertia == 0.0
    assert torch.isfinite(found.centroids).all()
    assert found.labels.shape == (6,)


def test_kmeans_duplicates_share_a_cluster() -> None:
    points = blobs(30).repeat(2, 1)
    labels = kmeans(points, 4, seed=0).labels
    assert torch.equal(labels[:30], labels[30:])


@pytest.mark.parametrize("num_runs", [1, 3])
def test_sums_of_clusters_by_adding_are_those_by_product_and_an_empty_cluster_has_none(num_runs: int) -> None:
    points = blobs(97)
    labels = torch.stack([(torch.arange(97) * (run + 2)) % 6 for run in range(num_runs)])  # of 7 clusters
    sums, counts = sums_by_adding(points, labels, 7)
    by_product, same_counts = sums_by_product(points, labels, 7)
    assert torch.equal(counts, same_counts)
    assert counts.sum(1).tolist() == [97] * num_runs
    assert torch.allclose(sums, by_product, atol=1e-4)
    assert not sums[:, 6].any()


def test_kmeans_one_cluster_is_the_mean() -> None:
    points = blobs(20)
    assert torch.allclose(kmeans(points, 1, seed=0).centroids[0], points.mean(0), atol=1e-6)


@pytest.mark.parametrize("num_clusters", [0, 4])
def test_kmeans_impossible_number_of_clusters_is_refused(num_clusters: int) -> None:
    with pytest.raises(ValueError, match=rf"1 <= num_clusters <= 3 points must hold, but got {num_clusters}"):
        kmeans(torch.zeros(3, 2), num_clusters, seed=0)


def test_kmeans_poor_start_is_beaten_by_a_restart_and_ids_follow_the_start():
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    points = (means[:, None] + 0.1 * torch.randn(4, 50, 2, generator=generator)).reshape(-1, 2)
    poor = torch.tensor([[10.0, 10.0], [0.0, 5.0], [9.9, -0.1], [10.1, 0.1]])
    stuck = kmeans(points, 4, seed=0, start=poor, num_restarts=0)
    found = kmeans(points, 4, seed=0, start=poor, num_restarts=10)
    assert found.inertia < stuck.inertia / 10
    assert found.labels[150:].eq(0).all()
    assert found.centroids[0].round().tolist() == [10.0, 10.0]


def test_renamed_after_permuted_centroids_gives_the_earlier_ids():
    points = torch.tensor([[0.0], [1.0], [5.0], [9.0]])
    earlier = torch.tensor([[9.0], [0.5], [5.0]])
    clustering = kmeans(points, 3, seed=0)
    renamed = renamed_after(clustering, earlier)
    assert renamed.labels.tolist() == [1, 1, 2, 0]
    assert renamed.centroids.flatten().tolist() == [9.0, 0.5, 5.0]


@pytest.mark.parametrize("num_blobs", [2, 5])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_silhouette_equals_sklearn(num_blobs: int, spread: float) -> None:
    """With a cluster of one point, and an id that nothing has."""
    points, labels = blobs(num_blobs=num_blobs, spread=spread), torch.arange(200) % num_blobs
    labels[0] = num_blobs + 1
    expected = silhouette_score(points.double().numpy(), labels.numpy())
    assert silhouette(points, labels) == pytest.approx(expected, abs=1e-6)


def test_silhouette_without_two_clusters_or_with_as_many_as_points_is_the_worst() -> None:
    points = blobs(num_points=6)
    assert silhouette(points, torch.zeros(6, dtype=torch.long)) == -1.0
    assert silhouette(points, torch.arange(6)) == -1.0


def test_silhouette_of_equal_points_is_zero() -> None:
    assert silhouette(torch.ones(6, 2), torch.arange(6) % 2) == 0.0
