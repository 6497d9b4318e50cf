"""The arithmetic that the span-query form of the method needs, and the bytes that its operands hold.

Only matrix products count, 2 floating-point operations a multiply-add; softmax, norms, losses, Adam and padding count
nothing, so a share of the peak is a share of useful work. Bytes are an estimate from shapes: every product reads its
two operands and writes its result once, in the products' dtype; nothing is assumed to stay in a processor's cache.

Shapes: P tokens, Q span tokens, H hidden size, I inner size of the feed-forward block, D = 2H, B sentences.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocore.config import ModelConfig

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and elements read and written."""

    flops: float = 0
    elements: float = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.elements + other.elements)

    def __mul__(self, times: float) -> "Work":
        return Work(self.flops * times, self.elements * times)

    __rmul__ = __mul__


def product(rows: Any, inner: Any, columns: Any) -> Work:
    """One (rows, inner) x (inner, columns) product, or the sum over arrays of such sizes."""
    r, i, c = (np.asarray(size, dtype=np.float64) for size in np.broadcast_arrays(rows, inner, columns))
    return Work(float((2 * r * i * c).sum()), float((r * i + i * c + r * c).sum()))


@dataclass(frozen=True)
class Sizes:
    """Widths of everything that is multiplied."""

    hidden: int
    inner: int
    heads: int
    clustering: tuple[int, ...]
    """Widths of g: D, hidden, hidden, size of h'. Those of d are the reverse."""
    num_known: int
    num_novel: int

    @classmethod
    def of(cls, encoder_config: Any, model: ModelConfig, num_known: int, num_novel: int) -> "Sizes":
        """Read them from a Hugging Face configuration and from `model`."""
        hidden = encoder_config.hidden_size
        return cls(
            hidden,
            encoder_config.intermediate_size,
            encoder_config.num_attention_heads,
            (2 * hidden, model.hidden_size, model.hidden_size, model.relation_size),
            num_known,
            num_novel,
        )


@dataclass(frozen=True)
class Lengths:
    """Tokens and span tokens of B sentences, both (B,); a token in head and tail is two span tokens."""

    tokens: Counts
    queries: Counts

    def __getitem__(self, rows: Any) -> "Lengths":
        return Lengths(self.tokens[rows], self.queries[rows])

    def __len__(self) -> int:
        return len(self.tokens)


def attention(lengths: Lengths, queries: Counts, sizes: Sizes) -> Work:
    """Scores and context of `queries`, (B,), queries a sentence to all its tokens."""
    width = sizes.hidden // sizes.heads
    scores, context = product(queries, width, lengths.tokens), product(queries, lengths.tokens, width)
    return sizes.heads * (scores + context)


def trunk(lengths: Lengths, sizes: Sizes, output_layer: int) -> Work:
    """Layers 1..r-1 over real tokens."""
    tokens, hidden, inner = int(lengths.tokens.sum()), sizes.hidden, sizes.inner
    linear = 4 * product(tokens, hidden, hidden) + 2 * product(tokens, hidden, inner)
    return (output_layer - 1) * (linear + attention(lengths, lengths.tokens, sizes))


def features(lengths: Lengths, sizes: Sizes) -> Work:
    """Layer r forward: keys and values of all tokens, the rest for span tokens."""
    tokens, queries = int(lengths.tokens.sum()), int(lengths.queries.sum())
    hidden, inner = sizes.hidden, sizes.inner
    return (
        product(tokens, hidden, 2 * hidden)
        + 2 * product(queries, hidden, hidden)  # query, attention output
        + 2 * product(queries, hidden, inner)
        + attention(lengths, lengths.queries, sizes)
    )


def features_backward(lengths: Lengths, sizes: Sizes) -> Work:
    """Layer r backward: weights and inputs, but no gradient into the frozen tokens."""
    tokens, queries = int(lengths.tokens.sum()), int(lengths.queries.sum())
    hidden, inner = sizes.hidden, sizes.inner
    return (
        product(tokens, hidden, 2 * hidden)  # key and value: their weights alone
        + product(queries, hidden, hidden)  # query: its weight alone
        + 2 * product(queries, hidden, hidden)  # attention output
        + 4 * product(queries, hidden, inner)
        + 2 * attention(lengths, lengths.queries, sizes)
    )


def projector(num_rows: int, sizes: Sizes) -> Work:
    """Return the work of g forward."""
    layers = pairwise(sizes.clustering)
    return sum((product(num_rows, inputs, outputs) for inputs, outputs in layers), Work())


def clustering_step(num_rows: int, sizes: Sizes) -> Work:
    """Return that of g and d forward and backward; h is a constant, so the first layer passes no gradient on."""
    first = product(num_rows, sizes.clustering[0], sizes.clustering[1])
    return 6 * projector(num_rows, sizes) + -1 * first


def joint_step(lengths: Lengths, sizes: Sizes, num_labeled: int) -> Work:
    """Layer r, g and d, and the classifiers, forward and backward, on a batch whose first rows are labeled."""
    num_unlabeled, width = len(lengths) - num_labeled, 2 * sizes.hidden
    classifiers = product(num_labeled, width, sizes.num_known) + product(
        num_unlabeled, width, sizes.num_novel
    )
    return (
        features(lengths, sizes)
        + features_backward(lengths, sizes)
        + clustering_step(len(lengths), sizes)
        + 3 * classifiers
    )


def executed_joint_step(lengths: Lengths, sizes: Sizes, num_labeled: int) -> Work:
    """Return what the engine really multiplies: keys and values are folded into queries and contexts."""
    tokens, queries, hidden = int(lengths.tokens.sum()), int(lengths.queries.sum()), sizes.hidden
    keyed = 2 * product(tokens, hidden, 2 * hidden) + 3 * attention(lengths, lengths.queries, sizes)
    per_head = sizes.heads * product(queries, hidden // sizes.heads, hidden)
    rows = sizes.heads * lengths.queries
    per_sentence = product(rows, hidden, lengths.tokens) + product(rows, lengths.tokens, hidden)
    return joint_step(lengths, sizes, num_labeled) + -1 * keyed + 6 * per_head + 2 * per_sentence
