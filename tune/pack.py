"""A pack's life: trials join, ask for epochs, which run together, and leave; knows no Ray."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tune.objective import Engine
from tune.trial_run import Result, TrialRun, step_together

PATIENCE_S = 2.0
"""How long a round waits for members that haven't asked yet: their trials may be about to end."""


class Pack:
    """Up to `size` trials that train on one device, in one thread of their own; they write checkpoints in others."""

    def __init__(
        self,
        size: int,
        engine: Engine,
        step: Callable[[Sequence[TrialRun]], list[Result]] = step_together,
    ) -> None:
        self._size, self._engine, self._step = size, engine, step
        self._runs: dict[str, TrialRun] = {}
        self._asked: dict[str, asyncio.Future[Result]] = {}
        self._changed = asyncio.Condition()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pack")
        self._savers = ThreadPoolExecutor(size, thread_name_prefix="save")
        self._rounds: asyncio.Task[None] | None = None

    async def join(self, name: str, spec: Mapping[str, Any]) -> bool:
        """Take a trial in, if there is room; one of the same name is replaced: its process was lost."""
        if name not in self._runs and len(self._runs) >= self._size:
            return False
        await self.leave(name)
        self._runs[name] = TrialRun(spec, self._engine)
        return True

    async def advance(self, name: str) -> Result:
        """Train the trial's next epoch, with those of all members that ask for theirs."""
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._run_rounds())
        asked = self._asked[name] = asyncio.get_running_loop().create_future()
        await self._notify()
        result: Result = await asked
        return result

    async def checkpoint(self, name: str) -> dict[str, bytes]:
        """Return the files of a checkpoint by their paths inside it; none of a failed trial."""
        with TemporaryDirectory() as folder:
            await self.save(name, Path(folder))
            return await asyncio.to_thread(_read, Path(folder))

    async def save(self, name: str, folder: Path) -> None:
        """Write a checkpoint; that of a failed trial holds nothing.

        Members write side by side, not one after another: a pack whose members ask too far apart falls into several.
        What is on a device is copied first, behind what trains there; hashing and writing go beside it.
        """
        await asyncio.get_running_loop().run_in_executor(self._savers, self._runs[name].save, folder)

    async def leave(self, name: str) -> None:
        """Let a trial go, whether it ended or was stopped."""
        run = self._runs.pop(name, None)
        self._asked.pop(name, None)
        if run is not None:
            await self._in_thread(run.close)
            await self._notify()

    async def _run_rounds(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._asked))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._changed.wait_for(lambda: len(self._asked) == len(self._runs)), PATIENCE_S
                    )
                # In the order they joined, whoever asked first: a pack in another order would be another pack.
                asked, self._asked = (
                    {name: self._asked[name] for name in self._runs if name in self._asked},
                    {},
                )
            try:
                results = await self._in_thread(self._step, [self._runs[name] for name in asked])
            except Exception as error:
                for future in asked.values():
                    future.set_exception(error)
                continue
            for future, result in zip(asked.values(), results, strict=True):
                future.set_result(result)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


def _read(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
