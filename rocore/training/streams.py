"""Streams of an accelerator, one for each use: cuBLAS keeps a workspace for every stream that it has seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


@cache
def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """Return where steps are recorded."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return where the clustering loss is computed, beside the joint loss."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def on_stream(stream: torch.cuda.Stream) -> Iterator[None]:
    """Run on another stream, behind and before what the current one does."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)
