"""Models of a pack as one: weights stacked, every product one batched product.

Shapes: K members, R rows of each.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rocore.model import RoCORE


def stack_models(models: Sequence[RoCORE]) -> RoCORE:
    """Return a model that is all of them, member by member; their weights become views of its own."""
    packed = deepcopy(models[0])
    for name, module in models[0].named_modules():
        members = [model.get_submodule(name) for model in models]
        if isinstance(module, nn.Linear):
            packed.set_submodule(name, PackedLinear(cast("list[nn.Linear]", members)))
        elif isinstance(module, nn.LayerNorm):
            packed.set_submodule(name, PackedLayerNorm(cast("list[nn.LayerNorm]", members)))
    return packed


class PackedLinear(nn.Module):
    """K linear layers: member k's rows, the k-th share of the input's, meet its own weights."""

    def __init__(self, members: Sequence[nn.Linear]) -> None:
        """Stack the weights; those of the members become views of the stack."""
        super().__init__()
        self.weight = _stacked([member.weight for member in members])  # (K, out, in)
        self.bias = _stacked([member.bias for member in members])

    def forward(self, rows: Tensor) -> Tensor:
        """Return (K R, out) for (K R, in)."""
        shares = rows.view(len(self.weight), -1, rows.shape[-1])
        return torch.baddbmm(self.bias[:, None], shares, self.weight.mT).flatten(0, 1)


class PackedLayerNorm(nn.Module):
    """K layer norms."""

    def __init__(self, members: Sequence[nn.LayerNorm]) -> None:
        """Stack the weights; those of the members become views of the stack."""
        super().__init__()
        self.weight = _stacked([member.weight for member in members])  # (K, width)
        self.bias = _stacked([member.bias for member in members])
        self._eps = members[0].eps

    def forward(self, rows: Tensor) -> Tensor:
        """Return (K R, width) for the same."""
        shares = F.layer_norm(rows, rows.shape[-1:], eps=self._eps).view(len(self.weight), -1, rows.shape[-1])
        return torch.addcmul(self.bias[:, None], shares, self.weight[:, None]).flatten(0, 1)


def _stacked(members: Sequence[Tensor]) -> nn.Parameter:
    stack = nn.Parameter(torch.stack([member.detach() for member in members]))
    for k, member in enumerate(members):
        member.data = stack.data[k]
    return stack


def share_gradients(packed: nn.Module, members: Sequence[nn.Module]) -> None:
    """Give every member its part of the stacked gradients."""
    for stacked, *own in zip(packed.parameters(), *(m.parameters() for m in members), strict=True):
        for k, parameter in enumerate(own):
            parameter.grad = None if stacked.grad is None else stacked.grad[k]


def unstack(members: Sequence[nn.Module]) -> None:
    """Give every member weights of its own again, the same numbers."""
    for member in members:
        for parameter in member.parameters():
            parameter.data, parameter.grad = parameter.data.clone(), None
