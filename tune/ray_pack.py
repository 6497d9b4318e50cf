"""Imports Ray: packs as actors that hold a device each, and trials that are proxies of a pack's members.

The scheduler, the searcher and checkpoints see ordinary trials. A proxy imports no torch; what it asks for happens in
the actor. If an actor's process dies, its trials are lost processes like any other: they go on from their checkpoints,
and Ray starts the actor anew.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from rocore.errors import ConfigError
from tune.config import ResourcesConfig
from tune.pack import Pack
from tune.trial import StoredTrainable
from tune.trial_run import Result

PROXY_CPU = 0.01
"""CPU share of a proxy, taken from its actor's."""
JOIN_TIMEOUT_S = 600.0


class PackActor:
    """A `Pack` in a process of its own."""

    def __init__(self, size: int) -> None:
        import rocore

        self._pack = Pack(size, rocore)

    async def join(self, name: str, spec: Mapping[str, Any]) -> bool:
        """See `Pack.join`."""
        return await self._pack.join(name, spec)

    async def advance(self, name: str) -> Result:
        """See `Pack.advance`."""
        return await self._pack.advance(name)

    async def checkpoint(self, name: str) -> dict[str, bytes]:
        """See `Pack.checkpoint`."""
        return await self._pack.checkpoint(name)

    async def leave(self, name: str) -> None:
        """See `Pack.leave`."""
        await self._pack.leave(name)


class PackedTrial(StoredTrainable):
    """A member of a pack, to Ray Tune an ordinary trial."""

    def setup(self, config: dict[str, Any], packs: Sequence[Any] = ()) -> None:
        """Join the first pack with room."""
        self._packs = packs
        self._join(config["spec"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leave for another trial."""
        self.cleanup()
        self._join(new_config["spec"])
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch; the loss of the actor is the loss of this trial's process."""
        result: Result = ray.get(self._pack.advance.remote(self._name))
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the member's checkpoint here, wherever the actor runs."""
        files: dict[str, bytes] = ray.get(self._pack.checkpoint.remote(self._name))
        for relative, content in files.items():
            path = Path(checkpoint_dir) / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def cleanup(self) -> None:
        """Leave the pack; one that is gone needs no goodbye."""
        try:
            ray.get(self._pack.leave.remote(self._name))
        except ray.exceptions.RayActorError:
            return

    def _join(self, spec: Mapping[str, Any]) -> None:
        self._name = str(spec["name"])
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        while time.monotonic() < deadline:
            for pack in self._packs:
                if ray.get(pack.join.remote(self._name, spec)):
                    self._pack = pack
                    return
            time.sleep(0.1)  # a member that was stopped is about to leave
        raise TimeoutError(f"no pack had room for trial {self._name} within {JOIN_TIMEOUT_S:.0f} s")


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
