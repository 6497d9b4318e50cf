"""Dropout masks from generators of one's own, so that a run's noise depends on its seed and on nothing else."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

LEVELS = 2**16


class DropoutMasks:
    """Draws masks on the CPU; torch's own come from a sequential generator that takes a seventh of a joint step."""

    def __init__(self, seed: int) -> None:
        """Start the sequence of `seed`."""
        self._seed = seed
        self._num_drawn = 0

    def draw(self, shape: tuple[int, ...], rate: float, dtype: torch.dtype) -> Tensor:
        """Return 1/(1 - rate) with probability 1 - rate and else 0, of the given shape.

        Every mask has a generator of its own, so that one with more rows begins with the rows of one with fewer. The
        rate is rounded to a multiple of 2**-16, and the scale belongs to the rounded rate.
        """
        dropped = min(round(rate * LEVELS), LEVELS - 1)
        size = math.prod(shape)
        words = np.random.SFC64([self._seed, self._num_drawn]).random_raw(-(-size // 4))  # of 64 bits
        self._num_drawn += 1
        drawn = torch.from_numpy(words.astype("<u8", copy=False).view("<i2")[:size]).view(shape)
        kept = torch.ge(drawn, dropped - LEVELS // 2, out=torch.empty(shape, dtype=dtype))
        return kept.mul_(LEVELS / (LEVELS - dropped))


class DropoutKeys:
    """Masks of one step on an accelerator: functions of a member's key and an element's number.

    They need no sequence and no memory, pass through a recorded graph, and are the same alone and in a pack.
    """

    ATTENTION, ATTENTION_OUTPUT, OUTPUT = range(3)

    def __init__(self, seeds: Tensor, step: Tensor) -> None:
        """Derive a key for each member and place.

        Args:
            seeds: (K,) of the epoch, int64, below 2**32.
            step: (1,) within the epoch, int64.
        """
        places = torch.arange(3, device=seeds.device)[:, None]
        self._keys = seeds + (step * 3 + places << 32)

    def at(self, place: int) -> Tensor:
        """Return the members' keys, (K,), at one of the three places."""
        return self._keys[place]

    def drop(self, rows: Tensor, rate: float, place: int) -> Tensor:
        """Return `rows`, member after member, with a share `rate` of the elements 0, the rest divided by 1 - rate."""
        dropped: Tensor = _Drop.apply(rows, self._keys[place], rate)  # type: ignore[no-untyped-call]
        return dropped


Noise = Sequence[DropoutMasks] | DropoutKeys
"""Of all members of a batch."""


class _Drop(torch.autograd.Function):
    """The gradient meets the same mask."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, keys: Tensor, rate: float) -> Tensor:
        ctx.save_for_backward(keys)
        ctx.rate = rate
        return _drop(rows, keys, rate)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (keys,) = ctx.saved_tensors
        return _drop(grad_outputs[0], keys, ctx.rate), None, None


def _drop(rows: Tensor, keys: Tensor, rate: float) -> Tensor:
    if rows.device.type == "cuda":
        from rocore.encoder import row_kernels

        return row_kernels.drop(rows, keys, rate)
    share = (len(rows) // len(keys), *rows.shape[1:])
    return rows * plain_mask(keys, share, rate).to(rows.dtype)


def plain_mask(keys: Tensor, share: tuple[int, ...], rate: float) -> Tensor:
    """Return 1/(1 - rate) with probability 1 - rate and else 0, of the shape `share` for each member in turn."""
    drawn = [
        torch.rand(share, generator=torch.Generator(keys.device).manual_seed(key), device=keys.device)
        for key in keys.tolist()
    ]
    return (torch.cat(drawn) >= rate).float() / (1 - rate)
