"""Dropout masks from generators of one's own, so that a run's noise depends on its seed and on nothing else."""

import math

import numpy as np
import torch
from torch import Tensor

LEVELS = 2**16


class DropoutMasks:
    """Draws masks; torch's own on the CPU comes from a sequential generator that takes a seventh of a joint step."""

    def __init__(self, seed: int, device: torch.device) -> None:
        """Start the sequence of `seed`."""
        self._device = device
        self._seed = seed
        self._num_drawn = 0
        self._generator = torch.Generator(device).manual_seed(seed)

    def draw(self, shape: tuple[int, ...], rate: float, dtype: torch.dtype) -> Tensor:
        """Return 1/(1 - rate) with probability 1 - rate and else 0, of the given shape.

        On the CPU every mask has a generator of its own, so that one with more rows begins with the rows of one with
        fewer. There the rate is rounded to a multiple of 2**-16, and the scale belongs to the rounded rate.
        """
        if self._device.type != "cpu":
            mask = torch.empty(shape, dtype=dtype, device=self._device)
            return mask.bernoulli_(1 - rate, generator=self._generator).div_(1 - rate)
        dropped = min(round(rate * LEVELS), LEVELS - 1)
        size = math.prod(shape)
        words = np.random.SFC64([self._seed, self._num_drawn]).random_raw(-(-size // 4))  # of 64 bits
        self._num_drawn += 1
        drawn = torch.from_numpy(words.astype("<u8", copy=False).view("<i2")[:size]).view(shape)
        scale = torch.tensor(LEVELS / (LEVELS - dropped), dtype=dtype)
        return torch.where(drawn >= dropped - LEVELS // 2, scale, torch.zeros((), dtype=dtype))
