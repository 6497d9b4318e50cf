"""Frozen trunks on the nodes of a cluster: Ray's own nodes on this machine, each with a cache folder of its own."""

import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

from rocore.config import override
from rocore.encoder import cache
from rocore.errors import CacheError
from tune import ray_trunks
from tune.preparation import trunk_needs
from tune.ray_trunks import TrunkBuilder, build_trunks

pytestmark = pytest.mark.ray


class Nodes:
    """A head that runs no trial, and workers of two CPUs; a worker's cache is `caches / its name`."""

    def __init__(self, caches):
        self.caches, self.workers = caches, []
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        ray.init(address=self.cluster.address, log_to_driver=False)

    def add(self, name):
        environment = {"ROCORE_CACHE": str(self.caches / name)}
        self.workers.append(
            self.cluster.add_node(num_cpus=2, env_vars=environment, resources={name: 1.0}, wait=True)
        )

    def entries(self, name):
        """Count the entries of a worker's cache by output layer and precision."""
        keys = [
            json.loads(path.read_text())["key"] for path in (self.caches / name).glob("trunk/*/entry.json")
        ]
        return Counter((key["output_layer"], key["precision"]) for key in keys)

    def num_passes(self, name):
        """Count the trunk passes that a worker's `Odd` ran."""
        passes = self.caches / name / "passes"
        return passes.stat().st_size if passes.exists() else 0

    def clear(self):
        while self.workers:
            self.cluster.remove_node(self.workers.pop())


@pytest.fixture(scope="module")
def ray_nodes(tmp_path_factory):
    # Builders of this file travel by value: workers can't import it.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with tempfile.TemporaryDirectory(prefix="rt-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # Ray's socket paths must be short
        running = Nodes(tmp_path_factory.mktemp("caches"))
        yield running
        ray.shutdown()
        running.cluster.shutdown()


@pytest.fixture
def nodes(ray_nodes):
    yield ray_nodes
    ray_nodes.clear()


@pytest.fixture
def sweep(make_sweep, small_corpus):
    layers = {"encoder.output_layer": {"distribution": "integer", "low": 2, "high": 3}}
    keys = {key: value for key, value in small_corpus.items() if key != "encoder.output_layer"}
    search = {"num_trials": 2, "space": layers}
    return make_sweep({**keys, "resources.address": "auto"}, search=search, paper={"encoder.output_layer": 2})


class Odd(TrunkBuilder):
    """Does on each node what its name says."""

    def node(self):
        return Path(os.environ["ROCORE_CACHE"]).name

    def precision(self, config):
        return "fp32" if self.node().startswith("old") else "bf16"

    def build(self, groups, num_threads):
        if self.node() == "dying":
            os._exit(1)
        if self.node() == "slow":
            self._count("frozen trunk", 1000)(400)
            time.sleep(2)
        if self.node() == "full":
            raise CacheError("the cache must have room, but has none; free some")
        run_trunk = cache.run_trunk

        def counted(*arguments, **options):
            with (Path(os.environ["ROCORE_CACHE"]) / "passes").open("a") as passes:
                passes.write(".")
            run_trunk(*arguments, **options)

        cache.run_trunk = counted
        super().build(groups, num_threads)


def test_every_node_builds_the_layers_of_the_search_in_what_all_multiply(nodes, sweep, monkeypatch):
    monkeypatch.setattr(ray_trunks, "TrunkBuilder", Odd)
    nodes.add("old")
    nodes.add("new")
    said = []
    assert build_trunks(trunk_needs(sweep), said.append) == "fp32"
    # Known and novel sentences are two pools.
    assert nodes.entries("old") == nodes.entries("new") == {(2, "fp32"): 2, (3, "fp32"): 2}
    assert (nodes.num_passes("old"), nodes.num_passes("new")) == (2, 2)
    assert said[:2] == [
        "note: some nodes don't multiply bf16 natively, so that all trials compute in fp32",
        "building frozen trunks on 2 nodes",
    ]
    assert [line.partition("trunks ")[2] for line in said[2:]] == ["(1 of 2)", "(2 of 2)"]


def once_two_started(asked, echo, *timeout, answers=ray_trunks._answers, **more):
    """Let the time for starting begin once two builders have, however long a start takes on this machine."""
    if timeout:
        ray.wait(list(asked), num_returns=2)
    return answers(asked, echo, *timeout, **more)


def test_nodes_without_room_and_dying_builders_leave_it_to_trials(nodes, sweep, monkeypatch):
    monkeypatch.setattr(ray_trunks, "TrunkBuilder", Odd)
    for name in ("old-busy", "dying", "well"):
        nodes.add(name)
    other = ray.remote(Odd).options(num_cpus=1, resources={"old-busy": 1}).remote()
    ray.get(other.__ray_ready__.remote())
    monkeypatch.setattr(ray_trunks, "START_TIMEOUT_S", 5.0)
    monkeypatch.setattr(ray_trunks, "_answers", once_two_started)
    said = []
    # The node without room isn't asked what it multiplies either.
    assert build_trunks(trunk_needs(sweep), said.append) == "bf16"
    assert nodes.entries("well") == {(2, "bf16"): 2, (3, "bf16"): 2}
    assert not nodes.entries("old-busy")
    assert not nodes.entries("dying")
    assert sum("has no room yet; its first trial will build" in line for line in said) == 1
    assert sum("went away, or its builder did; its first trial will build" in line for line in said) == 1
    ray.kill(other)


def test_slow_nodes_tell_how_far_they_are(nodes, sweep, monkeypatch):
    monkeypatch.setattr(ray_trunks, "TrunkBuilder", Odd)
    monkeypatch.setattr(ray_trunks, "TELL_PERIOD_S", 0.5)
    nodes.add("slow")
    said = []
    build_trunks(trunk_needs(sweep), said.append)
    assert "frozen trunks: 400 of 1,000 sentences on the node that is farthest behind" in said


def test_error_of_a_node_is_raised_with_its_address(nodes, sweep, monkeypatch):
    monkeypatch.setattr(ray_trunks, "TrunkBuilder", Odd)
    nodes.add("full")
    with pytest.raises(CacheError, match=r"^node \d+\.\d+\.\d+\.\d+: the cache must have room"):
        build_trunks(trunk_needs(sweep), lambda _: None)


def test_cluster_that_grows_from_nothing_builds_on_its_first_node(nodes, sweep):
    def add_one(line):
        if line.startswith("waiting for a node"):
            nodes.add("late")

    precision = build_trunks(trunk_needs(sweep), add_one)
    assert nodes.entries("late") == {(2, precision): 2, (3, precision): 2}


def test_with_a_store_one_node_computes_and_the_others_fetch(nodes, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_trunks, "TrunkBuilder", Odd)
    for name in ("first", "second"):
        nodes.add(name)
    stored = replace(sweep, base=override(sweep.base, {"cache.store": f"file://{tmp_path}/store"}))
    assert build_trunks(trunk_needs(stored), lambda _: None) == "bf16"
    assert nodes.entries("first") == nodes.entries("second") == {(2, "bf16"): 2, (3, "bf16"): 2}
    assert sorted(nodes.num_passes(name) for name in ("first", "second")) == [0, 2]
