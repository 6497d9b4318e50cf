"""Imports Ray: Tune without its snapshots, which nothing here is restored from."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune.execution.tune_controller import TuneController

take_snapshot = TuneController.checkpoint


@contextmanager
def without_snapshots() -> Iterator[None]:
    """Keep Tune from writing the state of all its trials again and again.

    It does so whenever any trial has checkpointed as often as checkpoints are kept, so that a sweep's time would grow
    with the square of its trials.
    """
    before = TuneController.checkpoint, TuneController.save_to_dir
    TuneController.checkpoint, TuneController.save_to_dir = _only_at_the_end, _save_nothing
    try:
        yield
    finally:
        TuneController.checkpoint, TuneController.save_to_dir = before


def _only_at_the_end(controller: Any, force: bool = False, wait: bool = False) -> None:
    if force:
        take_snapshot(controller, force=force, wait=wait)


def _save_nothing(controller: Any) -> None:
    """Write the file that Tune looks for when it is done."""
    path = Path(controller.experiment_state_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"trial_data": []}), encoding="utf-8")
