"""Kernels of an accelerator, in Triton: attention of ragged span tokens, and dropout counted by element.

Imported on an accelerator alone. What each computes is written down in plain tensors in `ragged_attention.py` and
`dropout.py`, to which tests compare it.

A program of an attention kernel takes BLOCK_ROWS of a sentence's rows; a row is a span token's head. It runs over the
sentence's tokens three times: scores, weights, mixture; in between they wait in memory, in blocks that stay in the
cache. Sentences may have any length.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rocore.encoder.ragged import RaggedBatch
from rocore.encoder.ragged_attention import Mixtures

BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH = 32, 32, 64
BLOCK_ELEMENTS = 1024


@triton.jit
def _products(
    rows, tokens, row_at, valid, first_token, length, token_block, width,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Return the products of a block of rows with a block of tokens, (BLOCK_ROWS, BLOCK_TOKENS)."""
    at = token_block + tl.arange(0, BLOCK_TOKENS)
    token_at = (first_token + at).to(tl.int64) * width
    products = tl.zeros((BLOCK_ROWS, BLOCK_TOKENS), dtype=tl.float32)
    for start in range(0, width, BLOCK_WIDTH):
        column = start + tl.arange(0, BLOCK_WIDTH)
        inside = column < width
        left = tl.load(rows + row_at[:, None] + column, mask=valid[:, None] & inside, other=0.0)
        right = tl.load(tokens + token_at[:, None] + column, mask=(at < length)[:, None] & inside, other=0.0)
        products = tl.dot(left, tl.trans(right), products, input_precision=PRECISION)
    return products


@triton.jit
def _mix(
    weights, tokens, out, weight_at, row_at, valid, first_token, length, width, scale,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write scale * sum_j w_j x_j of a block of rows."""
    for start in range(0, width, BLOCK_WIDTH):
        column = start + tl.arange(0, BLOCK_WIDTH)
        inside = column < width
        mixture = tl.zeros((BLOCK_ROWS, BLOCK_WIDTH), dtype=tl.float32)
        for token_block in range(0, length, BLOCK_TOKENS):
            at = token_block + tl.arange(0, BLOCK_TOKENS)
            token_at = (first_token + at).to(tl.int64) * width
            there = at < length
            left = tl.load(weights + weight_at[:, None] + at, mask=valid[:, None] & there, other=0.0)
            right = tl.load(tokens + token_at[:, None] + column, mask=there[:, None] & inside, other=0.0)
            mixture = tl.dot(left.to(right.dtype), right, mixture, input_precision=PRECISION)
        tl.store(
            out + row_at[:, None] + column,
            (mixture * scale).to(out.dtype.element_ty),
            mask=valid[:, None] & inside,
        )


@triton.jit
def _forward(
    rows, tokens, first_tokens, lengths, first_queries, num_queries, positions, biases, keys,
    weights, dropped, totals, out,
    sentences, queries, heads, width, room, scale, rate,
    HAS_BIAS: tl.constexpr, HAS_DROPOUT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    sentence = tl.program_id(0)
    row = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    valid = row < tl.load(num_queries + sentence) * heads
    if tl.program_id(1) * BLOCK_ROWS >= tl.load(num_queries + sentence) * heads:
        return
    member = sentence // sentences
    first_token, length = tl.load(first_tokens + sentence), tl.load(lengths + sentence)
    query = tl.load(first_queries + sentence) + row // heads
    head = row % heads
    row_at = ((member * heads + head).to(tl.int64) * queries + query - member * queries) * width
    weight_at = (query.to(tl.int64) * heads + head) * room
    highest = tl.full((BLOCK_ROWS,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_ROWS,), dtype=tl.float32)
    for token_block in range(0, length, BLOCK_TOKENS):
        at = token_block + tl.arange(0, BLOCK_TOKENS)
        there = at < length
        scores = scale * _products(
            rows, tokens, row_at, valid, first_token, length, token_block, width,
            BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH, PRECISION,
        )  # fmt: skip
        if HAS_BIAS:
            position = tl.load(positions + query, mask=valid, other=0)
            bias_at = head[:, None] * (2 * room) + at - position[:, None] + room
            scores += tl.load(biases + bias_at, mask=valid[:, None] & there, other=0.0)
        scores = tl.where(there, scores, float("-inf"))
        tl.store(weights + weight_at[:, None] + at, scores, mask=valid[:, None] & there)
        above = tl.maximum(highest, tl.max(scores, 1))
        total = total * tl.exp(highest - above) + tl.sum(tl.exp(scores - above[:, None]), 1)
        highest = above
    tl.debug_barrier()
    kept = tl.zeros((BLOCK_ROWS,), dtype=tl.float32)
    for token_block in range(0, length, BLOCK_TOKENS):
        at = token_block + tl.arange(0, BLOCK_TOKENS)
        here = valid[:, None] & (at < length)
        scores = tl.load(weights + weight_at[:, None] + at, mask=here, other=float("-inf"))
        of_block = tl.where(here, tl.exp(scores - highest[:, None]) / total[:, None], 0.0)
        tl.store(weights + weight_at[:, None] + at, of_block, mask=here)
        if HAS_DROPOUT:
            element = ((query - member * queries) * heads + head)[:, None] * room + at
            drawn = tl.rand(tl.load(keys + member), element)
            of_block = tl.where(drawn >= rate, of_block / (1 - rate), 0.0)
            tl.store(dropped + weight_at[:, None] + at, of_block, mask=here)
        kept += tl.sum(of_block, 1)
    tl.store(totals + query * heads + head, kept, mask=valid)
    tl.debug_barrier()
    _mix(
        dropped, tokens, out, weight_at, row_at, valid, first_token, length, width, 1.0,
        BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH, PRECISION,
    )  # fmt: skip


@triton.jit
def _backward(
    grads, of_totals, tokens, first_tokens, lengths, first_queries, num_queries,
    weights, dropped, scratch, out,
    sentences, queries, heads, width, room, scale,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    sentence = tl.program_id(0)
    row = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    valid = row < tl.load(num_queries + sentence) * heads
    if tl.program_id(1) * BLOCK_ROWS >= tl.load(num_queries + sentence) * heads:
        return
    member = sentence // sentences
    first_token, length = tl.load(first_tokens + sentence), tl.load(lengths + sentence)
    query = tl.load(first_queries + sentence) + row // heads
    head = row % heads
    row_at = ((member * heads + head).to(tl.int64) * queries + query - member * queries) * width
    weight_at = (query.to(tl.int64) * heads + head) * room
    of_total = tl.load(of_totals + query * heads + head, mask=valid, other=0.0)
    inner = tl.zeros((BLOCK_ROWS,), dtype=tl.float32)
    for token_block in range(0, length, BLOCK_TOKENS):
        at = token_block + tl.arange(0, BLOCK_TOKENS)
        here = valid[:, None] & (at < length)
        of_weights = of_total[:, None] + _products(
            grads, tokens, row_at, valid, first_token, length, token_block, width,
            BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH, PRECISION,
        )  # fmt: skip
        of_weights *= tl.load(dropped + weight_at[:, None] + at, mask=here, other=0.0)
        tl.store(scratch + weight_at[:, None] + at, of_weights, mask=here)
        inner += tl.sum(of_weights, 1)
    tl.debug_barrier()
    for token_block in range(0, length, BLOCK_TOKENS):
        at = token_block + tl.arange(0, BLOCK_TOKENS)
        here = valid[:, None] & (at < length)
        of_scores = tl.load(scratch + weight_at[:, None] + at, mask=here, other=0.0)
        of_scores -= inner[:, None] * tl.load(weights + weight_at[:, None] + at, mask=here, other=0.0)
        tl.store(scratch + weight_at[:, None] + at, of_scores, mask=here)
    tl.debug_barrier()
    _mix(
        scratch, tokens, out, weight_at, row_at, valid, first_token, length, width, scale,
        BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH, PRECISION,
    )  # fmt: skip


@triton.jit
def _drop(rows, keys, out, share, rate, BLOCK: tl.constexpr):
    member = tl.program_id(0)
    element = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    at = member.to(tl.int64) * share + element
    drawn = tl.rand(tl.load(keys + member), element)
    values = tl.load(rows + at, mask=element < share, other=0.0).to(tl.float32)
    kept = tl.where(drawn >= rate, values / (1 - rate), 0.0)
    tl.store(out + at, kept.to(out.dtype.element_ty), mask=element < share)


def mixtures(
    rows: Tensor,
    batch: RaggedBatch,
    *,
    biases: Tensor | None,
    scale: float,
    keys: Tensor | None,
    rate: float,
) -> Mixtures:
    """See `plain_mixtures`; the mask is of other elements."""
    heads = rows.shape[0] // batch.num_members
    shape = (batch.spans.shape[0], heads, batch.most_tokens)
    weights = torch.empty(shape, dtype=torch.float32, device=rows.device)
    found = Mixtures(
        rows=torch.zeros_like(rows),
        totals=torch.zeros(shape[:2], dtype=torch.float32, device=rows.device),
        weights=weights,
        dropped=weights if keys is None else torch.empty_like(weights),
    )
    _forward[_grid(batch, heads)](
        rows.contiguous(),
        batch.hidden,
        batch.first_tokens,
        batch.lengths,
        batch.first_queries,
        batch.num_queries,
        batch.query_positions,
        weights if biases is None else biases,
        batch.lengths if keys is None else keys,
        found.weights,
        found.dropped,
        found.totals,
        found.rows,
        batch.size // batch.num_members,
        batch.queries_per_member,
        heads,
        rows.shape[2],
        batch.most_tokens,
        scale,
        rate,
        HAS_BIAS=biases is not None,
        HAS_DROPOUT=keys is not None,
        **_blocks(),
    )
    return found


def gradients(
    of_mixtures: Tensor, of_totals: Tensor, mixtures: Mixtures, batch: RaggedBatch, *, scale: float
) -> Tensor:
    """See `plain_gradients`."""
    of_rows = torch.zeros_like(of_mixtures)
    heads = of_mixtures.shape[0] // batch.num_members
    _backward[_grid(batch, heads)](
        of_mixtures.contiguous(),
        of_totals.contiguous(),
        batch.hidden,
        batch.first_tokens,
        batch.lengths,
        batch.first_queries,
        batch.num_queries,
        mixtures.weights,
        mixtures.dropped,
        torch.empty_like(mixtures.weights),
        of_rows,
        batch.size // batch.num_members,
        batch.queries_per_member,
        heads,
        of_mixtures.shape[2],
        batch.most_tokens,
        scale,
        **_blocks(),
    )
    return of_rows


def drop(rows: Tensor, keys: Tensor, rate: float) -> Tensor:
    """See `DropoutKeys.drop`."""
    rows = rows.contiguous()
    out = torch.empty_like(rows)
    share = rows.numel() // len(keys)
    _drop[len(keys), triton.cdiv(share, BLOCK_ELEMENTS)](rows, keys, out, share, rate, BLOCK=BLOCK_ELEMENTS)
    return out


def _grid(batch: RaggedBatch, heads: int) -> tuple[int, int]:
    return batch.size, triton.cdiv(batch.most_queries * heads, BLOCK_ROWS)


def _blocks() -> dict[str, Any]:
    exact = torch.get_float32_matmul_precision() == "highest"
    return {
        "BLOCK_ROWS": BLOCK_ROWS,
        "BLOCK_TOKENS": BLOCK_TOKENS,
        "BLOCK_WIDTH": BLOCK_WIDTH,
        "PRECISION": "ieee" if exact else "tf32",
    }
