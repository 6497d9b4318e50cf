"""Kernels of an accelerator, in Triton: attention of ragged span tokens, forward and backward.

Imported on an accelerator alone. What they compute is written down in plain tensors in `ragged_attention.py`, to which
tests compare them.

A program takes BLOCK_ROWS of a sentence's rows; a row is a span token's head. Where every sentence is one block of
tokens, weights stay in registers; else (`_of_blocks`) they wait in memory between runs over the sentence: scores,
weights, mixture. Sentences may have any length.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rocore.encoder.ragged import RaggedBatch
from rocore.encoder.ragged_attention import Mixtures
from rocore.encoder.row_kernels import dropped_block

BLOCK_ROWS, BLOCK_WIDTH = 16, 64
MOST_TOKENS_OF_A_BLOCK = 128
BLOCK_TOKENS = 32
"""Of several blocks."""
LAUNCH = {"num_warps": 4, "num_stages": 3}


@triton.jit
def _columns(rows, row_at, there, start, width, BLOCK_WIDTH: tl.constexpr):
    """Load BLOCK_WIDTH columns of some rows."""
    column = start + tl.arange(0, BLOCK_WIDTH)
    mask = there[:, None] & (column < width)
    return tl.load(rows + row_at[:, None] + column, mask=mask, other=0.0)


@triton.jit
def _products(
    rows, tokens, row_at, valid, token_at, there, width,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """Return the products of a block of rows with a block of tokens, (BLOCK_ROWS, BLOCK_TOKENS)."""
    products = tl.zeros((BLOCK_ROWS, BLOCK_TOKENS), dtype=tl.float32)
    for start in range(0, width, BLOCK_WIDTH):
        left = _columns(rows, row_at, valid, start, width, BLOCK_WIDTH)
        right = _columns(tokens, token_at, there, start, width, BLOCK_WIDTH)
        products = tl.dot(left, tl.trans(right), products, input_precision="ieee")
    return products


@triton.jit
def _mix_held(
    weights, tokens, out, row_at, valid, token_at, there, width, scale,
    BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """Write scale * sum_j w_j x_j of a block of rows, whose weights for a sentence of one block are at hand."""
    weights = weights.to(tokens.dtype.element_ty)
    for start in range(0, width, BLOCK_WIDTH):
        right = _columns(tokens, token_at, there, start, width, BLOCK_WIDTH)
        mixture = tl.dot(weights, right, input_precision="ieee") * scale
        column = start + tl.arange(0, BLOCK_WIDTH)
        tl.store(
            out + row_at[:, None] + column,
            mixture.to(out.dtype.element_ty),
            mask=valid[:, None] & (column < width),
        )


@triton.jit
def _mix(
    weights, tokens, out, weight_at, row_at, valid, first_token, length, width, scale,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    """Write scale * sum_j w_j x_j of a block of rows, whose weights are in memory."""
    for start in range(0, width, BLOCK_WIDTH):
        column = start + tl.arange(0, BLOCK_WIDTH)
        mixture = tl.zeros((BLOCK_ROWS, BLOCK_WIDTH), dtype=tl.float32)
        for token_block in range(0, length, BLOCK_TOKENS):
            at = token_block + tl.arange(0, BLOCK_TOKENS)
            there = at < length
            left = tl.load(weights + weight_at[:, None] + at, mask=valid[:, None] & there, other=0.0)
            right = _columns(
                tokens, (first_token + at).to(tl.int64) * width, there, start, width, BLOCK_WIDTH
            )
            mixture = tl.dot(left.to(right.dtype), right, mixture, input_precision="ieee")
        tl.store(
            out + row_at[:, None] + column,
            (mixture * scale).to(out.dtype.element_ty),
            mask=valid[:, None] & (column < width),
        )


@triton.jit
def _biased(
    scores, biases, positions, query, head, at, there, valid, room, HAS_BIAS: tl.constexpr
):  # fmt: skip
    """Add a block's position biases to its scores; -inf where no token is."""
    if HAS_BIAS:
        position = tl.load(positions + query, mask=valid, other=0)
        bias_at = head[:, None] * (2 * room) + at - position[:, None] + room
        scores += tl.load(biases + bias_at, mask=valid[:, None] & there, other=0.0)
    return tl.where(there, scores, float("-inf"))


@triton.jit
def _rows_of(
    sentence, first_queries, count, sentences, queries, heads, width, room, BLOCK_ROWS: tl.constexpr
):  # fmt: skip
    """Return a program's rows: which there are, their query and head, and where their rows, weights and masks are."""
    row = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    member = sentence // sentences
    query = tl.load(first_queries + sentence) + row // heads
    head = row % heads
    row_at = ((member * heads + head).to(tl.int64) * queries + query - member * queries) * width
    weight_at = (query.to(tl.int64) * heads + head) * room
    element_at = ((query - member * queries) * heads + head) * room
    return row < count, query, head, row_at, weight_at, element_at


@triton.jit
def _forward(
    rows, tokens, first_tokens, lengths, first_queries, num_queries, positions, biases, keys,
    weights, dropped, totals, out,
    sentences, queries, heads, width, room, scale, rate,
    HAS_BIAS: tl.constexpr, HAS_DROPOUT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    sentence = tl.program_id(0)
    count = tl.load(num_queries + sentence) * heads
    if tl.program_id(1) * BLOCK_ROWS >= count:
        return
    valid, query, head, row_at, weight_at, element_at = _rows_of(
        sentence, first_queries, count, sentences, queries, heads, width, room, BLOCK_ROWS
    )  # fmt: skip
    first_token, length = tl.load(first_tokens + sentence), tl.load(lengths + sentence)
    at = tl.arange(0, BLOCK_TOKENS)
    there = at < length
    token_at = (first_token + at).to(tl.int64) * width
    scores = scale * _products(
        rows, tokens, row_at, valid, token_at, there, width,
        BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH,
    )  # fmt: skip
    scores = _biased(scores, biases, positions, query, head, at, there, valid, room, HAS_BIAS)
    kept = tl.exp(scores - tl.max(scores, 1)[:, None])
    kept = kept / tl.sum(kept, 1)[:, None]
    here = valid[:, None] & there
    tl.store(weights + weight_at[:, None] + at, kept, mask=here)
    if HAS_DROPOUT:
        kept = dropped_block(kept, keys, sentence // sentences, element_at[:, None] + at, rate)
        tl.store(dropped + weight_at[:, None] + at, kept, mask=here)
    tl.store(totals + query * heads + head, tl.sum(kept, 1), mask=valid)
    _mix_held(
        kept, tokens, out, row_at, valid, token_at, there, width, 1.0, BLOCK_WIDTH
    )  # fmt: skip


@triton.jit
def _forward_of_blocks(
    rows, tokens, first_tokens, lengths, first_queries, num_queries, positions, biases, keys,
    weights, dropped, totals, out,
    sentences, queries, heads, width, room, scale, rate,
    HAS_BIAS: tl.constexpr, HAS_DROPOUT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    sentence = tl.program_id(0)
    count = tl.load(num_queries + sentence) * heads
    if tl.program_id(1) * BLOCK_ROWS >= count:
        return
    valid, query, head, row_at, weight_at, element_at = _rows_of(
        sentence, first_queries, count, sentences, queries, heads, width, room, BLOCK_ROWS
    )  # fmt: skip
    first_token, length = tl.load(first_tokens + sentence), tl.load(lengths + sentence)
    highest = tl.full((BLOCK_ROWS,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK_ROWS,), dtype=tl.float32)
    for token_block in range(0, length, BLOCK_TOKENS):
        at = token_block + tl.arange(0, BLOCK_TOKENS)
        there = at < length
        scores = scale * _products(
            rows, tokens, row_at, valid, (first_token + at).to(tl.int64) * width, there, width,
            BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH,
        )  # fmt: skip
        scores = _biased(scores, biases, positions, query, head, at, there, valid, room, HAS_BIAS)
        tl.store(weights + weight_at[:, None] + at, scores, mask=valid[:, None] & there)
        above = tl.maximum(highest, tl.max(scores, 1))
        total = total * tl.exp(highest - above) + tl.sum(tl.exp(scores - above[:, None]), 1)
        highest = above
    tl.debug_barrier()
    sums = tl.zeros((BLOCK_ROWS,), dtype=tl.float32)
    for token_block in range(0, length, BLOCK_TOKENS):
        at = token_block + tl.arange(0, BLOCK_TOKENS)
        here = valid[:, None] & (at < length)
        scores = tl.load(weights + weight_at[:, None] + at, mask=here, other=float("-inf"))
        kept = tl.where(here, tl.exp(scores - highest[:, None]) / total[:, None], 0.0)
        tl.store(weights + weight_at[:, None] + at, kept, mask=here)
        if HAS_DROPOUT:
            kept = dropped_block(kept, keys, sentence // sentences, element_at[:, None] + at, rate)
            tl.store(dropped + weight_at[:, None] + at, kept, mask=here)
        sums += tl.sum(kept, 1)
    tl.store(totals + query * heads + head, sums, mask=valid)
    tl.debug_barrier()
    _mix(
        dropped, tokens, out, weight_at, row_at, valid, first_token, length, width, 1.0,
        BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH,
    )  # fmt: skip


@triton.jit
def _backward(
    grads, of_totals, tokens, first_tokens, lengths, first_queries, num_queries,
    weights, dropped, scratch, out,
    sentences, queries, heads, width, room, scale,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    sentence = tl.program_id(0)
    count = tl.load(num_queries + sentence) * heads
    if tl.program_id(1) * BLOCK_ROWS >= count:
        return
    valid, query, head, row_at, weight_at, _ = _rows_of(
        sentence, first_queries, count, sentences, queries, heads, width, room, BLOCK_ROWS
    )  # fmt: skip
    first_token, length = tl.load(first_tokens + sentence), tl.load(lengths + sentence)
    of_total = tl.load(of_totals + query * heads + head, mask=valid, other=0.0)
    at = tl.arange(0, BLOCK_TOKENS)
    there = at < length
    here = valid[:, None] & there
    token_at = (first_token + at).to(tl.int64) * width
    products = _products(
        grads, tokens, row_at, valid, token_at, there, width,
        BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH,
    )  # fmt: skip
    kept = tl.load(dropped + weight_at[:, None] + at, mask=here, other=0.0)
    of_scores = (of_total[:, None] + products) * kept
    kept = tl.load(weights + weight_at[:, None] + at, mask=here, other=0.0)
    of_scores -= tl.sum(of_scores, 1)[:, None] * kept
    _mix_held(
        of_scores, tokens, out, row_at, valid, token_at, there, width, scale, BLOCK_WIDTH
    )  # fmt: skip


@triton.jit
def _backward_of_blocks(
    grads, of_totals, tokens, first_tokens, lengths, first_queries, num_queries,
    weights, dropped, scratch, out,
    sentences, queries, heads, width, room, scale,
    BLOCK_ROWS: tl.constexpr, BLOCK_TOKENS: tl.constexpr, BLOCK_WIDTH: tl.constexpr,
):  # fmt: skip
    sentence = tl.program_id(0)
    count = tl.load(num_queries + sentence) * heads
    if tl.program_id(1) * BLOCK_ROWS >= count:
        return
    valid, query, head, row_at, weight_at, _ = _rows_of(
        sentence, first_queries, count, sentences, queries, heads, width, room, BLOCK_ROWS
    )  # fmt: skip
    first_token, length = tl.load(first_tokens + sentence), tl.load(lengths + sentence)
    of_total = tl.load(of_totals + query * heads + head, mask=valid, other=0.0)
    inner = tl.zeros((BLOCK_ROWS,), dtype=tl.float32)
    for token_block in range(0, length, BLOCK_TOKENS):
        at = token_block + tl.arange(0, BLOCK_TOKENS)
        there = at < length
        here = valid[:, None] & there
        of_weights = of_total[:, None] + _products(
            grads, tokens, row_at, valid, (first_token + at).to(tl.int64) * width, there, width,
            BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH,
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
        BLOCK_ROWS, BLOCK_TOKENS, BLOCK_WIDTH,
    )  # fmt: skip


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
    kernel = _forward if _is_single(batch) else _forward_of_blocks
    with torch.cuda.device_of(batch.hidden):
        kernel[_grid(batch, heads)](
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
            **_blocks(batch),
        )
    return found


def gradients(
    of_mixtures: Tensor, of_totals: Tensor, mixtures: Mixtures, batch: RaggedBatch, *, scale: float
) -> Tensor:
    """See `plain_gradients`."""
    of_rows = torch.zeros_like(of_mixtures)
    heads = of_mixtures.shape[0] // batch.num_members
    single = _is_single(batch)
    kernel = _backward if single else _backward_of_blocks
    with torch.cuda.device_of(batch.hidden):
        kernel[_grid(batch, heads)](
            of_mixtures.contiguous(),
            of_totals.contiguous(),
            batch.hidden,
            batch.first_tokens,
            batch.lengths,
            batch.first_queries,
            batch.num_queries,
            mixtures.weights,
            mixtures.dropped,
            mixtures.weights if single else torch.empty_like(mixtures.weights),  # scratch, of blocks alone
            of_rows,
            batch.size // batch.num_members,
            batch.queries_per_member,
            heads,
            of_mixtures.shape[2],
            batch.most_tokens,
            scale,
            **_blocks(batch),
        )
    return of_rows


def _grid(batch: RaggedBatch, heads: int) -> tuple[int, int]:
    return batch.size, triton.cdiv(batch.most_queries * heads, BLOCK_ROWS)


def _is_single(batch: RaggedBatch) -> bool:
    return batch.most_tokens <= MOST_TOKENS_OF_A_BLOCK


def _blocks(batch: RaggedBatch) -> dict[str, Any]:
    whole = max(16, triton.next_power_of_2(batch.most_tokens))
    return {
        "BLOCK_ROWS": BLOCK_ROWS,
        "BLOCK_TOKENS": whole if _is_single(batch) else BLOCK_TOKENS,
        "BLOCK_WIDTH": BLOCK_WIDTH,
        **LAUNCH,
    }
