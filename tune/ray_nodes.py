"""Imports Ray: what the nodes of a cluster hold, and how many trials that is."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ray

from tune.config import ResourcesConfig

ROOM_PERIOD_S = 2.0
GROWTH_S = 600.0
"""How long a cluster that grew is taken for one that still grows: longer than a node takes to start."""
Held = Mapping[str, float]
"""What a node holds, free or not, by the names that Ray uses."""


def node_resources() -> list[Held]:
    """Return what each node holds that is alive now."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


@dataclass(frozen=True)
class TrialNode:
    """A node that is alive, and how many trials fit on it: one at least."""

    node_id: str
    address: str
    num_trials: int


def trial_nodes(resources: ResourcesConfig) -> list[TrialNode]:
    """Return the nodes on which trials can run."""
    nodes = [
        TrialNode(node["NodeID"], node["NodeManagerAddress"], _trials_on(node["Resources"], resources))
        for node in ray.nodes()
        if node["Alive"]
    ]
    return [node for node in nodes if node.num_trials]


def concurrency(resources: ResourcesConfig, nodes: Iterable[Held]) -> int:
    """Return how many trials run at once; what is left over on several nodes makes no trial."""
    if resources.max_concurrent_trials is not None:
        return resources.max_concurrent_trials
    return max(1, _held(resources, nodes))


class ClusterRoom:
    """How many trials a cluster that grows and shrinks may be given now; asks it once in a while only."""

    def __init__(self, resources: ResourcesConfig) -> None:
        self._resources, self._number, self._asked_at = resources, 0, -math.inf
        self._held: float = math.inf
        self._grew_at = -math.inf

    def __call__(self) -> int:
        """Return how many it holds and how many may wait: what waits is what lets a cluster grow.

        One waits on a cluster that stays as it is: a trial is best proposed when it can run. On one that grows as many
        wait as it holds, so that it doubles with each start of nodes.
        """
        now = time.monotonic()
        if now - self._asked_at > ROOM_PERIOD_S:
            held = _held(self._resources, node_resources())
            if held > self._held:
                self._grew_at = now
            self._held, self._asked_at = held, now
            at_once = max(1, held)
            self._number = at_once + (at_once if now - self._grew_at < GROWTH_S else 1)
        return self._number


def share(resources: ResourcesConfig) -> dict[str, float]:
    """Return what a trial takes, by the names that Ray uses."""
    return {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial, **resources.custom}


def _trials_on(node: Held, resources: ResourcesConfig) -> int:
    """Return how many trials fit on one node."""
    return min(_shares(kind, node.get(kind, 0.0), part) for kind, part in share(resources).items() if part)


def _held(resources: ResourcesConfig, nodes: Iterable[Held]) -> int:
    return sum(_trials_on(node, resources) for node in nodes)


def _shares(kind: str, held: float, part: float) -> int:
    # A fraction of a GPU is taken from one GPU.
    if kind == "GPU" and part < 1:
        return math.floor(held) * _whole(1.0 / part)
    return _whole(held / part)


def _whole(number: float) -> int:
    """Round down what floating point may have put just below a whole number."""
    return math.floor(number + 1e-9)
