"""Linear layers whose bf16 product on a CPU adds its bias in the same pass.

PyTorch's own writes the bias to the result before the product and reads it again: a tenth of a wide product's time.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.activations import ACT2FN


class Linear(nn.Linear):
    """`torch.nn.Linear`, the same numbers up to rounding."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base's name
        """Return x W^T + b, shape (..., out), for x, shape (..., in)."""
        on_cpu = input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not on_cpu or self.bias is None or not _has_bf16_products():
            return super().forward(input)
        dtype = torch.get_autocast_dtype("cpu")
        product: Tensor = _BiasedProduct.apply(  # type: ignore[no-untyped-call]
            input.to(dtype), self.weight.to(dtype), self.bias.to(dtype)
        )
        return product


@cache
def _has_bf16_products() -> bool:
    """Whether oneDNN multiplies bf16 on this processor; elsewhere it refuses, and PyTorch emulates it."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class _BiasedProduct(torch.autograd.Function):
    """oneDNN's linear, which has no derivative of its own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return product

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (grad,) = grad_outputs
        rows, weight = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad
        flat = grad.flatten(0, -2)
        return (
            grad @ weight if of_rows else None,
            flat.mT @ rows.flatten(0, -2) if of_weight else None,
            flat.sum(0) if of_bias else None,
        )


class FrozenLinear:
    """act(x W^T + b) without gradients.

    In bf16 on a CPU oneDNN keeps the weights in its own order, and adds bias and GELU while a product is in the cache.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
        device: torch.device,
        activation: str | None = None,
    ) -> None:
        """Copy weight, (out, in), and bias, (out,); `activation` is named as in an encoder's config."""
        self._weight, self._bias = weight.to(device, dtype), bias.to(device, dtype)
        self._activate = ACT2FN[activation] if activation else None
        self._by_onednn = device.type == "cpu" and dtype == torch.bfloat16 and _has_bf16_products()
        self._fused = ("none", "")
        if self._by_onednn:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight)
            if activation == "gelu":
                self._activate, self._fused = None, ("gelu", "none")

    def __call__(self, rows: Tensor) -> Tensor:
        """Return (..., out) for rows of shape (..., in)."""
        if self._by_onednn:
            kind, algorithm = self._fused
            product: Tensor = torch.ops.mkldnn._linear_pointwise(
                rows, self._weight, self._bias, kind, [], algorithm
            )
        else:
            product = linear(rows, self._weight, self._bias)
        return self._activate(product) if self._activate else product
