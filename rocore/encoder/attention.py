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
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.token_products import Chunk, gradients, is_compiled, mixtures
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
        context, totals = torch.zeros_like(queries), queries.new_zeros(*queries.shape[:2], 1)
        kept: list[Tensor] = []
        chunks = _chunks(batch, query, position_bias, masks)
        with torch.autocast(query.device.type, enabled=False):
            for chunk in chunks:
                rows = torch.bmm(_by_head(queries, chunk), heads.key[chunk.member])  # folded queries
                mixed, of_chunk, for_backward = mixtures(chunk, rows, _scale(queries), keep=keep)
                mixed[:, chunk.num_filled :] = 0
                totals[chunk.slots] = of_chunk[..., None]
                context[chunk.slots] = torch.bmm(mixed, heads.value[chunk.member].mT).transpose(0, 1)
                if keep:
                    kept += *for_backward, mixed
        heads.split(context).addcmul_(heads.split(totals), heads.value_bias)
        ctx.save_for_backward(query, weight, bias, totals, *kept)
        ctx.chunks, ctx.num_heads = chunks, num_heads
        return context.flatten(1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, weight, bias, totals, *saved = ctx.saved_tensors
        kept = iter(saved)
        heads = Heads.of(weight, bias, ctx.num_heads, query.dtype)
        queries = query.view(len(query), ctx.num_heads, -1)
        grad = grad_outputs[0].to(query.dtype).view(queries.shape)
        of_query, of_key, of_value = (torch.zeros_like(part) for part in (queries, heads.key, heads.value))
        of_totals = (heads.split(grad) * heads.value_bias).sum(-1).flatten(0, 1)
        for chunk in ctx.chunks:
            of_context = _by_head(grad, chunk)
            of_mixtures = torch.bmm(of_context, heads.value[chunk.member])
            of_rows = gradients(chunk, of_mixtures, of_totals[chunk.slots], kept)
            of_rows[:, chunk.num_filled :] = 0
            of_query[chunk.slots] = torch.bmm(of_rows, heads.key[chunk.member].mT).transpose(0, 1)
            of_key[chunk.member].baddbmm_(_by_head(queries, chunk).mT, of_rows)
            of_value[chunk.member].baddbmm_(of_context.mT, next(kept))
        of_query *= _scale(queries)
        of_key *= _scale(queries)
        grads = Heads(of_key, of_value, (heads.split(grad) * heads.split(totals)).sum(1, keepdim=True))
        of_weight, of_bias = grads.stacked(weight, bias)
        return of_query.flatten(1), of_weight, of_bias, None, None, None, None, None


@dataclass(frozen=True)
class Heads:
    """Weights, or their gradients, head by head: key and value (K, A, W, H), the value's bias (K, 1, A, W)."""

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

    def split(self, rows: Tensor) -> Tensor:
        """(G, A, ...) -> (K, G / K, A, ...), a view."""
        return rows.view(len(self.key), -1, *rows.shape[1:])

    def stacked(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Join what `of` took apart, in the shapes and dtypes of `weight` and `bias`; the key's bias gets 0."""
        weights = torch.stack([self.key, self.value], 1)
        biases = torch.cat([torch.zeros_like(self.value_bias), self.value_bias], 1)
        return weights.view(weight.shape).to(weight.dtype), biases.view(bias.shape).to(bias.dtype)


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


def _by_head(rows: Tensor, chunk: Chunk) -> Tensor:
    """(G, A, W) -> (A, S, W), a view of the chunk's part."""
    return rows[chunk.slots].transpose(0, 1)


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
