"""Ragged tokens: hidden states of the frozen trunk without padding, and batches of them.

Shapes: n sentences and T tokens in a store; B sentences, P tokens, Q span tokens in a batch; H hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TokenStore:
    """Layer r-1's hidden states of one pool of sentences.

    Attributes:
        hidden: (T, H), bf16 or fp32; memory-mapped on the CPU.
        offsets: (n + 1,) first token of each sentence.
        spans: (n, 4) head start, head end, tail start, tail end, half-open, within the sentence.
    """

    hidden: Tensor
    offsets: Rows
    spans: Rows

    def __len__(self) -> int:
        """Return n."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class TokenBatch:
    """B sentences, packed. Queries are the head tokens and then the tail tokens of each sentence in turn.

    Attributes:
        hidden: (P, H) tokens of all sentences, one after the other.
        key_slots: (P,) where each token stands in a padded (B, longest) grid.
        longest: Tokens of the longest sentence.
        query_tokens: (Q,) index into `hidden`.
        query_slots: (Q,) where each query stands in a padded (B, most_queries) grid.
        most_queries: Span tokens of the sentence with most of them.
        key_mask: (B, longest) 0 where there is a token, -inf where there is none; in the tokens' dtype.
        span_slots: (Q,) where each query stands in a padded (2 B, longest_span) grid: rows are head, tail, head, ...
        longest_span: Tokens of the longest span.
        query_positions: (Q,) position of each query within its sentence.
        size: B.
    """

    hidden: Tensor
    key_slots: Tensor
    longest: int
    query_tokens: Tensor
    query_slots: Tensor
    most_queries: int
    key_mask: Tensor
    span_slots: Tensor
    longest_span: int
    query_positions: Tensor
    size: int


def ragged_arange(lengths: Rows) -> Rows:
    """Return 0..lengths[0]-1, 0..lengths[1]-1, ... as one array."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


class TokenBank:
    """Several stores under one row numbering: row i of store s is `first_row[s] + i`."""

    def __init__(self, stores: Sequence[TokenStore], device: torch.device) -> None:
        """Attach the stores; on an accelerator the hidden states become resident there."""
        self.device = device
        self._hidden = [store.hidden.to(device) for store in stores]
        self.first_row = np.cumsum([0, *(len(store) for store in stores)])
        first_token = np.cumsum([0, *(len(store.hidden) for store in stores)])
        self._first_token = first_token
        self._starts = np.concatenate([s.offsets[:-1] + t for s, t in zip(stores, first_token, strict=False)])
        self.lengths: Rows = np.concatenate([np.diff(store.offsets) for store in stores])
        self._spans = np.concatenate([store.spans for store in stores])

    @property
    def hidden_size(self) -> int:
        """H."""
        return self._hidden[0].shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the hidden states."""
        return self._hidden[0].dtype

    def batch(self, rows: Rows) -> TokenBatch:
        """Gather the sentences of `rows`, shape (B,), in that order."""
        lengths = self.lengths[rows]
        size, longest = len(rows), int(lengths.max())
        within = ragged_arange(lengths)
        sentence = np.repeat(np.arange(size), lengths)
        first = np.cumsum(lengths) - lengths
        spans = self._spans[rows].reshape(2 * size, 2)
        span_lengths = spans[:, 1] - spans[:, 0]
        longest_span = int(span_lengths.max())
        in_span = ragged_arange(span_lengths)
        span = np.repeat(np.arange(2 * size), span_lengths)
        positions = spans[span, 0] + in_span
        queries = span_lengths.reshape(size, 2).sum(1)
        most_queries = int(queries.max())
        padding = np.arange(longest)[None, :] >= lengths[:, None]
        return TokenBatch(
            hidden=self._gather(np.repeat(self._starts[rows], lengths) + within),
            key_slots=self._to_device(sentence * longest + within),
            longest=longest,
            query_tokens=self._to_device(first[span // 2] + positions),
            query_slots=self._to_device((span // 2) * most_queries + ragged_arange(queries)),
            most_queries=most_queries,
            key_mask=self._to_device(np.where(padding, -np.inf, 0.0).astype(np.float32)).to(self.dtype),
            span_slots=self._to_device(span * longest_span + in_span),
            longest_span=longest_span,
            query_positions=self._to_device(positions),
            size=size,
        )

    def _to_device(self, array: NDArray[np.int64] | NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _gather(self, tokens: Rows) -> Tensor:
        """Copy tokens out of the stores; runs of one store are copied at once."""
        store = np.searchsorted(self._first_token, tokens, side="right") - 1
        edges = [0, *(np.flatnonzero(np.diff(store)) + 1).tolist(), len(tokens)]
        out = torch.empty(len(tokens), self.hidden_size, dtype=self.dtype, device=self.device)
        for start, end in pairwise(edges):
            s = int(store[start])
            index = self._to_device(tokens[start:end] - self._first_token[s])
            torch.index_select(self._hidden[s], 0, index, out=out[start:end])
        return out
