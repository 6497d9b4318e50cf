"""The sentences of a batch where they lie in their stores; copied, and filled up to equal lengths, only if need be.

Shapes: n sentences, P tokens with filling, T_s tokens of a store, m rows, H hidden size.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rocore.data.instance import Rows


def ragged_arange(lengths: Rows) -> Rows:
    """Return 0..lengths[0]-1, 0..lengths[1]-1, ... as one array."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


@dataclass(frozen=True)
class Sentences:
    """Tokens of n sentences.

    Attributes:
        stores: (T_s, H) hidden states of each store, bf16 or fp32.
        store: (n,) which store each sentence is in.
        first_tokens: (n,) where it begins there.
        lengths: (n,) its tokens.
        room: (n,) rows it fills once it is padded, at least as many.
    """

    stores: tuple[Tensor, ...]
    store: Rows
    first_tokens: Rows
    lengths: Rows
    room: Rows

    @property
    def dtype(self) -> torch.dtype:
        """Of hidden states."""
        return self.stores[0].dtype

    @property
    def hidden_size(self) -> int:
        """Of each token."""
        return self.stores[0].shape[1]

    @cached_property
    def padded(self) -> Float[Tensor, "P H"]:
        """A copy of all tokens, sentence by sentence; one shorter than its room repeats its last token."""
        position, last = self._positions()
        return self.copy_tokens(np.repeat(np.arange(len(self.room)), self.room), np.minimum(position, last))

    @cached_property
    def key_mask(self) -> Float[Tensor, " P"]:
        """0 where `padded` has a token, -inf where it repeats one; fp32."""
        position, last = self._positions()
        return torch.from_numpy(np.where(position > last, -np.inf, 0.0).astype(np.float32))

    @cached_property
    def addresses(self) -> Rows:
        """Where each sentence begins in the process's memory, (n,), bytes; its tokens follow without gaps."""
        assert all(store.is_contiguous() for store in self.stores)
        bases = np.array([store.data_ptr() for store in self.stores])
        return bases[self.store] + self.first_tokens * (self.hidden_size * self.dtype.itemsize)

    def copy_tokens(self, sentences: Rows, positions: Rows) -> Float[Tensor, "m H"]:
        """Return the token at each position of the sentence named beside it; runs of one store are copied at once."""
        out = torch.empty(len(sentences), self.hidden_size, dtype=self.dtype)
        store, token = self.store[sentences], self.first_tokens[sentences] + positions
        edges = [0, *(np.flatnonzero(np.diff(store)) + 1).tolist(), len(store)]
        for first, end in pairwise(edges):
            hidden = self.stores[int(store[first])]
            torch.index_select(hidden, 0, torch.from_numpy(token[first:end]), out=out[first:end])
        return out

    def _positions(self) -> tuple[Rows, Rows]:
        """Return the position of each row of `padded` in its sentence, and that sentence's last one."""
        return ragged_arange(self.room), np.repeat(self.lengths - 1, self.room)
