"""Standard output and error of the command: any text can be written to them, and their readers may leave."""

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

CLOSED = 141
"""Exit code where output had no reader any more: what a shell says of `cat` then."""


def write_any_text() -> None:
    """Let text that the terminal's encoding lacks, or that has none, come out with question marks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def is_utf8(stream: TextIO) -> bool:
    """Tell whether a stream takes every character."""
    return codecs.lookup(stream.encoding or "ascii").name == "utf-8"


def outlive_readers() -> None:
    """Let work that leaves files behind go on where nobody reads what it says: `... | head -1`, or a terminal's end."""
    sys.stdout = _lasting(
        sys.stdout, lambda: _note("nobody reads standard output any more; the work goes on\n")
    )
    sys.stderr = _lasting(sys.stderr, lambda: None)


def has_reader(stream: TextIO) -> bool:
    """Tell whether anybody can still read what is written to a stream; of what is no pipe, yes."""
    number = _number(stream)
    if number is None:
        return True
    poll = select.poll()
    poll.register(number, 0)
    return not any(events & select.POLLERR for _, events in poll.poll(0))


def discard(stream: TextIO) -> None:
    """Let what is left in a stream, and what is written to it from now on, go nowhere."""
    number = _number(stream)
    if number is not None:
        _discard(number)


class _LastingFile(io.FileIO):
    """Takes what is written to it when its reader has left, too."""

    def __init__(self, number: int, told: Callable[[], None]) -> None:
        super().__init__(number, "w", closefd=False)
        self._told = told

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
        _discard(self.fileno())
        self._told()
        return len(data)


def _lasting(stream: TextIO, told: Callable[[], None]) -> TextIO:
    number = _number(stream)
    if number is None or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(cast("io.RawIOBase", _LastingFile(number, told))),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
    )


def _note(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _discard(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def _number(stream: TextIO | None) -> int | None:
    """Return a stream's file descriptor; None where it has none: tests and notebooks bring their own."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
