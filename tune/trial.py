"""Imports Ray: one trial as a Ray Tune trainable, one step an epoch."""

import gc
import json
import math
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray.tune as ray_tune

from rocore.config import make_config
from rocore.errors import CheckpointError, DivergedError
from tune.config import ObjectiveConfig
from tune.journal import is_disk_full
from tune.objective import FLOOR, Engine, Run, final_run, search_run


class Trial(ray_tune.Trainable):
    """Runs what its specification says; errors are results, so that only a lost process is an error to Ray.

    The specification is a plain mapping: `name`, `role` (search, race or final), `number`, `params`, `seed`,
    `config` (the RoCORE keys), `objective` (the sweep's), `num_threads`, its `folder` in the sweep directory, and of
    one that goes on `checkpoints`, newest first.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the specification; it is built at the first step, where an error can be reported."""
        self.spec: Mapping[str, Any] = config["spec"]
        self.run: Run | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self._release()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch. Any exception ends the trial as failed, with its message."""
        start = time.perf_counter()
        try:
            score = self._built().run_epoch()
            if not math.isfinite(score.objective):
                raise DivergedError(f"the objective must be finite, but is {score.objective}")
            if score.finished:
                self._built().keep(Path(self.spec["folder"]))
        except Exception as error:
            return self._failure(error)
        return {
            "epoch": score.epoch,
            "joint_epoch": max(0, score.epoch - int(self.spec["config"]["train"]["pretrain_epochs"])),
            "objective": score.objective,
            "phase": score.phase,
            "finished": score.finished,
            "done": score.finished,
            "failed": False,
            "seconds": time.perf_counter() - start,
            # As text: Ray flattens mappings, and names hold dots and slashes.
            "scalars": json.dumps(score.scalars),
            "metrics": json.dumps(score.metrics),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trainers; a failed trial has nothing to keep."""
        if self.run is not None:
            self.run.save(Path(checkpoint_dir))

    def cleanup(self) -> None:
        """Free memory at the end of the process's life."""
        self._release()

    def engine(self) -> Engine:
        """Return what trains."""
        import rocore

        return rocore

    def _built(self) -> Run:
        if self.run is None:
            # Ray sets one thread in every trial process, whatever the trial's share is.
            _set_threads(self.spec["num_threads"])
            self.run = self._build()
            for checkpoint in self.spec.get("checkpoints", ()):
                try:
                    self.run.load(Path(checkpoint))
                    break
                except CheckpointError:
                    # Torn by what ended the other process: the one before it will do, at last none at all.
                    self.run.close()
                    self.run = self._build()
        return self.run

    def _build(self) -> Run:
        config = make_config(self.spec["config"], f"trial {self.spec['name']}")
        if self.spec["role"] == "final":
            return final_run(config, self.engine())
        return search_run(config, ObjectiveConfig.model_validate(self.spec["objective"]), self.engine())

    def _failure(self, error: Exception) -> dict[str, Any]:
        """Report the floor, so that Ray goes on, but no epoch, so that no rung counts it."""
        text = "".join(traceback.format_exception(error))
        self._release()
        return {
            "objective": FLOOR,
            "finished": False,
            "failed": True,
            "disk_full": is_disk_full(error),
            "done": True,
            "error": str(error) or type(error).__name__,
            "traceback": text,
        }

    def _release(self) -> None:
        """A process is used again: nothing of the last trial may stay."""
        if self.run is not None:
            self.run.close()
        self.run = None
        gc.collect()


def _set_threads(num_threads: int) -> None:
    import torch

    torch.set_num_threads(num_threads)
