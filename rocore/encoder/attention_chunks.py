"""Attention chunk by chunk, forward and backward, on the CPU.

Where GCC is at hand C computes it, block by block of sentences, and reads tokens where they lie: in bf16 the whole of
it (c/attention_bf16.c), in fp32 what stands between the products with weights (c/attention_fp32.c), which MKL has
faster. Else plain tensors do, group by group, on a copy.

Shapes: P tokens, A heads, H hidden size, W = H / A, S slots of a chunk; in one group n sentences of L tokens and q
queries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rocore.encoder import native
from rocore.encoder.heads import Heads
from rocore.encoder.tokens import TokenBatch, TokenGroup


@dataclass(frozen=True)
class Chunk:
    """Groups of one member that follow one another, and the part of the query grid that is computed with them.

    Attributes:
        batch: Whose groups.
        groups: The groups.
        slots: The part of the grid: the groups' own slots, and filling behind them.
        biases: To add to the scores of each group, (n, L, q, A); None: nothing.
        masks: Dropout masks of the weights of each group, (n, L, q, A), fp32; None: no dropout.
    """

    batch: TokenBatch
    groups: Sequence[TokenGroup]
    slots: slice
    biases: Sequence[Tensor] | None
    masks: Sequence[Tensor] | None

    @property
    def member(self) -> int:
        """Whose groups they are."""
        return self.groups[0].member

    @property
    def num_filled(self) -> int:
        """How many of its slots, from the first, belong to groups."""
        return int(self.within(self.groups[-1]).stop)

    @cached_property
    def places(self) -> NDArray[Any]:
        """Where each sentence and its numbers are, (n,), for C."""
        sentences, groups = self.batch.sentences, self.groups
        part = slice(groups[0].first_sentence, groups[-1].first_sentence + groups[-1].size)
        places = np.empty(part.stop - part.start, native.SENTENCE)
        places["tokens"], places["num_tokens"] = sentences.addresses[part], sentences.lengths[part]
        places["room"], places["num_queries"] = (
            np.repeat([getattr(group, name) for group in groups], [group.size for group in groups])
            for name in ("tokens", "queries")
        )
        num_pairs = places["room"] * places["num_queries"]
        for name, sizes in (("first_slot", places["num_queries"]), ("first_pair", num_pairs)):
            places[name] = np.cumsum(sizes) - sizes
        return places

    def within(self, group: TokenGroup) -> slice:
        """Return a group's slots, counted from the chunk's first."""
        return slice(group.slots.start - self.slots.start, group.slots.stop - self.slots.start)


def attend(
    chunk: Chunk, heads: Heads, queries: Tensor, scale: float, *, out: tuple[Tensor, Tensor], keep: bool
) -> list[Tensor]:
    """Compute W_v (sum_j w_j x_j) + (sum_j w_j) b_v, head by head, w the softmax of scale * (W_k^T q . x_j) + bias.

    Args:
        chunk: Whose tokens x_j.
        heads: Weights of all members.
        queries: (S, A, W).
        scale: Of the scores.
        out: Where to write what comes out, (S, A, W), and the sums of each row's weights, (S, A), fp32, 1 but for
            dropout. In slots of filling stands nothing that means anything.
        keep: Whether `differentiate` is to follow.

    Returns:
        What `differentiate` needs, if it is to follow.
    """
    library = _library(chunk, queries, torch.bfloat16)
    if library is not None:
        return native.attend(library, chunk, heads, queries.contiguous(), scale, out=out, keep=keep)
    context, totals = out
    rows = torch.bmm(queries.transpose(0, 1), heads.key[chunk.member])  # folded queries
    mixed, of_chunk, kept = mixtures(chunk, rows, scale, keep=keep)
    mixed[:, chunk.num_filled :] = 0
    totals.copy_(of_chunk)
    context.copy_(torch.bmm(mixed, heads.value[chunk.member].mT).transpose(0, 1))
    context.addcmul_(totals[..., None].to(context.dtype), heads.value_bias[chunk.member])
    return [totals, mixed, *kept] if keep else []


def differentiate(
    chunk: Chunk,
    heads: Heads,
    queries: Tensor,
    scale: float,
    kept: Iterator[Tensor],
    of_context: Tensor,
    *,
    out: tuple[Tensor, Heads],
) -> None:
    """Compute the gradients of `attend`'s queries, weights and value's bias.

    Args:
        chunk: As it was given to `attend`, like `heads`, `queries` and `scale`.
        heads: Weights of all members.
        queries: (S, A, W).
        scale: Of the scores.
        kept: What `attend` returned, from this chunk's first on.
        of_context: (S, A, W) gradient of what came out.
        out: Where to write the gradient of the queries, (S, A, W); and what to add the others to.
    """
    of_queries, of_heads = out
    library = _library(chunk, queries, torch.bfloat16)
    if library is not None:
        narrow = (queries.contiguous(), of_context.contiguous())
        native.differentiate(library, chunk, heads, narrow[0], scale, kept, narrow[1], out=out)
        return
    member, totals, mixed = chunk.member, next(kept), next(kept)
    of_mixtures = torch.bmm(of_context.transpose(0, 1), heads.value[member])
    of_totals = (of_context * heads.value_bias[member]).sum(-1)
    of_rows = gradients(chunk, of_mixtures, of_totals, kept)
    of_rows[:, chunk.num_filled :] = 0
    torch.mul(torch.bmm(of_rows, heads.key[member].mT).transpose(0, 1), scale, out=of_queries)
    of_heads.key[member].add_(torch.bmm(queries.permute(1, 2, 0), of_rows), alpha=scale)
    of_heads.value[member].add_(torch.bmm(of_context.permute(1, 2, 0), mixed))
    of_heads.value_bias[member].add_((of_context * totals[..., None].to(of_context.dtype)).sum(0))


def mixtures(chunk: Chunk, rows: Tensor, scale: float, *, keep: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return sum_j w_j x_j over the tokens x_j of a row's sentence, w the softmax of scale * (row . x_j) + bias.

    Args:
        chunk: Whose tokens.
        rows: (A, S, H) folded queries; may be overwritten.
        scale: Of the scores.
        keep: Whether `gradients` is to follow.

    Returns:
        The mixtures, (A, S, H); the sums of each row's weights, (S, A), fp32, 1 but for dropout; and what `gradients`
        needs. In slots of filling stands nothing that means anything.
    """
    library = _library(chunk, rows, torch.float32)
    if library is not None:
        return native.mixtures(library, chunk, rows, scale, keep=keep)
    totals = rows.new_zeros(rows.shape[1], rows.shape[0], dtype=torch.float32)
    kept: list[Tensor] = []
    for number, part in enumerate(_parts(chunk, rows.dtype)):
        read = part.read(rows)
        scores = torch.baddbmm(part.mask, part.hidden, read.mT, alpha=scale).float()
        if chunk.biases is not None:
            scores += chunk.biases[number].reshape(scores.shape)
        weights = scores.softmax(1)  # (n, L, q A)
        dropped = weights if chunk.masks is None else weights * chunk.masks[number].view(weights.shape)
        torch.bmm(dropped.to(read.dtype).mT, part.hidden, out=read)
        rows = part.put(rows, read)
        totals[part.within] = dropped.sum(1).view(-1, rows.shape[0])
        if keep:
            kept += weights, dropped
    return rows, totals, kept


def gradients(chunk: Chunk, of_mixtures: Tensor, of_totals: Tensor, kept: Iterator[Tensor]) -> Tensor:
    """Return the gradient of `mixtures`' rows, but for the scale.

    Args:
        chunk: As it was given.
        of_mixtures: (A, S, H) gradient of the mixtures; may be overwritten.
        of_totals: (S, A) gradient of the sums of weights.
        kept: What `mixtures` returned, from the first of this chunk on.
    """
    library = _library(chunk, of_mixtures, torch.float32)
    if library is not None:
        return native.gradients(library, chunk, of_mixtures, of_totals, kept)
    for part in _parts(chunk, of_mixtures.dtype):
        weights, dropped = next(kept), next(kept)
        rows = part.read(of_mixtures)
        of_rows = of_totals[part.within].to(rows.dtype).view(part.group.size, 1, -1)
        of_weights = torch.baddbmm(of_rows, part.hidden, rows.mT).float().mul_(dropped)
        of_scores = of_weights.addcmul_(weights, of_weights.sum(1, keepdim=True), value=-1)
        torch.bmm(of_scores.to(rows.dtype).mT, part.hidden, out=rows)
        of_mixtures = part.put(of_mixtures, rows)
    return of_mixtures


def compiles(dtype: torch.dtype, hidden_size: int) -> bool:
    """Whether C computes attention of tokens of that dtype and width."""
    if dtype not in native.DTYPES or native.library() is None:
        return False
    return dtype == torch.float32 or hidden_size % native.DEPTH == 0


def is_compiled(batch: TokenBatch, dtype: torch.dtype) -> bool:
    """Whether C computes a batch in that dtype, its tokens' own."""
    sentences = batch.sentences
    return dtype == sentences.dtype and compiles(dtype, sentences.hidden_size)


def _library(chunk: Chunk, rows: Tensor, dtype: torch.dtype) -> native.Library | None:
    """Return C, if rows are of that dtype and it computes a chunk in it."""
    return native.library() if rows.dtype == dtype and is_compiled(chunk.batch, dtype) else None


@dataclass(frozen=True)
class _Part:
    """A group, for plain tensors: keys before queries in scores and weights, the faster product of the two.

    The products are small and of many shapes. They are in fp32, as oneDNN compiles its bf16 kernels anew for every
    shape, and keeps two thirds of a MiB for each.

    Attributes:
        group: The group.
        within: Its slots, counted from the chunk's first.
        hidden: Its tokens, (n, L, H), in the dtype of its products.
        mask: To add to its scores, (n, L, 1).
    """

    group: TokenGroup
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


def _parts(chunk: Chunk, dtype: torch.dtype) -> Iterator[_Part]:
    """Yield the groups one by one: what each is given is in the processor's cache when it is used."""
    dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    for group in chunk.groups:
        tokens = slice(group.first_token, group.first_token + group.size * group.tokens)
        hidden = chunk.batch.hidden[tokens].to(dtype).view(group.size, group.tokens, -1)
        mask = chunk.batch.key_mask[tokens].to(dtype).view(group.size, group.tokens, 1)
        yield _Part(group, chunk.within(group), hidden, mask)
