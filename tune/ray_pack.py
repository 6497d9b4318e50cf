"""Imports Ray: packs as actors that hold a device each, and trials that are proxies of a pack's members.

The scheduler, the searcher and checkpoints see ordinary trials. A proxy imports no torch; what it asks for happens in
the actor. If an actor's process dies, its trials are lost processes like any other: they go on from their checkpoints,
and Ray starts the actor anew.
"""

import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from rocore.errors import ConfigError, DeviceError, SweepError
from tune.config import ResourcesConfig
from tune.pack import Pack
from tune.trial import StoredTrainable
from tune.trial_run import Result

PROXY_CPU = 0.01
"""CPU share of a proxy, taken from its actor's."""
JOIN_TIMEOUT_S = 600.0
"""How long a pack that runs may take to answer."""
START_TIMEOUT_S = 1800.0
"""How long a trial waits for the first pack: longer than a node takes to start."""
JOIN_PERIOD_S = 0.1


class PackActor:
    """A `Pack` in a process of its own."""

    def __init__(self, size: int) -> None:
        import rocore

        self._pack = Pack(size, rocore)

    async def join(self, name: str, spec: Mapping[str, Any]) -> bool:
        """See `Pack.join`."""
        return await self._pack.join(name, spec)

    async def advance(self, name: str) -> Result:
        """See `Pack.advance`; where the device has failed, this process ends: Ray starts another."""
        try:
            return await self._pack.advance(name)
        except DeviceError:
            traceback.print_exc()
            os._exit(1)

    async def checkpoint(self, name: str, folder: str, node: str) -> dict[str, bytes]:
        """Write a checkpoint into a folder of this node; return the files of one that belongs on another."""
        if node == ray.get_runtime_context().get_node_id():
            await self._pack.save(name, Path(folder))
            return {}
        return await self._pack.checkpoint(name)

    async def leave(self, name: str) -> None:
        """See `Pack.leave`."""
        await self._pack.leave(name)


class PackedTrial(StoredTrainable):
    """A member of a pack, to Ray Tune an ordinary trial."""

    def setup(self, config: dict[str, Any], packs: Sequence[Any] = ()) -> None:
        """Remember what to do; a pack is joined at the first step, where an error can be reported."""
        super().setup(config)
        self._packs, self._spec = packs, config["spec"]
        self._pack: Any = None
        self._ready = [pack.__ray_ready__.remote() for pack in packs]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leave for another trial."""
        self.cleanup()
        super().setup(new_config)
        self._spec, self._pack = new_config["spec"], None
        return True

    def train_epoch(self) -> Result:
        """Train an epoch; the loss of the actor is the loss of this trial's process.

        Raises:
            SweepError: If no pack starts.
        """
        if self._pack is None:
            self._pack = self._join()
        result: Result = ray.get(self._pack.advance.remote(self._member))
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the member's checkpoint here, wherever the actor runs."""
        node = ray.get_runtime_context().get_node_id()
        files: dict[str, bytes] = ray.get(self._pack.checkpoint.remote(self._member, checkpoint_dir, node))
        for relative, content in files.items():
            path = Path(checkpoint_dir) / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def cleanup(self) -> None:
        """Leave the pack; one that is gone needs no goodbye."""
        if self._pack is None:
            return
        try:
            ray.get(self._pack.leave.remote(self._member))
        except ray.exceptions.RayActorError:
            return

    @property
    def _member(self) -> str:
        return str(self._spec["name"])

    def _join(self) -> Any:
        """Wait for a pack with room and join it.

        A pack that the cluster has no place for is passed over, so that it keeps nobody from one that runs.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            ready, _ = ray.wait(self._ready, num_returns=len(self._ready), timeout=0)
            for pack in (pack for pack, ref in zip(self._packs, self._ready, strict=True) if ref in ready):
                if ray.get(pack.join.remote(self._member, self._spec), timeout=JOIN_TIMEOUT_S):
                    return pack
            if not ready and time.monotonic() > deadline:
                raise SweepError(
                    f"packs must start within {START_TIMEOUT_S:.0f} s, but none of {len(self._packs)} did: no node has "
                    "a trial's share (`resources`) free; free some, then go on with `--resume`"
                )
            # A member that was stopped is about to leave, or a node about to start.
            time.sleep(JOIN_PERIOD_S)


@contextmanager
def packs(resources: ResourcesConfig, num_packs: int, size: int) -> Iterator[list[Any]]:
    """Start actors that hold what is `resources`' share of a trial, and end them.

    Raises:
        ConfigError: If the share is too small for the proxies.
    """
    cpus = resources.cpus_per_trial - PROXY_CPU * size
    if cpus <= 0:
        raise ConfigError(
            f"`resources.cpus_per_trial` must be above {PROXY_CPU * size:g} for packs of {size}, "
            f"but is {resources.cpus_per_trial:g}; raise it or lower `trial.pack`"
        )
    actor = ray.remote(PackActor).options(
        num_cpus=cpus,
        num_gpus=resources.gpus_per_trial,
        resources=dict(resources.custom),
        max_restarts=-1,
        max_concurrency=4 * size + 4,
    )
    started = [actor.remote(size) for _ in range(num_packs)]
    try:
        yield started
    finally:
        for handle in started:
            ray.kill(handle)
