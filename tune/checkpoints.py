"""Where the checkpoints of trials lie, a folder for each process of one, and when they are written; knows no Ray."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rocore import Storage
    from tune.records import TrialRecord

KEPT_WHILE_RUNNING = 2
"""The one before the newest serves where the newest is torn."""
PREFIX = "checkpoint_"
MOST_TRAINED_S = 300.0
"""How long a trial trains without a checkpoint, however long one takes: an object store may have been away."""


class CheckpointTimes:
    """Tells which epochs of a trial's process are followed by a checkpoint, so that these take a share of its time."""

    def __init__(self, share: float) -> None:
        """Start with the process; its first epoch is due."""
        self._share, self._took, self._written_at = share, 0.0, time.monotonic()

    def due(self) -> bool:
        """Return whether the process has trained long enough since the last one, for as long as that took."""
        trained = time.monotonic() - self._written_at
        return trained >= min(self._took * (1 / self._share - 1), MOST_TRAINED_S)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Note how long one takes."""
        start = time.monotonic()
        yield
        self._written_at = time.monotonic()
        self._took = self._written_at - start


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
