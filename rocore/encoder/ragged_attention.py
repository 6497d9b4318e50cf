"""Attention of span tokens on an accelerator: no sentence is padded, and no product waits for the host.

The form is that of attention.py: rows of folded queries, W_k^T q, meet the tokens as they are, and what comes out, the
mixtures sum_j w_j x_j, meets W_v. Between the two stands one kernel, forward and backward; `plain_mixtures` and
`plain_gradients` say in plain tensors what it computes, and serve where there is none.

Shapes: K members with Q queries each, R = K Q; A heads, H hidden size, W = H / A; L room for tokens; B sentences.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rocore.encoder.attention import relative_position_bucket
from rocore.encoder.dropout import plain_mask
from rocore.encoder.heads import Heads
from rocore.encoder.ragged import RaggedBatch


@dataclass(frozen=True)
class Mixtures:
    """What comes out of the kernel, and what its backward pass needs.

    Attributes:
        rows: (K A, Q, H) mixtures; 0 where a query is filling.
        totals: (R, A) sums of the weights: 1 but for dropout; fp32.
        weights: (R, A, L) attention weights, fp32; what stands behind a sentence's last token means nothing.
        dropped: The same after dropout; the same tensor without.
    """

    rows: Tensor
    totals: Tensor
    weights: Tensor
    dropped: Tensor


def ragged_attention(
    query: Float[Tensor, "R H"],
    weight: Float[Tensor, "*K H2 H"],
    bias: Float[Tensor, "*K H2"],
    batch: RaggedBatch,
    *,
    num_heads: int,
    bias_table: Float[Tensor, "buckets A"] | None = None,
    keys: Int[Tensor, " K"] | None = None,
    rate: float = 0.0,
) -> Float[Tensor, "R H"]:
    """Return softmax(Q K^T / sqrt(W) + position bias) V for every head.

    Args:
        query: Queries in the batch's order.
        weight: W_k above W_v, H2 = 2H; in a pack (K, 2H, H).
        bias: b_k before b_v; in a pack (K, 2H).
        batch: Whose tokens to attend to.
        num_heads: A.
        bias_table: MPNet's position biases by bucket.
        keys: Of each member's dropout mask; None: no dropout.
        rate: Of dropout.
    """
    biases = None if bias_table is None else biases_by_distance(bias_table, batch.most_tokens)
    context: Tensor = _RaggedAttention.apply(query, weight, bias, batch, num_heads, biases, keys, rate)  # type: ignore[no-untyped-call]
    return context


def biases_by_distance(table: Float[Tensor, "buckets A"], room: int) -> Float[Tensor, "A L2"]:
    """Return the bias of a key at distance -L..L-1 behind its query, in that order."""
    distances = torch.arange(-room, room, device=table.device)
    return table[relative_position_bucket(distances, table.shape[0])].T.contiguous()


class _RaggedAttention(torch.autograd.Function):
    """Written out, as in attention.py."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        weight: Tensor,
        bias: Tensor,
        batch: RaggedBatch,
        num_heads: int,
        biases: Tensor | None,
        keys: Tensor | None,
        rate: float,
    ) -> Tensor:
        heads = Heads.of(weight, bias, num_heads, query.dtype)
        with torch.autocast(query.device.type, enabled=False):
            rows = torch.bmm(_by_head(query, heads), heads.key.flatten(0, 1))
            scale = 1 / math.sqrt(query.shape[1] // num_heads)
            mixtures = _mixtures(rows, batch, biases=biases, scale=scale, keys=keys, rate=rate)
            context = torch.bmm(mixtures.rows, heads.value.flatten(0, 1).mT)
            totals = mixtures.totals.to(query.dtype).view(len(heads.key), -1, num_heads, 1)
            by_query = _by_query(context, heads) + totals * heads.value_bias
        ctx.save_for_backward(query, weight, bias, *vars(mixtures).values())
        ctx.batch, ctx.num_heads, ctx.scale = batch, num_heads, scale
        return by_query.reshape(query.shape)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        query, weight, bias, *kept = ctx.saved_tensors
        mixtures = Mixtures(*kept)
        heads = Heads.of(weight, bias, ctx.num_heads, query.dtype)
        grad = grad_outputs[0].to(query.dtype).contiguous()
        by_query = grad.view(len(heads.key), -1, ctx.num_heads, query.shape[1] // ctx.num_heads)
        totals = mixtures.totals.to(query.dtype).view(*by_query.shape[:3], 1)
        of_context = _by_head(grad, heads)
        of_mixtures = torch.bmm(of_context, heads.value.flatten(0, 1))
        of_totals = (by_query * heads.value_bias).sum(-1, dtype=torch.float32).flatten(0, 1)
        of_rows = _gradients(of_mixtures, of_totals, mixtures, ctx.batch, scale=ctx.scale)
        of_query = _by_query(torch.bmm(of_rows, heads.key.flatten(0, 1).mT), heads)
        grads = Heads(
            torch.bmm(_by_head(query, heads).mT, of_rows).view(heads.key.shape),
            torch.bmm(of_context.mT, mixtures.rows).view(heads.value.shape),
            (by_query * totals).sum(1, keepdim=True),
        )
        return of_query.reshape(query.shape), *grads.stacked(weight, bias), None, None, None, None, None


def _by_head(rows: Tensor, heads: Heads) -> Tensor:
    """(R, A W) -> (K A, Q, W)."""
    members, num_heads, width, _ = heads.key.shape
    return rows.view(members, -1, num_heads, width).transpose(1, 2).flatten(0, 1)


def _by_query(rows: Tensor, heads: Heads) -> Tensor:
    """(K A, Q, W) -> (K, Q, A, W), a view."""
    members, num_heads, width, _ = heads.key.shape
    return rows.view(members, num_heads, -1, width).transpose(1, 2)


def _mixtures(rows: Tensor, batch: RaggedBatch, **how: Any) -> Mixtures:
    if rows.device.type != "cuda":
        return plain_mixtures(rows, batch, **how)
    from rocore.encoder import kernels

    return kernels.mixtures(rows, batch, **how)


def _gradients(
    of_mixtures: Tensor, of_totals: Tensor, mixtures: Mixtures, batch: RaggedBatch, *, scale: float
) -> Tensor:
    if of_mixtures.device.type != "cuda":
        return plain_gradients(of_mixtures, of_totals, mixtures, batch, scale=scale)
    from rocore.encoder import kernels

    return kernels.gradients(of_mixtures, of_totals, mixtures, batch, scale=scale)


@dataclass(frozen=True)
class _PlainTokens:
    """The tokens of each query's sentence, (R, L, H), and where there are any, (R, 1, L)."""

    hidden: Tensor
    there: Tensor

    @classmethod
    def of(cls, batch: RaggedBatch) -> "_PlainTokens":
        sentence = batch.spans // 2
        filling = sentence == batch.size
        sentence = sentence.clamp(max=batch.size - 1)
        lengths = batch.lengths[sentence].masked_fill(filling, 0)[:, None]
        positions = torch.arange(batch.most_tokens, device=lengths.device)
        tokens = batch.first_tokens[sentence][:, None] + positions.minimum((lengths - 1).clamp(min=0))
        return cls(batch.hidden[tokens], (positions < lengths)[:, None])


def _by_row(rows: Tensor, batch: RaggedBatch) -> Tensor:
    """(K A, Q, H) -> (R, A, H)."""
    by_member = rows.view(batch.num_members, -1, *rows.shape[1:])
    return by_member.transpose(1, 2).flatten(0, 1)


def _by_head_again(rows: Tensor, batch: RaggedBatch) -> Tensor:
    """(R, A, H) -> (K A, Q, H)."""
    by_member = rows.view(batch.num_members, batch.queries_per_member, *rows.shape[1:])
    return by_member.transpose(1, 2).flatten(0, 1)


def plain_mixtures(
    rows: Float[Tensor, "KA Q H"],
    batch: RaggedBatch,
    *,
    biases: Tensor | None,
    scale: float,
    keys: Tensor | None,
    rate: float,
) -> Mixtures:
    """Return sum_j w_j x_j over the tokens x_j of a row's sentence, w the softmax of scale * (row . x_j) + bias."""
    tokens = _PlainTokens.of(batch)
    scores = scale * torch.bmm(_by_row(rows, batch), tokens.hidden.mT).float()
    if biases is not None:
        room = tokens.hidden.shape[1]
        distances = torch.arange(room, device=rows.device) - batch.query_positions[:, None]
        scores += biases[:, distances + room].transpose(0, 1)
    weights = scores.masked_fill(~tokens.there, -math.inf).softmax(-1).nan_to_num(0.0)
    dropped = weights
    if keys is not None:
        share = (batch.queries_per_member, *weights.shape[1:])
        dropped = weights * plain_mask(keys, share, rate)
    mixed = torch.bmm(dropped.to(rows.dtype), tokens.hidden)
    return Mixtures(_by_head_again(mixed, batch), dropped.sum(-1), weights, dropped)


def plain_gradients(
    of_mixtures: Float[Tensor, "KA Q H"],
    of_totals: Float[Tensor, "R A"],
    mixtures: Mixtures,
    batch: RaggedBatch,
    *,
    scale: float,
) -> Float[Tensor, "KA Q H"]:
    """Return the gradient of the rows that `plain_mixtures` was given."""
    tokens = _PlainTokens.of(batch)
    of_weights = torch.bmm(_by_row(of_mixtures, batch), tokens.hidden.mT).float() + of_totals[..., None]
    of_weights = of_weights * mixtures.dropped
    of_scores = of_weights - mixtures.weights * of_weights.sum(-1, keepdim=True)
    of_rows = torch.bmm(of_scores.to(of_mixtures.dtype), tokens.hidden) * scale
    return _by_head_again(of_rows, batch)
