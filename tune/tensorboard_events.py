"""A file of TensorBoard events, written at once: a sweep has one for every running trial, and a thread for none."""

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

VERSION = "brain.Event:2"
"""What TensorBoard expects first."""
_numbers = itertools.count()


class EventFile:
    """One event file in a run's folder."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        """Make the file, under a name that no other process uses.

        Args:
            folder: The run.
            suffix: End of the file's name.
        """
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        folder.mkdir(parents=True, exist_ok=True)
        unique = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._records = RecordWriter((folder / f"events.out.tfevents.{unique}{suffix}").open("wb"))
        self._write(file_version=VERSION)

    def add(self, summary: "Summary", step: int | None = None) -> None:
        """Write a summary, so that a killed process leaves it whole."""
        self._write(summary=summary, step=step)

    def add_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Write numbers by name, as `add` does."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self.add(
            Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]),
            step,
        )

    def close(self) -> None:
        """Let go of the file."""
        self._records.close()

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())
        self._records.flush()
