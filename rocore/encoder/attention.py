"""Attention of span tokens to all tokens of their sentence, group by group, on the CPU.

Layer r's input is frozen and its queries are few, so keys and values are never computed. With key k = W_k x + b_k and
value v = W_v x + b_v of a token x,

    q . k = (W_k^T q) . x + q . b_k,     sum_j w_j v_j = W_v (sum_j w_j x_j) + (sum_j w_j) b_v,

and q . b_k, the same for every token of a sentence, is nothing to the softmax: the key's bias has no effect and no
gradient. A query costs 4 H^2 + 4 A L H operations this way, instead of 4 H^2 for each of its L / q tokens.

Shapes: P tokens, Q span tokens, G slots of the query grid, A heads, H hidden size, W = H / A, K members; in one
group n sentences of L tokens and q queries; S slots of a chunk.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rocore.encoder.attention_chunks import Chunk, attend, differentiate, is_compiled
from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.heads import Heads
from rocore.encoder.tokens import TokenBatch


def span_attention(
    query: Float[Tensor, "G H"],
    weight: Float[Tensor, "*K H2 H"],
    bias: Float[Tensor, "*K H2"],
    batch: TokenBatch,
    *,
    num_heads: int,
    position_bias: Sequence[Tensor] | None = None,
    masks: Sequence[Tensor] | None = None,
) -> Float[Tensor, "G H"]:
    """Return softmax(Q K^T / sqrt(W) + position bias) V for every head, in the query grid.

    Args:
        query: Queries in the grid's slots; what stands in empty slots doesn't matter, as long as it is finite.
        weight: W_k above W_v, H2 = 2H; in a pack (K, 2H, H).
        bias: b_k before b_v; in a pack (K, 2H).
        batch: Whose tokens, groups and mask to follow.
        num_heads: A.
        position_bias: Constants to add to the scores, (n, L, q, A) for each group.
        masks: Dropout masks of the attention weights, (n, L, q, A) for each group, fp32.
    """
    context: Tensor = _SpanAttention.apply(
        query, weight, bias, batch, num_heads, position_bias, masks, torch.is_grad_enabled()
    )  # type: ignore[no-untyped-call]
    return context


class _SpanAttention(torch.autograd.Function):
    """Written out, chunk by chunk; what is multiplied with weights is in the dtype of the query."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        weight: Tensor,
        bias: Tensor,
        batch: TokenBatch,
        num_heads: int,
        position_bias: Sequence[Tensor] | None,
        masks: Sequence[Tensor] | None,
        keep: bool,
    ) -> Tensor:
        heads = Heads.of(weight, bias, num_heads, query.dtype)
        queries = query.view(len(query), num_heads, -1)
        context = torch.zeros_like(queries)
        totals = torch.zeros(queries.shape[:2], dtype=torch.float32, device=query.device)
        kept: list[Tensor] = []
        chunks = _chunks(batch, query, position_bias, masks)
        with torch.autocast(query.device.type, enabled=False):
            for chunk in chunks:
                out = (context[chunk.slots], totals[chunk.slots])
                kept += attend(chunk, heads, queries[chunk.slots], _scale(queries), out=out, keep=keep)
        ctx.save_for_backward(query, weight, bias, *kept)
        ctx.chunks, ctx.num_heads = chunks, num_heads
        return context.flatten(1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, weight, bias, *saved = ctx.saved_tensors
        kept = iter(saved)
        heads = Heads.of(weight, bias, ctx.num_heads, query.dtype)
        queries = query.view(len(query), ctx.num_heads, -1)
        grad = grad_outputs[0].to(query.dtype).view(queries.shape)
        of_query = torch.zeros_like(queries)
        dtype = torch.float32 if query.dtype == torch.bfloat16 else query.dtype
        of_weight, of_bias = (torch.zeros_like(of, dtype=dtype) for of in (weight, bias))
        of_heads = Heads.of(of_weight, of_bias, ctx.num_heads, dtype)  # views
        for chunk in ctx.chunks:
            differentiate(
                chunk,
                heads,
                queries[chunk.slots],
                _scale(queries),
                kept,
                grad[chunk.slots],
                out=(of_query[chunk.slots], of_heads),
            )
        of_operands = (of_query.flatten(1), of_weight.to(weight.dtype), of_bias.to(bias.dtype))
        return *of_operands, None, None, None, None, None


def _chunks(
    batch: TokenBatch,
    query: Tensor,
    position_bias: Sequence[Tensor] | None,
    masks: Sequence[Tensor] | None,
) -> list[Chunk]:
    """Return the chunks of the query grid, whose queries have the shape (G, H).

    A chunk is a member's whole share: few products, of few shapes. Where plain tensors compute in fp32 it is one group,
    so that what is wide (S A H) stays in the processor's cache.
    """
    by_group = query.dtype != torch.bfloat16 and not is_compiled(batch, query.dtype)
    share = len(query) // (batch.groups[-1].member + 1)
    sizes = [1] * len(batch.groups)
    if not by_group:
        sizes = [len(list(of_member)) for _, of_member in groupby(batch.groups, lambda group: group.member)]
    chunks = []
    for first, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
        part = slice(first, first + size)
        groups = batch.groups[part]
        first_slot = groups[0].first_slot
        slots = slice(first_slot, groups[-1].slots.stop if by_group else first_slot + share)
        given = [None if tensors is None else tensors[part] for tensors in (position_bias, masks)]
        chunks.append(Chunk(batch, groups, slots, *given))
    return chunks


def _scale(queries: Tensor) -> float:
    return 1 / math.sqrt(queries.shape[-1])


def attention_masks(
    masks: Sequence[DropoutMasks], batch: TokenBatch, num_heads: int, rate: float
) -> list[Tensor]:
    """Draw dropout masks of attention weights, (n, L, q, A) for each group, fp32; every member draws its own."""
    drawn: list[Tensor] = []
    for k, of_member in enumerate(masks):
        groups = [group for group in batch.groups if group.member == k]
        shapes = [(group.size, group.tokens, group.queries, num_heads) for group in groups]
        sizes = [math.prod(shape) for shape in shapes]
        parts = torch.split(of_member.draw((sum(sizes),), rate, torch.float32), sizes)
        drawn += [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    return drawn


def position_bias(table: Tensor, batch: TokenBatch) -> list[Tensor]:
    """Return MPNet's bias of every query to every key of its sentence, (n, L, q, A) for each group."""
    positions = batch.query_positions.new_zeros(batch.num_slots)
    positions[batch.query_slots] = batch.query_positions
    biases = []
    for group in batch.groups:
        relative = torch.arange(group.tokens, device=positions.device) - positions[group.slots, None]
        bias = table[relative_position_bucket(relative, table.shape[0])]  # (n q, L, A)
        biases.append(bias.view(group.size, group.queries, group.tokens, -1).transpose(1, 2))
    return biases


def relative_position_bucket(relative: Tensor, num_buckets: int, max_distance: int = 128) -> Tensor:
    """Return MPNet's (and T5's bidirectional) bucket of each key position minus query position.

    Half of the buckets are for keys after the query; in each half, the first half is one bucket a distance and the
    rest grows logarithmically up to `max_distance`.
    """
    half = num_buckets // 2
    exact = half // 2
    distance = relative.abs()
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (ratio * (half - exact)).to(torch.long)).clamp(max=half - 1)
    return torch.where(relative > 0, half, 0) + torch.where(distance < exact, distance, far)
