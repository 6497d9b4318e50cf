"""Attention of span tokens to all tokens of their sentence, group by group, and the pooling of spans (equation 2).

Shapes: P tokens, Q span tokens, G slots of the query grid, A heads, H hidden size, W = H / A, D dimensions; in one
group n sentences of L tokens and q queries.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.tokens import TokenBatch, TokenGroup


def span_attention(
    query: Float[Tensor, "G H"],
    key_value: Float[Tensor, "P H2"],
    batch: TokenBatch,
    *,
    num_heads: int,
    bias: Sequence[Tensor] | None = None,
    masks: Sequence[Tensor] | None = None,
) -> Float[Tensor, "G H"]:
    """Return softmax(Q K^T / sqrt(W) + bias) V for every head, in the query grid.

    Args:
        query: Queries in the grid's slots; what stands in empty slots doesn't matter.
        key_value: Keys and values side by side, H2 = 2H.
        batch: Whose groups and mask to follow.
        num_heads: A.
        bias: A constant (n, A, q, L) to add to the scores of each group.
        masks: Dropout masks of the weights, (n, A, q, L) for each group, fp32.
    """
    context: Tensor = _SpanAttention.apply(query, key_value, batch, num_heads, bias, masks)  # type: ignore[no-untyped-call]
    return context


class _SpanAttention(torch.autograd.Function):
    """Written out, because autograd would copy keys and values of every group several times.

    The small products are in fp32 on the CPU: oneDNN's bf16 kernels are compiled anew for every shape.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key_value: Tensor,
        batch: TokenBatch,
        num_heads: int,
        bias: Sequence[Tensor] | None,
        masks: Sequence[Tensor] | None,
    ) -> Tensor:
        context = torch.zeros_like(query)
        saved: list[Tensor] = []
        for i, (group, slots, tokens) in enumerate(_slices(batch.groups)):
            q, k, v = _operands(query[slots], key_value[tokens], group, num_heads)
            scores = torch.bmm(q, k.mT).view(group.size, num_heads, group.queries, group.tokens).float()
            scores *= 1 / math.sqrt(q.shape[-1])
            if bias is not None:
                scores += bias[i]
            scores += batch.key_mask[tokens].view(group.size, 1, 1, group.tokens)
            weights = scores.softmax(-1)
            dropped = weights if masks is None else weights * masks[i]
            saved += q, k, v, weights
            context[slots] = _join_heads(torch.bmm(dropped.to(v.dtype).flatten(0, 1), v), group.size)
        ctx.save_for_backward(*saved)
        ctx.groups, ctx.num_heads, ctx.masks = batch.groups, num_heads, masks
        ctx.num_tokens, ctx.dtype = len(key_value), key_value.dtype
        return context

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        (grad,) = grad_outputs
        saved = ctx.saved_tensors
        grad_query = torch.zeros_like(grad, dtype=ctx.dtype)
        grad_key_value = grad_query.new_empty(ctx.num_tokens, 2 * grad.shape[1])
        _clear_filling(grad_key_value, ctx.groups)
        for i, (group, slots, tokens) in enumerate(_slices(ctx.groups)):
            q, k, v, weights = saved[4 * i : 4 * i + 4]
            outer = _split_heads(grad[slots], group.size, ctx.num_heads).to(v.dtype)
            dropped, grad_weights = weights, torch.bmm(outer, v.mT).view(weights.shape).float()
            if ctx.masks is not None:
                dropped = weights * ctx.masks[i]
                grad_weights *= ctx.masks[i]
            grad_weights *= weights
            grad_scores = torch.addcmul(grad_weights, weights, grad_weights.sum(-1, keepdim=True), value=-1)
            grad_scores *= 1 / math.sqrt(q.shape[-1])
            grad_scores = grad_scores.to(q.dtype).flatten(0, 1)
            grad_query[slots] = _join_heads(torch.bmm(grad_scores, k), group.size)
            target = grad_key_value[tokens].view(group.size, group.tokens, 2, ctx.num_heads, -1)
            of_keys = torch.bmm(grad_scores.mT, q)
            of_values = torch.bmm(dropped.to(q.dtype).flatten(0, 1).mT, outer)
            for part, rows in enumerate((of_keys, of_values)):
                target[:, :, part] = rows.view(group.size, ctx.num_heads, group.tokens, -1).transpose(1, 2)
        return grad_query, grad_key_value, None, None, None, None


def _operands(
    query: Tensor, key_value: Tensor, group: TokenGroup, num_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (n A, q, W), keys and values (n A, L, W) of a group, ready for products."""
    dtype = torch.float32 if query.device.type == "cpu" else query.dtype
    both = key_value.view(group.size, group.tokens, 2, num_heads, -1).permute(2, 0, 3, 1, 4)
    split = torch.empty(both.shape, dtype=dtype, device=both.device).copy_(both)
    key, value = split.flatten(1, 2)
    return _split_heads(query, group.size, num_heads).to(dtype), key, value


def _slices(groups: Sequence[TokenGroup]) -> Iterator[tuple[TokenGroup, slice, slice]]:
    """Yield each group with its part of the query grid and of the tokens."""
    for group in groups:
        slots = slice(group.first_slot, group.first_slot + group.size * group.queries)
        yield group, slots, slice(group.first_token, group.first_token + group.size * group.tokens)


def _clear_filling(tokens: Tensor, groups: Sequence[TokenGroup]) -> None:
    """Set rows that belong to no group to zero."""
    begins = [group.first_token for group in groups] + [len(tokens)]
    for group, next_begin in zip(groups, begins[1:], strict=True):
        tokens[group.first_token + group.size * group.tokens : next_begin] = 0


def _split_heads(rows: Tensor, size: int, num_heads: int) -> Tensor:
    """(n q, H) -> (n A, q, W)."""
    return rows.view(size, rows.shape[0] // size, num_heads, -1).transpose(1, 2).flatten(0, 1)


def _join_heads(rows: Tensor, size: int) -> Tensor:
    """(n A, q, W) -> (n q, H)."""
    return rows.view(size, -1, *rows.shape[1:]).transpose(1, 2).flatten(2).flatten(0, 1)


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


def attention_masks(
    masks: Sequence[DropoutMasks], batch: TokenBatch, num_heads: int, rate: float
) -> list[Tensor]:
    """Draw dropout masks of attention weights, (n, A, q, L) for each group, fp32; every member draws its own."""
    shapes = [(group.size, num_heads, group.queries, group.tokens) for group in batch.groups]
    sizes = [math.prod(shape) for shape in shapes]
    share = len(shapes) // len(masks)
    parts: list[Tensor] = []
    for k, of_member in enumerate(masks):
        own = sizes[k * share : (k + 1) * share]
        parts += torch.split(of_member.draw((sum(own),), rate, torch.float32), own)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def position_bias(table: Tensor, batch: TokenBatch) -> list[Tensor]:
    """Return MPNet's bias of every query to every key of its sentence, (n, A, q, L) for each group."""
    positions = batch.query_positions.new_zeros(batch.num_slots)
    positions[batch.query_slots] = batch.query_positions
    biases = []
    for group, slots, _ in _slices(batch.groups):
        relative = torch.arange(group.tokens, device=positions.device)[None, :] - positions[slots, None]
        bias = table[relative_position_bucket(relative, table.shape[0])]  # (n q, L, A)
        biases.append(bias.view(group.size, group.queries, group.tokens, -1).permute(0, 3, 1, 2))
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
