"""Dropout masks from a generator of one's own, so that a run's noise depends on its seed and on nothing else."""

import numpy as np
import torch
from torch import Tensor

LEVELS = 2**16


class DropoutMasks:
    """Draws masks; torch's own on the CPU comes from a sequential generator that takes a seventh of a joint step."""

    def __init__(self, seed: int, device: torch.device) -> None:
        """Start the sequence of `seed`."""
        self._device = device
        self._bits = np.random.Generator(np.random.SFC64(seed))
        self._generator = torch.Generator(device).manual_seed(seed)

    def draw(self, shape: tuple[int, ...], rate: float, dtype: torch.dtype) -> Tensor:
        """Return 1/(1 - rate) with probability 1 - rate and else 0, of the given shape.

        On the CPU the rate is rounded to a multiple of 2**-16, and the scale belongs to the rounded rate.
        """
        if self._device.type != "cpu":
            mask = torch.empty(shape, dtype=dtype, device=self._device)
            return mask.bernoulli_(1 - rate, generator=self._generator).div_(1 - rate)
        dropped = min(round(rate * LEVELS), LEVELS - 1)
        bits = torch.from_numpy(self._bits.integers(0, LEVELS, shape, np.uint16).view(np.int16))
        kept = bits >= dropped - LEVELS // 2
        return kept.to(dtype).mul_(LEVELS / (LEVELS - dropped))
