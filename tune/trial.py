"""Imports Ray: one trial as a Ray Tune trainable, one step an epoch."""

from pathlib import Path
from typing import Any

import ray.tune as ray_tune

from tune.objective import Engine
from tune.trial_run import TrialRun


class Trial(ray_tune.Trainable):
    """Runs what its specification says; errors are results, so that only a lost process is an error to Ray."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the specification; it is built at the first step, where an error can be reported."""
        self.run = TrialRun(config["spec"], self.engine())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self.run.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
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
        import rocore

        return rocore
