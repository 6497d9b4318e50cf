"""Imports Ray: the frozen trunks that every node of a cluster gets before its trials start.

A node builds for all its trials at once, with the shares of all of them. One that joins later, or is busy with others'
work, leaves it to its first trial, which builds the same under the lock of the node's cache while the others wait.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayTaskError
from ray.util import get_node_ip_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import rocore
from rocore.config import Config
from rocore.errors import RocoreError
from tune.config import ResourcesConfig
from tune.preparation import TrunkNeeds
from tune.ray_nodes import TrialNode, share, trial_nodes

START_TIMEOUT_S = 60.0
"""How long a node may take to give room to its builder before it is left to its trials."""
TELL_PERIOD_S = 30.0
PROGRESS_TIMEOUT_S = 5.0
Echo = Callable[[str], None]
Asked = Mapping[Any, "_Builder"]
"""Whom each pending answer (an object reference) is from."""


class TrunkBuilder:
    """Builds on its node, in a process of its own, and tells how far it is."""

    def __init__(self) -> None:
        self._done, self._total = 0, 0

    def progress(self) -> tuple[int, int]:
        """Return how many sentences are done, of how many that are known of."""
        return self._done, self._total

    def address(self) -> str:
        """Return the address of the node."""
        return str(get_node_ip_address())

    def precision(self, config: Config) -> str:
        """Return what `encoder.precision` comes to on the node."""
        return rocore.settle_precision(config)

    def build(self, groups: Sequence[tuple[Config, Sequence[int]]], num_threads: int) -> None:
        """Fill the node's cache."""
        rocore.set_threads(num_threads)
        for config, output_layers in groups:
            rocore.build_trunk_cache(config, output_layers, self._count)

    def _count(self, _title: str, total: int) -> Callable[[int], None]:
        self._total += total

        def advance(steps: int) -> None:
            self._done += steps

        return advance


@dataclass(frozen=True)
class _Builder:
    """A `TrunkBuilder`, the address of its node, and its threads."""

    address: str
    actor: Any
    num_threads: int


def build_trunks(needs: TrunkNeeds, echo: Echo) -> str | None:
    """Have every node build the frozen trunks that its trials can ask for.

    Args:
        needs: What trials can ask for.
        echo: Told what each node did.

    Returns:
        The precision that all trials compute in: bf16 where every node multiplies it natively, else fp32, so that no
        trial's number depends on the node that it meets. None where no node lived to say.

    Raises:
        RocoreError: If a node can't read the data or the encoder, or can't write its cache.
    """
    with _builders(needs.resources, echo) as builders:
        asked = {builder.actor.precision.remote(needs.config): builder for builder in builders}
        said = {precision for _, precision in _answers(asked, echo)}
        if not said:
            return None
        precision = "bf16" if said == {"bf16"} else "fp32"
        if len(said) > 1:
            echo("note: some nodes don't multiply bf16 natively, so that all trials compute in fp32")
        _build(needs.groups(precision), builders, echo, one_first=needs.config.cache.store is not None)
        return precision


def _tell(builders: Sequence[_Builder], echo: Echo) -> None:
    """Tell how far builders are; those that are gone or too busy to answer aren't counted."""
    asked = [builder.actor.progress.remote() for builder in builders]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=PROGRESS_TIMEOUT_S)
    shares = []
    for reference in answered:
        try:
            done, total = ray.get(reference)
        except RayActorError:
            continue
        if total:
            shares.append((done / total, done, total))
    if shares:
        _, done, total = min(shares)
        echo(f"frozen trunks: {done:,} of {total:,} sentences on the node that is farthest behind")


def _build(
    groups: Sequence[tuple[Config, Sequence[int]]],
    builders: Sequence[_Builder],
    echo: Echo,
    *,
    one_first: bool,
) -> None:
    """Build on every node at once; with a store, on one first: the others fetch what it computed."""
    echo(f"building frozen trunks on {len(builders)} node{'s' if len(builders) > 1 else ''}")
    waves = [builders[:1], builders[1:]] if one_first else [builders]
    num_ready = 0
    for wave in waves:
        asked = {builder.actor.build.remote(groups, builder.num_threads): builder for builder in wave}
        for builder, _ in _answers(asked, echo, meanwhile=partial(_tell, wave, echo)):
            num_ready += 1
            echo(f"node {builder.address} has its frozen trunks ({num_ready} of {len(builders)})")


@contextmanager
def _builders(resources: ResourcesConfig, echo: Echo) -> Iterator[list[_Builder]]:
    """Start a builder on each node that has room; where none has, one on the first node that gets some."""
    builders = [_start(resources, node) for node in trial_nodes(resources)]
    try:
        asked = {builder.actor.__ray_ready__.remote(): builder for builder in builders}
        started = [builder for builder, _ in _answers(asked, echo, START_TIMEOUT_S)]
        if not started:
            echo("waiting for a node with room for a trial, to build the frozen trunks there")
            waiting = _start(resources)
            builders.append(waiting)
            asked = {waiting.actor.address.remote(): waiting}
            started = [
                _Builder(address, builder.actor, builder.num_threads)
                for builder, address in _answers(asked, echo)
            ]
        yield started
    finally:
        for builder in builders:
            ray.kill(builder.actor)


def _start(resources: ResourcesConfig, node: TrialNode | None = None) -> _Builder:
    """Ask for a builder: on a node with the shares of its trials, or anywhere with one trial's."""
    # On a GPU one share is enough, and a sum of fractions may be no amount that Ray takes.
    times = node.num_trials if node is not None and not resources.gpus_per_trial else 1
    taken = {kind: part * times for kind, part in share(resources).items()}
    cpus, gpus = taken.pop("CPU"), taken.pop("GPU")
    # One call builds, and one tells how far it is.
    options: dict[str, Any] = {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "resources": taken,
        "max_concurrency": 2,
    }
    if node is not None:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    actor = ray.remote(TrunkBuilder).options(**options).remote()
    return _Builder("" if node is None else node.address, actor, num_threads=max(1, int(cpus)))


def _answers(
    asked: Asked,
    echo: Echo,
    timeout_s: float = math.inf,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[tuple[_Builder, Any]]:
    """Yield the answers as they come; a node that doesn't give one is left to its trials.

    Args:
        asked: Whom each answer is from.
        echo: Told of nodes that don't give one.
        timeout_s: How long all may take together; infinite: as long as they live.
        meanwhile: Called once in `TELL_PERIOD_S` while none comes.

    Raises:
        RocoreError: A node's own, with its address.
    """
    left = "its first trial will build its frozen trunks"
    deadline = time.monotonic() + timeout_s
    waiting = dict(asked)
    while waiting:
        patience_s = min(TELL_PERIOD_S, max(0.0, deadline - time.monotonic()))
        done, _ = ray.wait(list(waiting), timeout=patience_s)
        if not done and time.monotonic() >= deadline:
            break
        if not done:
            meanwhile()
            continue
        builder = waiting.pop(done[0])
        try:
            answer = ray.get(done[0])
        except (RayActorError, ActorUnschedulableError):
            echo(f"note: node {builder.address} went away, or its builder did; {left}")
            continue
        except RayTaskError as error:
            if isinstance(error.cause, RocoreError):
                raise type(error.cause)(f"node {builder.address}: {error.cause}") from error
            raise
        yield builder, answer
    for builder in waiting.values():
        echo(f"note: node {builder.address} has no room yet; {left}")
