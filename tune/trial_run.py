"""One trial's training, from its specification to plain results; knows no Ray.

The specification is a plain mapping: `name`, `role` (search, race or final), `number`, `params`, `seed`, `config` (the
RoCORE keys), `objective` (the sweep's), `num_threads`, `checkpoint_share`, its `folder` in the sweep directory, and of
one that goes on `checkpoints`, newest first.
"""

import gc
import json
import math
import platform
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rocore.config import make_config
from rocore.errors import CheckpointError, DeviceError, DivergedError, StorageAwayError, StorageError
from tune.config import ObjectiveConfig
from tune.journal import is_disk_full
from tune.objective import FLOOR, Engine, EpochScore, Run, final_run, search_run

if TYPE_CHECKING:
    from rocore import EpochReport, Trainer

Result = dict[str, Any]


class TrialRun:
    """Trains epoch by epoch; errors are results, but for those of a device that has failed."""

    def __init__(self, spec: Mapping[str, Any], engine: Engine) -> None:
        """Nothing is built yet, so that an error of building is the result of the first epoch."""
        self.spec, self._engine = spec, engine
        self._run: Run | None = None

    def step(self) -> Result:
        """Train an epoch. An exception ends the trial as failed, with its message.

        Raises:
            DeviceError: See `failure`.
        """
        start = time.perf_counter()
        try:
            return self.result(self.built().run_epoch(), time.perf_counter() - start)
        except Exception as error:
            return self.failure(error)

    def result(self, score: EpochScore, seconds: float) -> Result:
        """Return an epoch's result; after the last epoch, keep what is of use.

        Raises:
            DivergedError: If the objective isn't finite.
        """
        if not math.isfinite(score.objective):
            raise DivergedError(f"the objective must be finite, but is {score.objective}")
        if score.finished:
            self._keep(str(self.spec["folder"]))
        return {
            "epoch": score.epoch,
            "joint_epoch": max(0, score.epoch - int(self.spec["config"]["train"]["pretrain_epochs"])),
            "objective": score.objective,
            "phase": score.phase,
            "finished": score.finished,
            "stop_reason": score.stop_reason,
            "done": score.finished,
            "failed": False,
            "seconds": seconds,
            # As text: Ray flattens mappings, and names hold dots and slashes.
            "scalars": json.dumps(score.scalars),
            "metrics": json.dumps(score.metrics),
        }

    def failure(self, error: Exception) -> Result:
        """Report the floor, so that Ray goes on, but no epoch, so that no rung counts it.

        Raises:
            DeviceError: If the device has failed: no fault of the trial, which goes on in another process.
        """
        _refuse_failed_device(error)
        text = "".join(traceback.format_exception(error))
        self.close()
        return {
            "objective": FLOOR,
            "finished": False,
            "failed": True,
            "disk_full": is_disk_full(error),
            "failed_on": platform.node(),
            "store_away": isinstance(error, StorageAwayError),
            "done": True,
            "error": str(error) or type(error).__name__,
            "traceback": text,
        }

    def save(self, folder: Path) -> None:
        """Write the trainers; a failed trial has nothing to keep."""
        if self._run is not None:
            self._run.save(folder)

    def close(self) -> None:
        """Free everything: the process is used again, and nothing of this trial may stay."""
        run, self._run = self._run, None
        if run is not None:
            run.close()
        gc.collect()

    def built(self) -> Run:
        """Return the run, built on the first call and taken on from the newest whole checkpoint."""
        if self._run is None:
            # Ray sets one thread in every trial process, whatever the trial's share is.
            _set_threads(self.spec["num_threads"])
            self._run = self._build()
            for checkpoint in self.spec.get("checkpoints", ()):
                try:
                    with _brought(checkpoint) as folder:
                        self._run.load(folder)
                    break
                except StorageAwayError:
                    raise
                except (CheckpointError, StorageError):
                    # Torn by what ended the other process: the one before it will do, at last none at all.
                    self._run.close()
                    self._run = self._build()
        return self._run

    def _keep(self, place: str) -> None:
        """Write what is of use after the run's end into its folder, or by way of one to an object store."""
        import rocore

        if not rocore.is_url(place):
            self.built().keep(Path(place))
            return
        with TemporaryDirectory() as folder:
            self.built().keep(Path(folder))
            rocore.Storage.at(place).push(Path(folder))

    def _build(self) -> Run:
        config = make_config(self.spec["config"], f"trial {self.spec['name']}")
        if self.spec["role"] == "final":
            return final_run(config, self._engine)
        return search_run(config, ObjectiveConfig.model_validate(self.spec["objective"]), self._engine)


def step_together(runs: Sequence[TrialRun]) -> list[Result]:
    """Train an epoch of every trial; those whose trainings can be stacked train as packs.

    A trial's `seconds` are its share of the time, so that the sum over trials is the time that passed.
    """
    import rocore

    start = time.perf_counter()
    results: list[Result | None] = [None] * len(runs)
    packs: dict[tuple[Any, ...], list[tuple[int, int, Trainer]]] = {}
    for i, run in enumerate(runs):
        try:
            for index, trainer in run.built().active():
                packs.setdefault(rocore.pack_key(trainer), []).append((i, index, trainer))
        except Exception as error:
            results[i] = run.failure(error)
    reports: list[list[tuple[int, EpochReport | Exception]]] = [[] for _ in runs]
    for pack in packs.values():
        members = [(i, index, trainer) for i, index, trainer in pack if results[i] is None]
        outcomes = rocore.run_packed_epoch([trainer for _, _, trainer in members])
        for (i, index, _), outcome in zip(members, outcomes, strict=True):
            reports[i].append((index, outcome))
    seconds = (time.perf_counter() - start) / len(runs)
    return [
        found if found is not None else _result(run, of_run, seconds)
        for run, found, of_run in zip(runs, results, reports, strict=True)
    ]


def _result(
    run: TrialRun, reports: "Sequence[tuple[int, EpochReport | Exception]]", seconds: float
) -> Result:
    done = []
    for index, report in reports:
        if isinstance(report, Exception):
            return run.failure(report)
        done.append((index, report))
    try:
        return run.result(run.built().score_epoch(sorted(done, key=lambda pair: pair[0])), seconds)
    except Exception as error:
        return run.failure(error)


def _refuse_failed_device(error: Exception) -> None:
    import torch

    if isinstance(error, DeviceError):
        raise error
    if isinstance(error, torch.AcceleratorError):
        raise DeviceError(f"the device must answer, but {error}; go on in another process") from error


@contextmanager
def _brought(checkpoint: str) -> Iterator[Path]:
    """Give a checkpoint as a folder of this machine."""
    import rocore

    if not rocore.is_url(checkpoint):
        yield Path(checkpoint)
        return
    with TemporaryDirectory() as folder:
        rocore.Storage.at(checkpoint).fetch(Path(folder))
        yield Path(folder)


def _set_threads(num_threads: int) -> None:
    import torch

    torch.set_num_threads(num_threads)
