"""Where the checkpoints of trials lie: a folder for each process that a trial had; knows no Ray."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rocore import Storage
    from tune.ledger import TrialRecord

KEPT_WHILE_RUNNING = 2
"""The one before the newest serves where the newest is torn."""
PREFIX = "checkpoint_"


def attempt_name(name: str, attempt: int) -> str:
    """Return the name of the folder of a trial's process `attempt`, from 0."""
    return f"{name}.{attempt}" if attempt else name


class Checkpoints(Protocol):
    """The checkpoints of the trials of one role."""

    def of_attempt(self, attempt: str) -> list[str]:
        """Return where those of one process lie, the oldest first; on an object store by URL."""

    def remove(self, place: str) -> None:
        """Remove one of them."""


class LocalCheckpoints:
    """In a folder, Tune's own of the role."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of_attempt(self, attempt: str) -> list[str]:
        """Return their paths."""
        return [str(path) for path in sorted((self._folder / attempt).glob(f"{PREFIX}*"))]

    def remove(self, place: str) -> None:
        """Remove one of them."""
        shutil.rmtree(place, ignore_errors=True)


class StoredCheckpoints:
    """On an object store."""

    def __init__(self, storage: "Storage") -> None:
        self._storage = storage

    def of_attempt(self, attempt: str) -> list[str]:
        """Return their URLs."""
        names = {name.partition("/")[0] for name in self._storage.below(attempt).files()}
        return [
            self._storage.below(f"{attempt}/{name}").url for name in sorted(names) if name.startswith(PREFIX)
        ]

    def remove(self, place: str) -> None:
        """Remove one of them."""
        folder = place.partition("?")[0].removeprefix(self._storage.url.partition("?")[0])
        self._storage.remove(folder.strip("/"))


def newest_first(checkpoints: Checkpoints, record: "TrialRecord") -> list[str]:
    """Return the checkpoints of a trial."""
    found: list[str] = []
    for attempt in reversed(range(record.num_starts)):
        found += reversed(checkpoints.of_attempt(attempt_name(record.name, attempt)))
    return found


def keep_newest(checkpoints: Checkpoints, records: "Sequence[TrialRecord]", number: int) -> None:
    """Remove all checkpoints of trials that ended but for the newest ones."""
    for record in records:
        if not record.is_running:
            for place in newest_first(checkpoints, record)[number:]:
                checkpoints.remove(place)
