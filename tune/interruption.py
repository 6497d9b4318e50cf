"""Ctrl-C, and the signal that a machine about to be taken away sends: once cleanly, a second time at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_CODE = 130


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, the first signal raises KeyboardInterrupt, and the second one ends this process where it stands.

    Other threads than the main one can't take signals; there, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    take_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def take_signals() -> None:
    """Take the signals (again: Ray, when it starts, takes SIGTERM for itself)."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _first)


def _first(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in SIGNALS:
        signal.signal(number, _second)
    raise KeyboardInterrupt


def _second(_number: int, _frame: FrameType | None) -> NoReturn:
    if sys.stderr.isatty():
        # A live table hides the cursor.
        os.write(2, b"\x1b[?25h\n")
    os._exit(EXIT_CODE)
