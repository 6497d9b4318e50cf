"""Run a function in a process of its own, and say what runs."""

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P, T = ParamSpec("P"), TypeVar("T")


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return `function(*args)`, computed by a newly started Python: its peak memory and its threads are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def note(what: str) -> None:
    """Say on standard error what is being measured."""
    sys.stderr.write(f"benchmarks: {what}\n")
