"""Ragged tokens: hidden states of the frozen trunk without padding, and batches of them.

Shapes: n sentences and T tokens in a store; B sentences, P tokens, Q span tokens in a batch; H hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rocore.data.instance import Rows
from rocore.encoder.ragged import RaggedBatch, ResidentTokens, room_for
from rocore.encoder.sentences import Sentences, ragged_arange

SENTENCES_PER_GROUP = 16
ROW_STEPS = {torch.bfloat16: 128, torch.float32: 8}
"""Rows are filled up to a multiple: oneDNN, for bf16 on CPUs, compiles its kernels anew for every number of them."""


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
    """Sentences of one member, alike in length and with as many span tokens: grids of them are hardly padded.

    Attributes:
        member: Whose sentences; 0 outside a pack.
        size: Sentences.
        tokens: Of the longest of them; each has room for as many in `TokenBatch.hidden`.
        queries: Span tokens of the one with most of them; each fills as many slots of the query grid.
        first_sentence: Which of `TokenBatch.sentences` is its first.
        first_token: Where the group's rows of `TokenBatch.hidden` begin.
        first_slot: Where its slots of the query grid begin.
    """

    member: int
    size: int
    tokens: int
    queries: int
    first_sentence: int
    first_token: int
    first_slot: int

    @property
    def slots(self) -> slice:
        """Return its slots of the query grid."""
        return slice(self.first_slot, self.first_slot + self.size * self.queries)


@dataclass(frozen=True)
class TokenBatch:
    """The sentences of one or, in a pack, several members, in groups.

    Members follow one another, with equal shares of queries and slots. Within each, queries are the head tokens and
    then the tail tokens of each sentence in turn; what stands behind the last sentence's is filling, the first token
    of the member's first sentence.

    Attributes:
        sentences: Group by group.
        groups: Member by member.
        query_hidden: (Q, H) tokens of the queries.
        query_slots: (Q,) where each query stands in the query grid.
        query_positions: (Q,) position of each query within its sentence.
        spans: (Q,) which span each query belongs to: 2 i is sentence i's head and 2 i + 1 its tail, with i counted in
            the order of the rows that were asked for; filling belongs to 2 B.
        num_slots: Of the query grid.
        size: B, of all members together.
    """

    sentences: Sentences
    groups: tuple[TokenGroup, ...]
    query_hidden: Tensor
    query_slots: Tensor
    query_positions: Tensor
    spans: Tensor
    num_slots: int
    size: int

    @property
    def hidden(self) -> Tensor:
        """A copy of all tokens, (P, H); a sentence that is shorter than its group's longest repeats its last one."""
        return self.sentences.padded

    @property
    def key_mask(self) -> Tensor:
        """0 where `hidden` has a token, -inf where it repeats one, (P,), fp32."""
        return self.sentences.key_mask


@dataclass(frozen=True)
class _Layout:
    """Where the sentences and queries of one member stand; attributes as of `TokenBatch`, without filling.

    Attributes:
        rows: (B,) of the bank, group by group.
        room: (B,) as of `Sentences`.
        query_sentences: (Q,) which of `rows` each query is in.
    """

    rows: Rows
    room: Rows
    groups: tuple[TokenGroup, ...]
    query_sentences: Rows
    query_slots: Rows
    query_positions: Rows
    spans: Rows
    num_slots: int


def filled_up(num_rows: int, dtype: torch.dtype) -> int:
    """Return the number of rows after filling."""
    return num_rows + -num_rows % ROW_STEPS[dtype]


AnyBatch = TokenBatch | RaggedBatch
"""On the CPU the former, on an accelerator the latter."""


class TokenBank:
    """Several stores under one row numbering: row i of store s is `first_row[s] + i`."""

    def __init__(self, stores: Sequence[TokenStore], device: torch.device, *, resident: bool = False) -> None:
        """Attach the stores; with `resident`, as always on an accelerator, all tokens are copied there at once."""
        self.device = device
        self.hidden_size = stores[0].hidden.shape[1]
        self.dtype = stores[0].hidden.dtype
        self.first_row = np.cumsum([0, *(len(store) for store in stores)])
        self._store = np.repeat(np.arange(len(stores)), [len(store) for store in stores])
        self._starts = np.concatenate([store.offsets[:-1] for store in stores])
        self.lengths: Rows = np.concatenate([np.diff(store.offsets) for store in stores])
        self._spans = np.concatenate([store.spans for store in stores])
        self.num_queries: Rows = self._spans[:, 1] - self._spans[:, 0] + self._spans[:, 3] - self._spans[:, 2]
        self.resident: ResidentTokens | None = None
        self._hidden: tuple[Tensor, ...] = ()
        hidden = [store.hidden for store in stores]
        if device.type != "cpu" or resident:
            first_tokens = np.cumsum([0, *(len(tokens) for tokens in hidden[:-1])])
            starts = self._starts + first_tokens[self._store]
            self.resident = ResidentTokens(hidden, starts, self.lengths, self._spans, device)
        else:
            self._hidden = tuple(hidden)

    def batch(self, *rows: Rows) -> AnyBatch:
        """Return the sentences of `rows`, shape (B,), for each member, in that order; B is the same for all."""
        if self.resident is None:
            return self._laid_out(rows)
        room = room_for(max(int(self.num_queries[of_member].sum()) for of_member in rows))
        return self.resident.batch(torch.from_numpy(np.stack(rows)).to(self.device), room)

    def _laid_out(self, rows: Sequence[Rows]) -> TokenBatch:
        layouts = [self._layout(of_member) for of_member in rows]
        num_queries = filled_up(max(len(layout.spans) for layout in layouts), self.dtype)
        num_slots = max(layout.num_slots + num_queries - len(layout.spans) for layout in layouts)
        first_tokens = np.cumsum([0, *(layout.room.sum() for layout in layouts[:-1])]).tolist()
        size, num_members = len(rows[0]), len(rows)
        placed = [
            _placed(
                layout,
                member,
                first_sentence=size * member,
                first_token=first_token,
                first_slot=num_slots * member,
                num_queries=num_queries,
                filling_span=2 * size * num_members,
            )
            for member, (layout, first_token) in enumerate(zip(layouts, first_tokens, strict=True))
        ]

        def joined(name: str) -> Rows:
            return np.concatenate([getattr(layout, name) for layout in placed])

        sorted_rows = joined("rows")
        sentences = Sentences(
            stores=self._hidden,
            store=self._store[sorted_rows],
            first_tokens=self._starts[sorted_rows],
            lengths=self.lengths[sorted_rows],
            room=joined("room"),
        )
        positions = joined("query_positions")
        return TokenBatch(
            sentences=sentences,
            groups=tuple(group for layout in placed for group in layout.groups),
            query_hidden=sentences.copy_tokens(joined("query_sentences"), positions),
            query_slots=torch.from_numpy(joined("query_slots")),
            query_positions=torch.from_numpy(positions),
            spans=torch.from_numpy(joined("spans")),
            num_slots=num_slots * num_members,
            size=size * num_members,
        )

    def _layout(self, rows: Rows) -> _Layout:
        members = self._group(rows)
        order = np.concatenate(members)
        sizes = [len(group) for group in members]
        longest = [int(self.lengths[rows[group]].max()) for group in members]
        most_queries = [int(self.num_queries[rows[group]].max()) for group in members]
        sorted_rows = rows[order]
        room, query_room = np.repeat(longest, sizes), np.repeat(most_queries, sizes)
        queries = self.num_queries[sorted_rows]
        spans = self._spans[sorted_rows].reshape(-1, 2)
        span_lengths = spans[:, 1] - spans[:, 0]
        span = np.repeat(np.arange(len(spans)), span_lengths)
        firsts = (
            np.cumsum([0, *sizes]).tolist(),
            np.cumsum([0, *np.multiply(sizes, longest)]).tolist(),
            np.cumsum([0, *np.multiply(sizes, most_queries)]).tolist(),
        )
        return _Layout(
            rows=sorted_rows,
            room=room,
            groups=tuple(map(TokenGroup, repeat(0), sizes, longest, most_queries, *firsts)),
            query_sentences=span // 2,
            query_slots=np.repeat(np.cumsum(query_room) - query_room, queries) + ragged_arange(queries),
            query_positions=spans[span, 0] + ragged_arange(span_lengths),
            spans=2 * order[span // 2] + span % 2,
            num_slots=firsts[-1][-1],
        )

    def _group(self, rows: Rows) -> list[Rows]:
        """Split positions of `rows` by span tokens, then by length; in a group those of one store are neighbours."""
        num_queries = self.num_queries[rows]
        order = np.lexsort((self.lengths[rows], num_queries))
        groups = []
        for alike in np.split(order, np.flatnonzero(np.diff(num_queries[order])) + 1):
            for group in np.array_split(alike, -(-len(alike) // SENTENCES_PER_GROUP)):
                groups.append(group[np.argsort(self._store[rows[group]], kind="stable")])
        return groups


def _placed(
    layout: _Layout,
    member: int,
    *,
    first_sentence: int,
    first_token: int,
    first_slot: int,
    num_queries: int,
    filling_span: int,
) -> _Layout:
    """Return the queries and groups of a member as they stand in a batch, filled up to `num_queries`."""
    filling = np.arange(num_queries - len(layout.spans))
    return replace(
        layout,
        groups=tuple(
            replace(
                group,
                member=member,
                first_sentence=group.first_sentence + first_sentence,
                first_token=group.first_token + first_token,
                first_slot=group.first_slot + first_slot,
            )
            for group in layout.groups
        ),
        query_sentences=_filled(layout.query_sentences, num_queries) + first_sentence,
        query_slots=np.append(layout.query_slots, layout.num_slots + filling) + first_slot,
        query_positions=_filled(layout.query_positions, num_queries),
        spans=_filled(layout.spans + 2 * first_sentence, num_queries, filling_span),
    )


def _filled(array: NDArray[Any], length: int, value: int = 0) -> NDArray[Any]:
    return np.pad(array, (0, length - len(array)), constant_values=value)
