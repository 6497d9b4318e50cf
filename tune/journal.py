"""The log of a sweep: every ask, report and end stands on disk before anything acts on it."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from rocore.errors import CheckpointError, ConfigError, DiskFullError, StorageError

FILE = "journal.jsonl"
Sink = Callable[[int, bytes], None]
"""Told where a line begins in the file, in bytes, and the line."""
Event = dict[str, Any]
"""One line: `event` says what happened, `at` when (seconds since 1970), the rest to whom and with which figures."""


class Journal:
    """A file of JSON lines that only grows: the one truth about what a sweep has done.

    One process at a time holds it. A line that a kill tore is dropped when the file is opened again; what it told of
    has not happened.
    """

    def __init__(self, path: Path, sink: Sink | None = None, resume_command: str = "") -> None:
        """Open or create the file; with a `sink`, nothing acts on a line before that has it, too.

        Args:
            path: The file.
            sink: Gets a copy of every line.
            resume_command: What goes on after a full disk, for the message.

        Raises:
            ConfigError: If another process runs this sweep.
            CheckpointError: If a line before the last one is corrupt.
        """
        self.path, self._sink = path, sink
        self._resume_command = resume_command or f"rocore sweep --resume {path.parent}"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._failure: DiskFullError | StorageError | None = None
        try:
            self._lock()
            self.events, whole = parse_events(path.read_bytes(), str(path))
            os.ftruncate(self._file, whole)
        except BaseException:
            self.close()
            raise

    def write(self, event: Event) -> Event:
        """Append an event and wait until the disk has it.

        Returns:
            The event with its time.

        Raises:
            DiskFullError: If it can't be written; nothing of it stands in the file then.
            StorageError: If the sink can't take it; it stands in the file then.
        """
        self.check()
        event = {**event, "at": round(time.time(), 3)}
        line = json.dumps(event, ensure_ascii=False) + "\n"
        before = os.fstat(self._file).st_size
        try:
            _write_all(self._file, line.encode())
            os.fsync(self._file)
        except OSError as error:
            self._failure = self._full(error)
            os.ftruncate(self._file, before)
            raise self._failure from error
        if self._sink is not None:
            try:
                self._sink(before, line.encode())
            except (DiskFullError, StorageError) as error:
                self._failure = error
                raise
        return event

    def check(self) -> None:
        """Refuse to go on after a write that failed: the log would have a gap.

        Raises:
            DiskFullError: If one did.
            StorageError: If it was the sink's.
        """
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Let other processes have it."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _full(self, error: OSError) -> DiskFullError:
        return DiskFullError(
            f"{self.path.parent} must have room to write to, but {error.strerror or error}; nothing is lost: free "
            f"some, then go on with `{self._resume_command}`"
        )

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"one process at a time may run a sweep or an experiment, but another one is running "
                f"{self.path.parent}; wait for its end, or stop it"
            ) from error


def read_events(path: Path) -> list[Event]:
    """Return what a journal holds, also while a sweep is writing it.

    Raises:
        CheckpointError: If it is absent, or a line before the last one is corrupt.
    """
    try:
        return parse_events(path.read_bytes(), str(path))[0]
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} must be a sweep directory that holds {path.name}, but it doesn't; "
            f"start one with `rocore sweep CONFIG --out {path.parent}`"
        ) from error


def has_trials(events: Iterable[Event]) -> bool:
    """Tell whether a sweep has tried anything yet."""
    return any(event["event"] == "ask" for event in events)


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether an error, or what caused it, is that no space is left."""
    while error is not None:
        # safetensors and SQLite raise classes of their own, with the system's words.
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
            words in str(error) for words in ("No space left on device", "disk is full", "os error 28")
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def parse_events(content: bytes, name: str) -> tuple[list[Event], int]:
    """Return the events of a journal, which errors call by `name`, and the length of its whole lines, in bytes.

    Raises:
        CheckpointError: If a line before the last one is corrupt.
    """
    lines = content.splitlines(keepends=True)
    events: list[Event] = []
    length = 0
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            if not (line.endswith(b"\n") and isinstance(event, Mapping) and "event" in event):
                raise ValueError("it isn't a whole event")
        except ValueError as error:
            if number == len(lines):
                break
            raise CheckpointError(
                f"{name} must hold one JSON object a line, but line {number} is corrupt ({error}); "
                "restore the file from a copy, or start the sweep anew in another directory"
            ) from error
        events.append(dict(event))
        length += len(line)
    return events, length


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
