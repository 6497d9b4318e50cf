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
SENTENCES_PER_GROUP = 16
QUERY_CLASSES = 2
TOKEN_STEP, QUERY_STEP = 256, 128
"""Batches are filled up to multiples of these: oneDNN compiles its kernels anew for every number of rows."""


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
class TokenGroup:
    """Sentences of a batch that are alike in length and in span tokens, so that grids of them are hardly padded.

    Attributes:
        size: Sentences.
        tokens: Of the longest of them; each fills as many rows of `TokenBatch.hidden`.
        queries: Span tokens of the one with most of them; each fills as many rows of the query grid.
    """

    size: int
    tokens: int
    queries: int


@dataclass(frozen=True)
class TokenBatch:
    """B sentences in groups. Queries are the head tokens and then the tail tokens of each sentence in turn.

    Attributes:
        hidden: (P, H) tokens, group by group; a sentence that is shorter than its group's longest repeats its last one.
            Rows after the last group are filling.
        key_mask: (P,) 0 where there is a token, -inf where one is repeated; in the tokens' dtype.
        groups: Fill `hidden` and the query grid one after the other.
        query_tokens: (Q,) index into `hidden`; queries after the last sentence's are filling, as are their slots.
        query_slots: (Q,) where each query stands in the query grid.
        query_positions: (Q,) position of each query within its sentence.
        spans: (Q,) which span each query belongs to: 2 i is sentence i's head and 2 i + 1 its tail, with i counted in
            the order of the rows that were asked for; filling belongs to 2 B.
        num_slots: Of the query grid.
        size: B.
    """

    hidden: Tensor
    key_mask: Tensor
    groups: tuple[TokenGroup, ...]
    query_tokens: Tensor
    query_slots: Tensor
    query_positions: Tensor
    spans: Tensor
    num_slots: int
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
        self._store = np.repeat(np.arange(len(stores)), [len(store) for store in stores])
        self._starts = np.concatenate([store.offsets[:-1] for store in stores])
        self.lengths: Rows = np.concatenate([np.diff(store.offsets) for store in stores])
        self._spans = np.concatenate([store.spans for store in stores])
        self._queries = self._spans[:, 1] - self._spans[:, 0] + self._spans[:, 3] - self._spans[:, 2]

    @property
    def hidden_size(self) -> int:
        """H."""
        return self._hidden[0].shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the hidden states."""
        return self._hidden[0].dtype

    def batch(self, rows: Rows) -> TokenBatch:
        """Gather the sentences of `rows`, shape (B,)."""
        members = self._group(rows)
        order = np.concatenate(members)
        sizes = [len(group) for group in members]
        longest = [int(self.lengths[rows[group]].max()) for group in members]
        most_queries = [int(self._queries[rows[group]].max()) for group in members]
        sorted_rows = rows[order]
        lengths, room = self.lengths[sorted_rows], np.repeat(longest, sizes)
        first_token = np.cumsum(room) - room
        within = ragged_arange(room)
        last = np.repeat(lengths - 1, room)
        query_room = np.repeat(most_queries, sizes)
        queries = self._queries[sorted_rows]
        spans = self._spans[sorted_rows].reshape(-1, 2)
        span_lengths = spans[:, 1] - spans[:, 0]
        span = np.repeat(np.arange(len(spans)), span_lengths)
        positions = spans[span, 0] + ragged_arange(span_lengths)
        mask = np.where(within > last, -np.inf, 0.0).astype(np.float32)
        num_slots = int(query_room.sum())
        filling = -len(positions) % QUERY_STEP
        query_slots = np.repeat(np.cumsum(query_room) - query_room, queries) + ragged_arange(queries)
        return TokenBatch(
            hidden=self._gather(sorted_rows, room, np.minimum(within, last)),
            key_mask=self._to_device(mask).to(self.dtype),
            groups=tuple(map(TokenGroup, sizes, longest, most_queries)),
            query_tokens=self._to_device(np.pad(first_token[span // 2] + positions, (0, filling))),
            query_slots=self._to_device(np.append(query_slots, num_slots + np.arange(filling))),
            query_positions=self._to_device(np.pad(positions, (0, filling))),
            spans=self._to_device(
                np.pad(2 * order[span // 2] + span % 2, (0, filling), constant_values=2 * len(rows))
            ),
            num_slots=num_slots + filling,
            size=len(rows),
        )

    def _group(self, rows: Rows) -> list[Rows]:
        """Split positions of `rows` by span tokens and then by length; inside a group those of one store are neighbours.

        On an accelerator, where launches cost more than padding, all sentences are one group.
        """
        num_groups = 1 if self.device.type == "cuda" else -(-len(rows) // SENTENCES_PER_GROUP)
        groups = []
        by_queries = np.argsort(self._queries[rows], kind="stable")
        for part in np.array_split(by_queries, min(QUERY_CLASSES, num_groups)):
            by_length = part[np.argsort(self.lengths[rows[part]], kind="stable")]
            for group in np.array_split(by_length, max(1, num_groups // QUERY_CLASSES)):
                groups.append(group[np.argsort(self._store[rows[group]], kind="stable")])
        return groups

    def _to_device(self, array: NDArray[np.int64] | NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _gather(self, rows: Rows, room: Rows, within: Rows) -> Tensor:
        """Copy tokens out of the stores; runs of one store are copied at once."""
        index = np.repeat(self._starts[rows], room) + within
        ends = np.cumsum(room)
        edges = [0, *(np.flatnonzero(np.diff(self._store[rows])) + 1).tolist(), len(rows)]
        num_rows = len(index) + -len(index) % TOKEN_STEP
        out = torch.empty(num_rows, self.hidden_size, dtype=self.dtype, device=self.device)
        out[len(index) :] = 0
        for first, end in pairwise(edges):
            tokens = slice(int(ends[first] - room[first]), int(ends[end - 1]))
            hidden = self._hidden[int(self._store[rows[first]])]
            torch.index_select(hidden, 0, self._to_device(index[tokens]), out=out[tokens])
        return out
