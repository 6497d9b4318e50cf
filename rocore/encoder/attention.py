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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.tokens import TokenBatch, TokenGroup


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
    """Written out: products with weights chunk by chunk, those with tokens group by group.

    In scores and weights keys come before queries: the faster product of the two. The products with tokens are small
    and of many shapes: they are in fp32, as oneDNN compiles its bf16 kernels anew for every shape, and keeps two thirds
    of a MiB for each. The others are in the dtype of the query.
    """

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
        part_masks = iter(masks or ())
        constants = iter(position_bias or ())
        with torch.autocast(query.device.type, enabled=False):
            for chunk in _chunks(batch, query):
                mixtures = torch.bmm(
                    _by_head(queries, chunk), heads.key[chunk.member]
                )  # folded queries at first
                for part in chunk.parts:
                    rows = part.read(mixtures)
                    scores = torch.baddbmm(part.mask, part.hidden, rows.mT, alpha=_scale(queries)).float()
                    if position_bias is not None:
                        scores += next(constants).reshape(scores.shape)
                    weights = scores.softmax(1)  # (n, L, q A)
                    dropped = weights if masks is None else weights * next(part_masks).view(weights.shape)
                    torch.bmm(dropped.to(rows.dtype).mT, part.hidden, out=rows)
                    mixtures = part.put(mixtures, rows)
                    totals[part.slots] = dropped.sum(1).view(-1, num_heads, 1)  # 1 but for dropout
                    if keep:
                        kept += weights, dropped
                mixtures[:, chunk.num_filled :] = 0
                of_chunk = torch.bmm(mixtures, heads.value[chunk.member].mT)
                context[chunk.slots] = of_chunk.transpose(0, 1)
                if keep:
                    kept.append(mixtures)
        heads.split(context).addcmul_(heads.split(totals), heads.value_bias)
        ctx.save_for_backward(query, weight, bias, totals, *kept)
        ctx.batch, ctx.num_heads = batch, num_heads
        return context.flatten(1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, weight, bias, totals, *saved = ctx.saved_tensors
        kept = iter(saved)
        heads = Heads.of(weight, bias, ctx.num_heads, query.dtype)
        queries = query.view(len(query), ctx.num_heads, -1)
        grad = grad_outputs[0].to(query.dtype).view(queries.shape)
        of_query, of_key, of_value = (torch.zeros_like(part) for part in (queries, heads.key, heads.value))
        of_totals = (heads.split(grad) * heads.value_bias).sum(-1).view(totals.shape)
        for chunk in _chunks(ctx.batch, query):
            of_context = _by_head(grad, chunk)
            of_mixtures = torch.bmm(of_context, heads.value[chunk.member])  # of the folded queries in the end
            for part in chunk.parts:
                weights, dropped = next(kept), next(kept)
                rows = part.read(of_mixtures)
                of_rows = of_totals[part.slots].to(rows.dtype).view(part.group.size, 1, -1)
                of_weights = torch.baddbmm(of_rows, part.hidden, rows.mT).float().mul_(dropped)
                of_scores = of_weights.addcmul_(weights, of_weights.sum(1, keepdim=True), value=-1)
                torch.bmm(of_scores.to(rows.dtype).mT, part.hidden, out=rows)
                of_mixtures = part.put(of_mixtures, rows)
            of_mixtures[:, chunk.num_filled :] = 0
            of_chunk = torch.bmm(of_mixtures, heads.key[chunk.member].mT)
            of_query[chunk.slots] = of_chunk.transpose(0, 1)
            of_key[chunk.member].baddbmm_(_by_head(queries, chunk).mT, of_mixtures)
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


@dataclass(frozen=True)
class _Part:
    """A group, as a part of a chunk.

    Attributes:
        group: The group.
        slots: Its part of the query grid.
        within: The same, counted from the chunk's first slot.
        hidden: Its tokens, (n, L, H), in the dtype of its products.
        mask: To add to its scores, (n, L, 1).
    """

    group: TokenGroup
    slots: slice
    within: slice
    hidden: Tensor
    mask: Tensor

    def read(self, chunk: Tensor) -> Tensor:
        """Copy the group's part of a chunk, (A, S, H), for products with its tokens: (n, q A, H)."""
        part = chunk[:, self.within].transpose(0, 1)
        rows = torch.empty(part.shape, dtype=self.hidden.dtype, device=part.device).copy_(part)
        return rows.view(self.group.size, -1, rows.shape[-1])

    def put(self, chunk: Tensor, rows: Tensor) -> Tensor:
        """Return the chunk with the group's part replaced; where that is all of it, `rows` themselves."""
        part = rows.view(-1, chunk.shape[0], chunk.shape[2]).transpose(0, 1)
        if part.shape == chunk.shape and part.dtype == chunk.dtype:
            return part
        chunk[:, self.within] = part
        return chunk


@dataclass(frozen=True)
class _Chunk:
    """A member's part of the query grid whose products with weights are computed at once.

    Attributes:
        member: The member.
        slots: The part.
        num_filled: How many of its slots, from the first, belong to groups.
        parts: The groups, one by one: what each is given is in the processor's cache when it is used.
    """

    member: int
    slots: slice
    num_filled: int
    parts: Iterator[_Part]


def _chunks(batch: TokenBatch, query: Tensor) -> Iterator[_Chunk]:
    """Yield the chunks of the query grid, whose queries have the shape (G, H).

    A chunk is a member's whole share: few shapes. In fp32 it is one group, so that what is wide (S A H) stays in the
    processor's cache.
    """
    dtype = torch.float32 if query.dtype == torch.bfloat16 else query.dtype
    mask = batch.key_mask.to(dtype)

    def parts(groups: Sequence[TokenGroup], first_slot: int) -> Iterator[_Part]:
        for group in groups:
            tokens = slice(group.first_token, group.first_token + group.size * group.tokens)
            hidden = batch.hidden[tokens].to(dtype).view(group.size, group.tokens, -1)
            of_group = mask[tokens].view(group.size, group.tokens, 1)
            slots = _slots(group)
            within = slice(slots.start - first_slot, slots.stop - first_slot)
            yield _Part(group, slots, within, hidden, of_group)

    if query.dtype == torch.float32:
        for group in batch.groups:
            slots = _slots(group)
            yield _Chunk(group.member, slots, slots.stop - slots.start, parts([group], slots.start))
        return
    share = len(query) // (batch.groups[-1].member + 1)
    for member, of_member in groupby(batch.groups, lambda group: group.member):
        groups, first_slot = list(of_member), member * share
        filled = _slots(groups[-1]).stop - first_slot
        yield _Chunk(member, slice(first_slot, first_slot + share), filled, parts(groups, first_slot))


def _by_head(rows: Tensor, chunk: _Chunk) -> Tensor:
    """(G, A, W) -> (A, S, W), a view of the chunk's part."""
    return rows[chunk.slots].transpose(0, 1)


def _slots(group: TokenGroup) -> slice:
    return slice(group.first_slot, group.first_slot + group.size * group.queries)


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
        relative = torch.arange(group.tokens, device=positions.device) - positions[_slots(group), None]
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
