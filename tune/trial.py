"""Imports Ray: one trial as a Ray Tune trainable, one step an epoch."""

from pathlib import Path
from typing import Any

import ray.tune as ray_tune
from ray.tune.result import SHOULD_CHECKPOINT

import rocore
from tune.checkpoints import CheckpointTimes
from tune.objective import Engine
from tune.trial_run import Result, TrialRun


class StoredTrainable(ray_tune.Trainable):
    """Says which epochs a checkpoint follows, and waits for an object store that is away while one goes there.

    Ray itself writes one after every n-th epoch, and gives up on a store within a second.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin a trial."""
        self._checkpoints = CheckpointTimes(config["spec"]["checkpoint_share"])

    def step(self) -> dict[str, Any]:
        """Train an epoch."""
        result = self.train_epoch()
        return {**result, SHOULD_CHECKPOINT: self._checkpoints.due()}

    def train_epoch(self) -> Result:
        """Train an epoch and return what it came to."""
        raise NotImplementedError

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Save, where the sweep is on a store as often as it takes; the last checkpoint counts.

        Raises:
            StorageAwayError: If the store stays away.
        """
        place = str(self.config["spec"]["folder"])
        with self._checkpoints.writing():
            if not rocore.is_url(place):
                return super().save(checkpoint_dir)
            return rocore.patiently(
                place, "write a checkpoint", lambda: super(StoredTrainable, self).save(checkpoint_dir)
            )


class Trial(StoredTrainable):
    """Runs what its specification says; errors are results, so that only a lost process is an error to Ray."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the specification; it is built at the first step, where an error can be reported."""
        super().setup(config)
        self.run = TrialRun(config["spec"], self.engine())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self.run.close()
        self.setup(new_config)
        return True

    def train_epoch(self) -> Result:
        """Train an epoch."""
        return self.run.step()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the trainers."""
        self.run.save(Path(checkpoint_dir))

    def cleanup(self) -> None:
        """Free memory at the end of the process's life."""
        self.run.close()

    def engine(self) -> Engine:
        """Return what trains."""
        return rocore
