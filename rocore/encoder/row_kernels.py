"""Kernels of an accelerator, in Triton: dropout counted by element, and pooling of spans.

Imported on an accelerator alone. What they compute is written down in plain tensors in `dropout.py` and `rows.py`, to
which tests compare them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rocore.encoder.ragged import RaggedBatch

BLOCK_ELEMENTS = 1024


@triton.jit
def dropped_block(weights, keys, member, element, rate):
    """Return a block of weights after dropout."""
    return tl.where(tl.rand(tl.load(keys + member), element) >= rate, weights / (1 - rate), 0.0)


@triton.jit
def _drop(rows, keys, out, share, rate, BLOCK: tl.constexpr):
    member = tl.program_id(1)
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = member.to(tl.int64) * share + element
    values = tl.load(rows + at, mask=element < share, other=0.0).to(tl.float32)
    kept = dropped_block(values, keys, member, element, rate)
    tl.store(out + at, kept.to(out.dtype.element_ty), mask=element < share)


@triton.jit
def _span_of(first_queries, num_queries, head_queries):
    """Return the first query of the program's span, and behind its last."""
    sentence = tl.program_id(0) // 2
    first = tl.load(first_queries + sentence)
    edge = first + tl.load(head_queries + sentence)
    end = first + tl.load(num_queries + sentence)
    tail = tl.program_id(0) % 2 == 1
    return tl.where(tail, edge, first), tl.where(tail, end, edge)


@triton.jit
def _pool(rows, first_queries, num_queries, head_queries, out, width, BLOCK: tl.constexpr):
    first, end = _span_of(first_queries, num_queries, head_queries)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    highest = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    for query in range(first, end):
        highest = tl.maximum(highest, tl.load(rows + query * width + column, mask=column < width, other=0.0))
    tl.store(out + tl.program_id(0) * width + column, highest, mask=column < width)


@triton.jit
def _pool_backward(
    grads, rows, pooled, first_queries, num_queries, head_queries, out, width, BLOCK: tl.constexpr
):
    first, end = _span_of(first_queries, num_queries, head_queries)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    highest = tl.load(pooled + tl.program_id(0) * width + column, mask=inside, other=0.0)
    count = tl.zeros((BLOCK,), dtype=tl.float32)
    for query in range(first, end):
        at = query * width + column
        count += (tl.load(rows + at, mask=inside, other=0.0) == highest).to(tl.float32)
    grad = tl.load(grads + tl.program_id(0) * width + column, mask=inside, other=0.0) / count
    for query in range(first, end):
        at = query * width + column
        wins = tl.load(rows + at, mask=inside, other=0.0) == highest
        tl.store(out + at, tl.where(wins, grad, 0.0), mask=inside)


def drop(rows: Tensor, keys: Tensor, rate: float) -> Tensor:
    """See `DropoutKeys.drop`."""
    rows = rows.contiguous()
    out = torch.empty_like(rows)
    share = rows.numel() // len(keys)
    with torch.cuda.device_of(rows):
        _drop[triton.cdiv(share, BLOCK_ELEMENTS), len(keys)](
            rows, keys, out, share, rate, BLOCK=BLOCK_ELEMENTS
        )
    return out


def pool(rows: Tensor, batch: RaggedBatch) -> Tensor:
    """Return the maximum over each span's rows, (2 K B, H), for rows of shape (K Q, H), fp32."""
    out = torch.empty(2 * batch.size, rows.shape[1], device=rows.device)
    index = (batch.first_queries, batch.num_queries, batch.head_queries)
    grid = (2 * batch.size, triton.cdiv(rows.shape[1], BLOCK_ELEMENTS))
    with torch.cuda.device_of(rows):
        _pool[grid](rows, *index, out, rows.shape[1], BLOCK=BLOCK_ELEMENTS)
    return out


def pool_gradients(grads: Tensor, rows: Tensor, pooled: Tensor, batch: RaggedBatch) -> Tensor:
    """Return the gradient of `rows`; a tie shares it evenly."""
    out = torch.zeros_like(rows)
    index = (batch.first_queries, batch.num_queries, batch.head_queries)
    grid = (2 * batch.size, triton.cdiv(rows.shape[1], BLOCK_ELEMENTS))
    with torch.cuda.device_of(rows):
        _pool_backward[grid](
            grads.contiguous(), rows, pooled, *index, out, rows.shape[1], BLOCK=BLOCK_ELEMENTS
        )
    return out
