"""Builds c/ and calls it; where that can't be, plain tensors compute the same (attention_chunks.py).

Built anew by every process that needs it, in about a second, for the processor it is on: nothing is
kept that could be of another processor or another version.
"""

import ctypes
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from rocore.encoder.attention_chunks import Chunk
    from rocore.encoder.heads import Heads

SOURCES = tuple(sorted(Path(__file__).parent.joinpath("c").glob("*.c")))
SWITCH = "ROCORE_NATIVE"
"""An environment variable: 0 has plain tensors compute although there is a compiler."""
FLAGS = (
    "-O2",
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-march=native",
    "-shared",
    "-fPIC",
    "-fopenmp",
)
"""What they make is as fast as with -O3, in half the time; torch's own OpenMP threads run it."""
BUILD_TIMEOUT_S = 60
TILE, DEPTH = 16, 32
"""Rows of a matrix that is multiplied at once in bf16, and its columns."""
DTYPES = (torch.bfloat16, torch.float32)
"""Of rows and tokens, the same of both."""
Library = ctypes.CDLL


SENTENCE = np.dtype(
    [
        ("tokens", np.uintp),
        *((name, np.int64) for name in ("num_tokens", "room", "num_queries", "first_slot", "first_pair")),
    ]
)
"""As the sources have it, like the structures below."""


class _Batch(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("num_sentences", "num_heads", "hidden_size", "num_slots")),
        ("sentences", ctypes.c_void_p),
    ]


class _Attention(ctypes.Structure):
    _fields_ = [
        ("scale", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("biases", "masks", "weights", "dropped", "totals")),
    ]


class _Heads(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("narrow", "folding", "unfolding", "bias", "out", "mixed")),
        ("backward", ctypes.c_int64),
    ]


class _Factors(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("num_slots", "num_heads", "hidden_size")),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("narrow", "wide", "totals", "of_weight", "of_bias")),
    ]


@cache
def library() -> Library | None:
    """Return the compiled functions; None where no compiler makes them, or the environment says so."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        loaded = _build()
    except (OSError, subprocess.SubprocessError):
        return None
    given: list[Any] = [ctypes.POINTER(_Batch), ctypes.POINTER(_Attention)]
    loaded.rocore_attend.argtypes = [*given, ctypes.POINTER(_Heads), ctypes.c_int64]
    loaded.rocore_differentiate_weights.argtypes = [ctypes.POINTER(_Factors), ctypes.c_int64]
    for function in (loaded.rocore_mixtures, loaded.rocore_gradients):
        function.argtypes = [*given, ctypes.c_void_p, ctypes.c_int64]
    return loaded


def _build() -> Library:
    """Compile with $CC, or gcc, for this processor.

    Raises:
        OSError: If there is no compiler, or what it wrote can't be loaded.
        subprocess.SubprocessError: If it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    with tempfile.TemporaryDirectory(prefix="rocore-native-") as folder:
        built = Path(folder, "attention.so")
        subprocess.run(  # noqa: S603 - arguments as a list, no shell
            [*compiler, *FLAGS, "-o", str(built), *map(str, SOURCES)],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=BUILD_TIMEOUT_S,
        )
        return ctypes.CDLL(str(built))  # stays, though its file goes


def attend(
    library: Library,
    chunk: "Chunk",
    heads: "Heads",
    queries: Tensor,
    scale: float,
    *,
    out: tuple[Tensor, Tensor],
    keep: bool,
) -> list[Tensor]:
    """As `attention_chunks.attend`, in bf16."""
    context, totals = out
    given = _Given.of(chunk, queries.shape[1], keep=keep)
    mixed = _wide(chunk, queries) if keep else None
    key, value = heads.key[chunk.member], heads.value[chunk.member]
    bias = heads.value_bias[chunk.member].float()
    _check(
        library.rocore_attend(
            _batch(chunk, *queries.shape[1::-1]),
            given.attention(scale, totals),
            _Heads(*map(_address, (queries, key, value, bias, context, mixed)), backward=False),
            torch.get_num_threads(),
        )
    )
    return [] if mixed is None else [totals, mixed, *given.kept]


def differentiate(
    library: Library,
    chunk: "Chunk",
    heads: "Heads",
    queries: Tensor,
    scale: float,
    kept: Iterator[Tensor],
    of_context: Tensor,
    *,
    out: tuple[Tensor, "Heads"],
) -> None:
    """As `attention_chunks.differentiate`, in bf16; gradients of weights are written, not added."""
    totals, mixed, weights, dropped = (next(kept) for _ in range(4))
    of_queries, of_heads = out
    of_rows, of_totals = _wide(chunk, queries), torch.empty(queries.shape[:2])
    key, value, of_key, of_value, of_bias = (
        part[chunk.member]
        for part in (heads.key, heads.value, of_heads.key, of_heads.value, of_heads.value_bias)
    )
    bias = heads.value_bias[chunk.member].float()
    _check(
        library.rocore_attend(
            _batch(chunk, *queries.shape[1::-1]),
            _Attention(scale, None, None, *map(_address, (weights, dropped, of_totals))),
            _Heads(*map(_address, (of_context, value, key, bias, of_queries, of_rows)), backward=True),
            torch.get_num_threads(),
        )
    )
    sizes = (chunk.num_filled, queries.shape[1], mixed.shape[2])
    for factors in (
        _Factors(*sizes, scale, *map(_address, (queries, of_rows, None, of_key, None))),
        _Factors(*sizes, 1.0, *map(_address, (of_context, mixed, totals, of_value, of_bias))),
    ):
        _check(library.rocore_differentiate_weights(factors, torch.get_num_threads()))


def mixtures(
    library: Library, chunk: "Chunk", rows: Tensor, scale: float, *, keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """As `attention_chunks.mixtures`, in fp32; in place."""
    rows = rows.contiguous()
    num_heads, num_slots, _ = rows.shape
    totals = torch.zeros(num_slots, num_heads)
    given = _Given.of(chunk, num_heads, keep=keep)
    _check(
        library.rocore_mixtures(
            _batch(chunk, num_heads, num_slots),
            given.attention(scale, totals),
            rows.data_ptr(),
            torch.get_num_threads(),
        )
    )
    return rows, totals, given.kept


def gradients(
    library: Library, chunk: "Chunk", of_mixtures: Tensor, of_totals: Tensor, kept: Iterator[Tensor]
) -> Tensor:
    """As `attention_chunks.gradients`, in fp32; in place."""
    rows = of_mixtures.contiguous()
    totals = of_totals.float().contiguous()
    weights, dropped = next(kept), next(kept)
    _check(
        library.rocore_gradients(
            _batch(chunk, rows.shape[0], rows.shape[1]),
            _Attention(0.0, None, None, *map(_address, (weights, dropped, totals))),
            rows.data_ptr(),
            torch.get_num_threads(),
        )
    )
    return rows


@dataclass(frozen=True)
class _Given:
    """What attention is given and keeps, each of a chunk's groups behind the other."""

    biases: Tensor | None
    masks: Tensor | None
    weights: Tensor | None
    dropped: Tensor | None

    @classmethod
    def of(cls, chunk: "Chunk", num_heads: int, *, keep: bool) -> "_Given":
        """Join what is given; the rest is written by C."""
        biases, masks = (
            None if tensors is None else torch.cat([tensor.float().flatten() for tensor in tensors])
            for tensors in (chunk.biases, chunk.masks)
        )
        num_weights = sum(group.size * group.tokens * group.queries for group in chunk.groups) * num_heads
        weights = torch.empty(num_weights) if keep else None
        dropped = torch.empty(num_weights) if keep and masks is not None else None
        return cls(biases, masks, weights, dropped)

    def attention(self, scale: float, totals: Tensor) -> _Attention:
        """Where all of it is, for C, while this lives."""
        return _Attention(
            scale, *map(_address, (self.biases, self.masks, self.weights, self.dropped, totals))
        )

    @property
    def kept(self) -> list[Tensor]:
        """Weights before and after dropout, where they are kept."""
        return (
            []
            if self.weights is None
            else [self.weights, self.weights if self.dropped is None else self.dropped]
        )


def _batch(chunk: "Chunk", num_heads: int, num_slots: int) -> _Batch:
    """Where a chunk is, for C, while it lives."""
    places = chunk.places
    return _Batch(len(places), num_heads, chunk.batch.sentences.hidden_size, num_slots, places.ctypes.data)


def _wide(chunk: "Chunk", narrow: Tensor) -> Tensor:
    """Return room for the rows of a chunk, (S + 16, A, H): whole tiles are read."""
    num_slots, num_heads, _ = narrow.shape
    return narrow.new_empty(num_slots + TILE, num_heads, chunk.batch.sentences.hidden_size)


def _check(succeeded: int) -> None:
    if not succeeded:
        raise MemoryError("attention must have memory for each thread, but the system gave none")


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
