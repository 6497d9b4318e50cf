from types import SimpleNamespace

import pytest

from tune import ray_nodes
from tune.config import ResourcesConfig
from tune.ray_nodes import ClusterRoom, concurrency, node_resources


@pytest.mark.parametrize(
    ("resources", "nodes", "number"),
    [
        ({"cpus_per_trial": 1}, [{"CPU": 2.0}], 2),
        ({"cpus_per_trial": 2}, [{"CPU": 5.0}], 2),
        ({"cpus_per_trial": 4}, [{"CPU": 2.0}], 1),
        ({"cpus_per_trial": 1, "gpus_per_trial": 0.5}, [{"CPU": 16.0, "GPU": 1.0}], 2),
        ({"cpus_per_trial": 1, "custom": {"a100": 0.5}}, [{"CPU": 16.0, "a100": 1.5}], 3),
        ({"cpus_per_trial": 1, "max_concurrent_trials": 7}, [{"CPU": 2.0}], 7),
        ({"cpus_per_trial": 2}, [{"CPU": 3.0}, {"CPU": 3.0}], 2),
        ({"cpus_per_trial": 1, "gpus_per_trial": 1}, [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 4.0}], 2),
        ({"cpus_per_trial": 1}, [{}, {"CPU": 3.0}], 3),
        ({"cpus_per_trial": 1}, [], 1),
        ({"cpus_per_trial": 0.1}, [{"CPU": 0.3}], 3),
        ({"cpus_per_trial": 1, "gpus_per_trial": 0.4}, [{"CPU": 16.0, "GPU": 2.0}], 4),
    ],
)
def test_concurrency_is_what_each_node_holds(resources, nodes, number):
    assert concurrency(ResourcesConfig(**resources), nodes) == number


def test_node_resources_are_those_of_living_nodes(monkeypatch):
    table = [{"Alive": True, "Resources": {"CPU": 3.0}}, {"Alive": False, "Resources": {"CPU": 5.0}}]
    monkeypatch.setattr(ray_nodes, "ray", SimpleNamespace(nodes=lambda: table))
    assert node_resources() == [{"CPU": 3.0}]


@pytest.fixture
def cluster(monkeypatch):
    """Nodes and a clock that a test may change."""
    state = SimpleNamespace(nodes=[], now=0.0)
    monkeypatch.setattr(ray_nodes, "node_resources", lambda: state.nodes)
    monkeypatch.setattr(ray_nodes, "time", SimpleNamespace(monotonic=lambda: state.now))
    return state


def test_room_of_a_cluster_that_stays_as_it_is_is_one_more_than_it_holds(cluster):
    cluster.nodes = [{"CPU": 7.0}] * 2
    room = ClusterRoom(ResourcesConfig(cpus_per_trial=2, address="auto"))
    assert room() == 7


def test_room_of_a_cluster_that_grows_lets_it_double(cluster):
    room = ClusterRoom(ResourcesConfig(cpus_per_trial=2, address="auto"))
    numbers = []
    for held in (0, 1, 2, 4, 8):
        cluster.now += 100.0
        cluster.nodes = [{"CPU": 2.0}] * held
        numbers.append(room())
    assert numbers == [2, 2, 4, 8, 16]


def test_room_of_a_cluster_that_has_stopped_growing_or_shrinks_is_one_more_again(cluster):
    room = ClusterRoom(ResourcesConfig(cpus_per_trial=2, address="auto"))
    room()
    cluster.now, cluster.nodes = 100.0, [{"CPU": 2.0}] * 3
    assert room() == 6
    cluster.now += ray_nodes.GROWTH_S
    assert room() == 4
    cluster.now, cluster.nodes = cluster.now + 100.0, [{"CPU": 2.0}]
    assert room() == 2


def test_room_asks_the_cluster_once_in_a_while_only(cluster):
    room = ClusterRoom(ResourcesConfig(cpus_per_trial=2, address="auto"))
    assert room() == 2
    cluster.nodes = [{"CPU": 20.0}]
    assert room() == 2
    cluster.now = ray_nodes.ROOM_PERIOD_S + 1
    assert room() == 20
