"""A linear layer whose bf16 product on a CPU adds its bias in the same pass.

PyTorch's own writes the bias to the result before the product and reads it again: a tenth of a wide product's time.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


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
