"""Attention of span tokens to all tokens of their sentence, group by group.

Layer r's input is frozen and its queries are few, so keys and values are never computed. With key k = W_k x + b_k and
value v = W_v x + b_v of a token x,

    q . k = (W_k^T q) . x + q . b_k,     sum_j w_j v_j = W_v (sum_j w_j x_j) + (sum_j w_j) b_v,

and q . b_k, the same for every token of a sentence, is nothing to the softmax: the key's bias has no effect and no
gradient. A query costs 4 H^2 + 4 A L H operations this way, instead of 4 H^2 for each of its L / q tokens.

Shapes: P tokens, Q span tokens, G slots of the query grid, A heads, H hidden size, W = H / A, K members; in one
group n sentences of L tokens and q queries.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """Written out group by group, so that what is wide (G A H) stays in the processor's cache.

    In scores and weights keys come before queries: the faster product of the two. The products are small and of many
    shapes: on the CPU they are in fp32, as oneDNN compiles its bf16 kernels anew for every shape.
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
        heads = _Heads.of(weight, bias, num_heads, _product_dtype(query))
        queries = query.to(heads.dtype).view(len(query), num_heads, -1)
        context, totals = torch.zeros_like(queries), queries.new_zeros(*queries.shape[:2], 1)
        num_rows = len(queries) if keep else _largest(batch)
        mixtures = queries.new_empty(num_rows, num_heads, query.shape[1])  # folded queries at first
        kept: list[Tensor] = []
        with torch.autocast(query.device.type, enabled=False):
            for i, (group, slots, mask, hidden) in enumerate(_groups(batch, heads.dtype)):
                rows = mixtures[slots] if keep else mixtures[: slots.stop - slots.start]
                mixture = _joined(rows, group)
                _per_head(queries[slots], heads.key[group.member], out=rows)
                scores = torch.baddbmm(mask, hidden, mixture.mT, alpha=_scale(queries)).float()  # (n, L, q A)
                if position_bias is not None:
                    scores += position_bias[i].reshape(scores.shape)
                weights = scores.softmax(1)
                dropped = weights if masks is None else weights * masks[i].view(weights.shape)
                torch.bmm(dropped.to(heads.dtype).mT, hidden, out=mixture)
                _per_head(rows, heads.value[group.member].mT, out=context[slots])
                totals[slots] = dropped.sum(1).view(-1, num_heads, 1)  # 1 but for dropout
                if keep:
                    kept += weights, dropped
        heads.split(context).addcmul_(heads.split(totals), heads.value_bias)
        ctx.save_for_backward(queries, weight, bias, mixtures, totals, *kept)
        ctx.batch = batch
        return context.flatten(1).to(query.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        queries, weight, bias, mixtures, totals, *kept = ctx.saved_tensors
        heads = _Heads.of(weight, bias, queries.shape[1], queries.dtype)
        grad = grad_outputs[0].to(heads.dtype).view(queries.shape)
        of_query, of_key, of_value = (torch.zeros_like(part) for part in (queries, heads.key, heads.value))
        of_totals = (heads.split(grad) * heads.value_bias).sum(-1).view(totals.shape)
        wide = torch.empty_like(mixtures[: _largest(ctx.batch)])
        for i, (group, slots, _, hidden) in enumerate(_groups(ctx.batch, heads.dtype)):
            k, weights, dropped = group.member, kept[2 * i], kept[2 * i + 1]
            rows = wide[: group.size * group.queries]
            _per_head(grad[slots], heads.value[k], out=rows)
            of_weights = torch.baddbmm(
                of_totals[slots].view(group.size, 1, -1), hidden, _joined(rows, group).mT
            )
            of_weights = of_weights.float().mul_(dropped)
            of_scores = of_weights.addcmul_(weights, of_weights.sum(1, keepdim=True), value=-1)
            torch.bmm(of_scores.to(heads.dtype).mT, hidden, out=_joined(rows, group))
            _per_head(rows, heads.key[k].mT, out=of_query[slots])
            of_key[k].baddbmm_(queries[slots].permute(1, 2, 0), rows.transpose(0, 1))
            of_value[k].baddbmm_(grad[slots].permute(1, 2, 0), mixtures[slots].transpose(0, 1))
        of_query *= _scale(queries)
        of_key *= _scale(queries)
        grads = _Heads(of_key, of_value, (heads.split(grad) * heads.split(totals)).sum(1, keepdim=True))
        of_weight, of_bias = grads.stacked(weight, bias)
        return of_query.flatten(1).to(grad_outputs[0].dtype), of_weight, of_bias, None, None, None, None, None


@dataclass(frozen=True)
class _Heads:
    """Weights, or their gradients, head by head: key and value (K, A, W, H), the value's bias (K, 1, A, W)."""

    key: Tensor
    value: Tensor
    value_bias: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, num_heads: int, dtype: torch.dtype) -> "_Heads":
        """Take apart the weights, ([K,] 2H, H), and biases, ([K,] 2H), of keys and values."""
        hidden = weight.shape[-1]
        weights = weight.to(dtype).view(-1, 2, num_heads, hidden // num_heads, hidden)
        biases = bias.to(dtype).view(-1, 2, num_heads, hidden // num_heads)
        return cls(weights[:, 0], weights[:, 1], biases[:, 1:])

    @property
    def dtype(self) -> torch.dtype:
        """Of the products."""
        return self.key.dtype

    def split(self, rows: Tensor) -> Tensor:
        """(G, A, ...) -> (K, G / K, A, ...), a view."""
        return rows.view(len(self.key), -1, *rows.shape[1:])

    def stacked(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Join what `of` took apart, in the shapes and dtypes of `weight` and `bias`; the key's bias gets 0."""
        weights = torch.stack([self.key, self.value], 1)
        biases = torch.cat([torch.zeros_like(self.value_bias), self.value_bias], 1)
        return weights.view(weight.shape).to(weight.dtype), biases.view(bias.shape).to(bias.dtype)


def _product_dtype(query: Tensor) -> torch.dtype:
    on_cpu = query.device.type == "cpu"
    return torch.float32 if on_cpu and query.dtype == torch.bfloat16 else query.dtype


def _scale(queries: Tensor) -> float:
    return 1 / math.sqrt(queries.shape[-1])


def _groups(batch: TokenBatch, dtype: torch.dtype) -> Iterator[tuple[TokenGroup, slice, Tensor, Tensor]]:
    """Yield each group with its part of the query grid, its mask (n, L, 1) and its tokens (n, L, H)."""
    mask = batch.key_mask.to(dtype)
    for group in batch.groups:
        tokens = slice(group.first_token, group.first_token + group.size * group.tokens)
        hidden = batch.hidden[tokens].to(dtype).view(group.size, group.tokens, -1)
        yield group, _slots(group), mask[tokens].view(group.size, group.tokens, 1), hidden


def _largest(batch: TokenBatch) -> int:
    return max(group.size * group.queries for group in batch.groups)


def _slots(group: TokenGroup) -> slice:
    return slice(group.first_slot, group.first_slot + group.size * group.queries)


def _per_head(rows: Tensor, weight: Tensor, *, out: Tensor) -> None:
    """out[:, a] = rows[:, a] @ weight[a], for rows (R, A, I), weight (A, I, O) and out (R, A, O).

    The batched product can't write rows of all heads side by side but slowly: it and a copy are faster.
    """
    out.copy_(torch.bmm(rows.transpose(0, 1), weight).transpose(0, 1))


def _joined(rows: Tensor, group: TokenGroup) -> Tensor:
    """(n q, A, H) -> (n, q A, H), a view."""
    return rows.view(group.size, -1, rows.shape[-1])


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
