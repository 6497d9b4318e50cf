"""Models of a pack as one: weights stacked, every product one batched product.

Shapes: K members, R rows of each.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

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
        product: Tensor = _PackedProduct.apply(shares, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return product.flatten(0, 1)


class _PackedProduct(torch.autograd.Function):
    """x W^T + b of every member, in autocast's dtype where there is one.

    The gradient of a bias is a sum over rows; in bf16 on an accelerator it is a product with ones: on few wide rows
    reductions take thrice as long.
    """

    @staticmethod
    def forward(ctx: Any, shares: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        kind = shares.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        ctx.dtypes = shares.dtype, weight.dtype, bias.dtype
        shares, weight, bias = shares.to(dtype), weight.to(dtype), bias.to(dtype)
        ctx.save_for_backward(shares, weight)
        with torch.autocast(kind, enabled=False):
            return torch.baddbmm(bias[:, None], shares, weight.mT)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        shares, weight = ctx.saved_tensors
        of_shares, of_weight, of_bias = ctx.needs_input_grad
        grad = grad_outputs[0].to(weight.dtype)
        to_shares, to_weight, to_bias = ctx.dtypes
        return (
            torch.bmm(grad, weight).to(to_shares) if of_shares else None,
            torch.bmm(grad.mT, shares).to(to_weight) if of_weight else None,
            _sum_of_rows(grad).to(to_bias) if of_bias else None,
        )


def _sum_of_rows(grad: Tensor) -> Tensor:
    """(K, R, out) -> (K, out)."""
    if grad.device.type != "cuda" or grad.dtype != torch.bfloat16:
        return grad.sum(1)
    ones = torch.ones(1, 1, grad.shape[1], dtype=grad.dtype, device=grad.device)
    return torch.bmm(ones.expand(len(grad), 1, -1), grad)[:, 0]


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


class LowPrecisionCopy:
    """A stacked model whose products have their weights in bf16 already; all others are the stacked model's own.

    Autocast would cast every weight, and every gradient back, by itself, each time it is met; here a step casts them
    all at once. The numbers are the same.
    """

    def __init__(self, stacked: RoCORE) -> None:
        """Copy the weights of layer r, g and d."""
        self.model = deepcopy(stacked)
        self._high: list[Tensor] = []
        self._low: list[Tensor] = []
        of_copy = dict(self.model.named_modules())
        for name, module in stacked.named_modules():
            low = isinstance(module, PackedLinear) and not name.endswith("classifier")
            for key, parameter in module.named_parameters(recurse=False):
                if low:
                    self._high.append(parameter)
                    self._low.append(nn.Parameter(parameter.detach().to(torch.bfloat16)))
                    setattr(of_copy[name], key, self._low[-1])
                else:
                    setattr(of_copy[name], key, parameter)

    def refresh(self) -> None:
        """Take over the stacked model's weights as they are now."""
        with torch.no_grad():
            torch._foreach_copy_(self._low, self._high)

    def hand_over_gradients(self) -> None:
        """Give the stacked model the gradients of the copies."""
        of_low, of_high = [], []
        for low, high in zip(self._low, self._high, strict=True):
            if low.grad is not None:
                high.grad = torch.empty_like(high)
                of_low.append(low.grad)
                of_high.append(high.grad)
        if of_low:
            torch._foreach_copy_(of_high, of_low)
