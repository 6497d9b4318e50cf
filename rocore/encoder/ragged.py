"""Batches on an accelerator: sentences where they lie, neither copied nor padded, laid out by the device itself.

Shapes: T tokens and n sentences in all; K members with B sentences and Q queries each; H hidden size; `...` any leading
dimensions, such as the steps of an epoch.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from rocore.data.instance import Rows

QUERY_STEP = 64
"""Room for queries is a multiple of it, so that products fill whole tiles."""


@dataclass(frozen=True)
class RaggedBatch:
    """The sentences of one or several members.

    Members follow one another, with equal shares of sentences and of queries. A member's queries are the head tokens
    and then the tail tokens of each sentence in turn; what stands behind the last sentence's is filling.

    Attributes:
        hidden: (T, H) tokens of all sentences there are.
        first_tokens: (..., K B) where each sentence begins in `hidden`.
        lengths: (..., K B) tokens.
        first_queries: (..., K B) its first query.
        num_queries: (..., K B) span tokens.
        head_queries: (..., K B) those of the head.
        query_tokens: (..., K Q) index into `hidden`.
        query_positions: (..., K Q) position of each query within its sentence.
        spans: (..., K Q) which span each query belongs to: 2 i is sentence i's head and 2 i + 1 its tail; filling
            belongs to 2 K B.
        num_members: K.
        most_tokens: Of any sentence there is.
        most_queries: Of any sentence there is.
    """

    hidden: Tensor
    first_tokens: Tensor
    lengths: Tensor
    first_queries: Tensor
    num_queries: Tensor
    head_queries: Tensor
    query_tokens: Tensor
    query_positions: Tensor
    spans: Tensor
    num_members: int
    most_tokens: int
    most_queries: int

    @property
    def size(self) -> int:
        """K B."""
        return self.lengths.shape[-1]

    @property
    def query_hidden(self) -> Tensor:
        """Tokens of the queries, (K Q, H)."""
        return self.hidden.index_select(0, self.query_tokens)

    @property
    def queries_per_member(self) -> int:
        """Q."""
        return self.spans.shape[-1] // self.num_members

    def at(self, step: Int[Tensor, " 1"]) -> "RaggedBatch":
        """Return one step's batch; the step is known to the device alone."""
        return replace(
            self, **{name: getattr(self, name).index_select(0, step).squeeze(0) for name in _INDEX_NAMES}
        )

    def index(self) -> list[Tensor]:
        """Return what tells this batch from another one of its bank."""
        return [getattr(self, name) for name in _INDEX_NAMES]


_INDEX_NAMES = (
    "first_tokens",
    "lengths",
    "first_queries",
    "num_queries",
    "head_queries",
    "query_tokens",
    "query_positions",
    "spans",
)


class ResidentTokens:
    """All tokens of a bank and its index, on an accelerator."""

    def __init__(
        self, stores: list[Tensor], starts: Rows, lengths: Rows, spans: Rows, device: torch.device
    ) -> None:
        """Copy the stores' hidden states one behind another.

        Args:
            stores: (T_s, H) each.
            starts: (n,) first token of each sentence, counted through all stores.
            lengths: (n,) tokens of each sentence.
            spans: (n, 4) as of `TokenStore`.
            device: Where to.
        """
        self.hidden = torch.empty(
            sum(map(len, stores)), stores[0].shape[1], dtype=stores[0].dtype, device=device
        )
        parts = torch.split(self.hidden, [len(store) for store in stores])
        for part, store in zip(parts, stores, strict=True):
            part.copy_(store)
        num_queries = spans[:, 1] - spans[:, 0] + spans[:, 3] - spans[:, 2]
        self._most_tokens, self._most_queries = int(lengths.max()), int(num_queries.max())
        self._starts, self._lengths, self._spans, self._num_queries = (
            torch.from_numpy(array).to(device) for array in (starts, lengths, spans, num_queries)
        )

    def total_queries(self, rows: Int[Tensor, "*S K B"]) -> Int[Tensor, "*S K"]:
        """Return the queries of each member's sentences, filling apart."""
        return self._num_queries[rows].sum(-1)

    def batch(self, rows: Int[Tensor, "*S K B"], room: int) -> RaggedBatch:
        """Lay out the sentences of `rows`, in that order, with `room` queries for each member: at least as many."""
        members, size = rows.shape[-2:]
        member = torch.arange(members, device=rows.device)[:, None]
        num_queries = self._num_queries[rows]
        ends = num_queries.cumsum(-1)
        slots = torch.arange(room, device=rows.device).expand(*rows.shape[:-1], room).contiguous()
        sentence = torch.searchsorted(ends, slots, right=True)
        filling = sentence >= size
        sentence = sentence.clamp_(max=size - 1)
        row = rows.gather(-1, sentence)
        within = slots - (ends - num_queries).gather(-1, sentence)
        head_start, head_end, tail_start, _ = self._spans[row].unbind(-1)
        behind_head = within - (head_end - head_start)
        position = torch.where(behind_head >= 0, tail_start + behind_head, head_start + within)
        position = position.masked_fill_(filling, 0)
        span = 2 * (sentence + member * size) + (behind_head >= 0)
        return RaggedBatch(
            hidden=self.hidden,
            first_tokens=self._starts[rows].flatten(-2),
            lengths=self._lengths[rows].flatten(-2),
            first_queries=(ends - num_queries + member * room).flatten(-2),
            num_queries=num_queries.flatten(-2),
            head_queries=(self._spans[rows][..., 1] - self._spans[rows][..., 0]).flatten(-2),
            query_tokens=(self._starts[row] + position).flatten(-2),
            query_positions=position.flatten(-2),
            spans=span.masked_fill_(filling, 2 * members * size).flatten(-2),
            num_members=members,
            most_tokens=self._most_tokens,
            most_queries=self._most_queries,
        )


def room_for(most_queries: int) -> int:
    """Return the room for so many queries."""
    return -(-most_queries // QUERY_STEP) * QUERY_STEP
