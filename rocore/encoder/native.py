"""Builds c/token_products.c and calls it; where that can't be, plain tensors compute the same (token_products.py).

Built anew by every process that needs it, in half a second, for the processor it is on: nothing is
kept that could be of another processor or another version.
"""

import ctypes
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from rocore.encoder.token_products import Chunk

SOURCE = Path(__file__).parent / "c" / "token_products.c"
SWITCH = "ROCORE_NATIVE"
"""An environment variable: 0 has plain tensors compute although there is a compiler."""
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-pthread")
BUILD_TIMEOUT_S = 60
DTYPES = (torch.bfloat16, torch.float32)
"""Of rows and tokens, the same of both."""
Library = ctypes.CDLL


class _Group(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("size", "room", "queries", "first_slot")]


class _Batch(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in ("num_groups", "num_heads", "hidden_size", "num_slots", "in_fp32")
        ),
        ("groups", ctypes.POINTER(_Group)),
        *((name, ctypes.c_void_p) for name in ("tokens", "lengths", "rows")),
    ]


class _Attention(ctypes.Structure):
    _fields_ = [
        ("scale", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("biases", "masks", "weights", "dropped", "totals")),
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
    for function in (loaded.rocore_mixtures, loaded.rocore_gradients):
        function.argtypes = [ctypes.POINTER(_Batch), ctypes.POINTER(_Attention), ctypes.c_int64]
    return loaded


def _build() -> Library:
    """Compile with $CC, or gcc, for this processor.

    Raises:
        OSError: If there is no compiler, or what it wrote can't be loaded.
        subprocess.SubprocessError: If it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    with tempfile.TemporaryDirectory(prefix="rocore-native-") as folder:
        built = Path(folder, "token_products.so")
        subprocess.run(  # noqa: S603 - arguments as a list, no shell
            [*compiler, *FLAGS, "-o", str(built), str(SOURCE)],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=BUILD_TIMEOUT_S,
        )
        return ctypes.CDLL(str(built))  # stays, though its file goes


def mixtures(
    library: Library, chunk: "Chunk", rows: Tensor, scale: float, *, keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """As `token_products.mixtures`; in place."""
    rows = rows.contiguous()
    num_heads, num_slots, _ = rows.shape
    num_weights = sum(group.size * group.tokens * group.queries for group in chunk.groups) * num_heads
    totals = torch.zeros(num_slots, num_heads)
    weights = torch.empty(num_weights) if keep else None
    biases, masks = _flat(chunk.biases), _flat(chunk.masks)
    dropped = torch.empty(num_weights) if keep and masks is not None else None
    attention = _Attention(scale, *map(_address, (biases, masks, weights, dropped, totals)))
    _run(library.rocore_mixtures, chunk, rows, attention)
    return rows, totals, [] if weights is None else [weights, weights if dropped is None else dropped]


def gradients(
    library: Library, chunk: "Chunk", of_mixtures: Tensor, of_totals: Tensor, kept: Iterator[Tensor]
) -> Tensor:
    """As `token_products.gradients`; in place."""
    of_mixtures = of_mixtures.contiguous()
    totals = of_totals.float().contiguous()
    weights, dropped = next(kept), next(kept)
    attention = _Attention(0.0, None, None, *map(_address, (weights, dropped, totals)))
    _run(library.rocore_gradients, chunk, of_mixtures, attention)
    return of_mixtures


def _run(function: Callable[..., int], chunk: "Chunk", rows: Tensor, attention: _Attention) -> None:
    num_heads, num_slots, hidden_size = rows.shape
    sentences, groups = chunk.batch.sentences, chunk.groups
    part = slice(groups[0].first_sentence, groups[-1].first_sentence + groups[-1].size)
    addresses, lengths = (
        np.ascontiguousarray(a[part], np.int64) for a in (sentences.addresses, sentences.lengths)
    )
    batch = _Batch(
        len(groups),
        num_heads,
        hidden_size,
        num_slots,
        rows.dtype == torch.float32,
        (_Group * len(groups))(
            *(_Group(each.size, each.tokens, each.queries, chunk.within(each).start) for each in groups)
        ),
        addresses.ctypes.data,
        lengths.ctypes.data,
        rows.data_ptr(),
    )
    if not function(ctypes.byref(batch), ctypes.byref(attention), torch.get_num_threads()):
        raise MemoryError("attention must have memory for one sentence a thread, but the system gave none")


def _flat(tensors: Sequence[Tensor] | None) -> Tensor | None:
    return None if tensors is None else torch.cat([tensor.float().flatten() for tensor in tensors])


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
