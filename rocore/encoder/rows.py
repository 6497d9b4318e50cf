"""Rows of span tokens: into the query grid, out of it again, and pooled by span (equation 2)."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rocore.encoder.ragged import RaggedBatch


def max_pool_spans(
    rows: Float[Tensor, "Q D"], spans: Int[Tensor, " Q"], num_spans: int
) -> Float[Tensor, "S D"]:
    """Return the maximum over the tokens of each span (2); a tie shares its gradient evenly.

    Args:
        rows: Outputs of span tokens.
        spans: To which span each belongs; every span has a token.
        num_spans: S.
    """
    pooled: Tensor = _MaxPool.apply(rows, spans, num_spans)  # type: ignore[no-untyped-call]
    return pooled


class _MaxPool(torch.autograd.Function):
    """Autograd's own backward of the same reduction takes several times as long."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, spans: Tensor, num_spans: int) -> Tensor:
        index = spans[:, None].expand_as(rows)
        pooled = rows.new_full((num_spans, rows.shape[1]), -math.inf)
        pooled.scatter_reduce_(0, index, rows, "amax", include_self=False)
        ctx.save_for_backward(rows, spans, pooled)
        return pooled

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        rows, spans, pooled = ctx.saved_tensors
        winners = rows == pooled.index_select(0, spans)
        count = torch.zeros_like(pooled).index_add_(0, spans, winners.to(rows.dtype))
        return torch.where(winners, (grad_outputs[0] / count).index_select(0, spans), 0.0), None, None


def max_pool_ragged(rows: Float[Tensor, "Q D"], batch: RaggedBatch) -> Float[Tensor, "S D"]:
    """Return what `max_pool_spans` does for the spans of a batch; filling has none."""
    if rows.device.type != "cuda":
        num_spans = 2 * batch.size
        return max_pool_spans(rows, batch.spans, num_spans + 1)[:num_spans]
    pooled: Tensor = _RaggedMaxPool.apply(rows, batch)  # type: ignore[no-untyped-call]
    return pooled


class _RaggedMaxPool(torch.autograd.Function):
    """By kernels: the spans' rows lie one behind another."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, batch: RaggedBatch) -> Tensor:
        from rocore.encoder import row_kernels

        rows = rows.contiguous()
        pooled = row_kernels.pool(rows, batch)
        ctx.save_for_backward(rows, pooled)
        ctx.batch = batch
        return pooled

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        from rocore.encoder import row_kernels

        rows, pooled = ctx.saved_tensors
        return row_kernels.pool_gradients(grad_outputs[0], rows, pooled, ctx.batch), None


def scatter_rows(rows: Tensor, slots: Tensor, num_slots: int) -> Tensor:
    """Return a (num_slots, width) grid with `rows`, shape (R, width), at the distinct `slots`, shape (R,), else 0."""
    grid: Tensor = _Scatter.apply(rows, slots, num_slots)  # type: ignore[no-untyped-call]
    return grid


class _Scatter(torch.autograd.Function):
    """The gradient is a plain gather."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slots: Tensor, num_slots: int) -> Tensor:
        ctx.save_for_backward(slots)
        return rows.new_zeros(num_slots, rows.shape[1]).index_copy_(0, slots, rows)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (slots,) = ctx.saved_tensors
        return grad_outputs[0].index_select(0, slots), None, None


def gather_rows(grid: Tensor, slots: Tensor) -> Tensor:
    """Return the rows of `grid` at the distinct `slots`; the inverse of `scatter_rows`."""
    rows: Tensor = _Gather.apply(grid, slots)  # type: ignore[no-untyped-call]
    return rows


class _Gather(torch.autograd.Function):
    """Slots are distinct, so the gradient is a copy and no sum."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.num_slots = len(grid)
        return grid.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (slots,) = ctx.saved_tensors
        return scatter_rows(grad_outputs[0], slots, ctx.num_slots), None
