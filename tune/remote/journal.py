"""The journal of a sweep on an object store: small objects, put together from time to time, as none can be appended to.

The journal is the truth about a sweep, so that its lines reach the store before anything acts on them.
"""

from pathlib import Path

import rocore
from rocore.errors import StorageAwayError, StorageError
from tune.journal import FILE

SEGMENTS = "journal"
"""Folder of the lines that aren't in the journal's file yet, each object named by where it begins, in bytes."""
SEGMENTS_TOGETHER = 100
READ_TRIES = 5


def has_journal(storage: rocore.Storage) -> bool:
    """Tell whether a folder holds a sweep."""
    return storage.exists(FILE) or bool(storage.files(SEGMENTS))


def read_journal(storage: rocore.Storage) -> bytes:
    """Return the journal as far as the store has it; nothing where there is none.

    Raises:
        StorageError: If it can't be read.
    """
    for tries_left in reversed(range(READ_TRIES)):
        try:
            return _read(storage)
        except StorageAwayError:
            raise
        except StorageError:
            # Segments go when they are put together, maybe between their listing and their reading.
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


class RemoteJournal:
    """Where the driver's journal goes."""

    def __init__(self, storage: rocore.Storage, path: Path) -> None:
        """Begin; `path` is the journal's file here."""
        self._storage, self._path = storage, path
        self._num_segments = 0
        self._first_segment = 0

    def append(self, begin: int, line: bytes) -> None:
        """Put lines that begin at a byte of the journal into the store."""
        if not self._num_segments:
            self._first_segment = begin
        self._storage.write(_segment(begin), line)
        self._num_segments += 1
        if self._num_segments >= SEGMENTS_TOGETHER:
            self._put_together(begin + len(line))

    def finish(self) -> None:
        """Store it as one file."""
        if not self._path.is_file():
            return
        self._storage.upload(self._path, FILE)
        for name in self._storage.files(SEGMENTS):
            self._storage.remove(name)

    def _put_together(self, end: int) -> None:
        """Make one object of the last small ones; whatever a kill leaves of this is read the same."""
        with self._path.open("rb") as file:
            file.seek(self._first_segment)
            content = file.read(end - self._first_segment)
        self._storage.write(_segment(self._first_segment), content)
        for name in self._storage.files(SEGMENTS):
            if self._first_segment < _begin(name) < end:
                self._storage.remove(name)
        self._num_segments = 0


def _read(storage: rocore.Storage) -> bytes:
    names = storage.files(SEGMENTS)
    whole = storage.read(FILE) if storage.exists(FILE) else b""
    for name in sorted(names):
        begin, content = _begin(name), storage.read(name)
        if begin <= len(whole) < begin + len(content):
            whole += content[len(whole) - begin :]
    return whole


def _segment(begin: int) -> str:
    return f"{SEGMENTS}/{begin:015d}"


def _begin(segment: str) -> int:
    return int(segment.rpartition("/")[2])
