"""Weights of keys and values, head by head.

Shapes: K members, A heads, W = H / A, H hidden size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Heads:
    """Weights, or their gradients: key and value (K, A, W, H), the value's bias (K, 1, A, W)."""

    key: Tensor
    value: Tensor
    value_bias: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, num_heads: int, dtype: torch.dtype) -> "Heads":
        """Take apart the weights, ([K,] 2H, H), and biases, ([K,] 2H), of keys and values."""
        hidden = weight.shape[-1]
        weights = weight.to(dtype).view(-1, 2, num_heads, hidden // num_heads, hidden)
        biases = bias.to(dtype).view(-1, 2, num_heads, hidden // num_heads)
        return cls(weights[:, 0], weights[:, 1], biases[:, 1:])

    def stacked(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Join what `of` took apart, in the shapes and dtypes of `weight` and `bias`; the key's bias gets 0."""
        weights = torch.stack([self.key, self.value], 1)
        biases = torch.cat([torch.zeros_like(self.value_bias), self.value_bias], 1)
        return weights.view(weight.shape).to(weight.dtype), biases.view(bias.shape).to(bias.dtype)
