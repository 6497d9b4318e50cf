"""Where the checkpoints of trials lie: a folder for each process that a trial had; knows no Ray."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tune.ledger import TrialRecord

KEPT_WHILE_RUNNING = 2
"""The one before the newest serves where the newest is torn."""


def attempt_name(name: str, attempt: int) -> str:
    """Return the name of the folder of a trial's process `attempt`, from 0."""
    return f"{name}.{attempt}" if attempt else name


def newest_first(folder: Path, record: TrialRecord) -> list[Path]:
    """Return the checkpoints of a trial.

    Args:
        folder: Tune's folder of the trial's role, DIR/ray/search or DIR/ray/final.
        record: The trial.
    """
    found: list[Path] = []
    for attempt in reversed(range(record.num_starts)):
        found += sorted((folder / attempt_name(record.name, attempt)).glob("checkpoint_*"), reverse=True)
    return found


def keep_newest(folder: Path, records: Sequence[TrialRecord], number: int) -> None:
    """Remove all checkpoints of trials that ended but for the newest ones."""
    for record in records:
        if record.state != "running":
            for checkpoint in newest_first(folder, record)[number:]:
                shutil.rmtree(checkpoint, ignore_errors=True)
