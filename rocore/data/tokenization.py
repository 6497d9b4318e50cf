"""Cut sentences into word pieces and find the pieces of each entity.

Shapes: n sentences, T pieces in all; ragged, without padding.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rocore.data.instance import Sentence, Source, Span
from rocore.data.problems import Problems
from rocore.errors import DataError

BATCH_SIZE = 1024

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@runtime_checkable
class FastTokenizer(Protocol):
    """What is needed of a fast tokenizer of the transformers library."""

    def __call__(self, text: list[str], /, **options: bool) -> Mapping[str, list[list[Any]]]:
        """Return lists by sentence: input_ids, offset_mapping, special_tokens_mask."""


@dataclass(frozen=True)
class TokenizedSource:
    """Word pieces of one pool of sentences.

    Attributes:
        piece_ids: (T,) vocabulary ids, special tokens included.
        offsets: (n + 1,) first piece of each sentence.
        head_start: (n,) first piece of the head, within the sentence.
        head_end: (n,) exclusive.
        tail_start: (n,)
        tail_end: (n,) exclusive.
        num_windowed: Sentences that were cut to fit, of the whole pool.
    """

    piece_ids: Ints
    offsets: Longs
    head_start: Ints
    head_end: Ints
    tail_start: Ints
    tail_end: Ints
    num_windowed: int

    def __len__(self) -> int:
        """Return n."""
        return len(self.offsets) - 1

    @property
    def spans(self) -> Longs:
        """(n, 4) first and exclusive last piece of head and tail, within the sentence."""
        columns = [self.head_start, self.head_end, self.tail_start, self.tail_end]
        return np.stack(columns, axis=1).astype(np.int64)

    def part(self, start: int, stop: int) -> "TokenizedSource":
        """Return sentences start..stop - 1."""
        offsets = self.offsets[start : stop + 1]
        return replace(
            self,
            piece_ids=self.piece_ids[offsets[0] : offsets[-1]],
            offsets=offsets - offsets[0],
            head_start=self.head_start[start:stop],
            head_end=self.head_end[start:stop],
            tail_start=self.tail_start[start:stop],
            tail_end=self.tail_end[start:stop],
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything."""
        digest = hashlib.sha256()
        for item in fields(self):
            value = np.asarray(getattr(self, item.name))
            digest.update(f"{item.name}{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()


def tokenize(source: Source, tokenizer: FastTokenizer, max_pieces: int) -> TokenizedSource:
    """Cut a pool into pieces; a sentence longer than `max_pieces` keeps the pieces nearest to its entities.

    Args:
        source: The pool.
        tokenizer: A fast tokenizer of the transformers library.
        max_pieces: Longest sentence in pieces, special tokens included.

    Raises:
        DataError: If the tokenizer leaves no piece of an entity, or the entities alone exceed `max_pieces`; names
            the place of each such sentence.
    """
    problems = Problems()
    ids: list[Ints] = []
    spans: list[Ints] = []
    lengths: list[Longs] = []
    num_windowed = 0
    for first in range(0, len(source.sentences), BATCH_SIZE):
        batch = _cut(source, first, tokenizer)
        batch_spans = _align(batch, source, first, problems)
        keep, batch_spans, num_cut = _window(batch, batch_spans, max_pieces, source, first, problems)
        if problems:
            continue  # nothing will come of it but more problems
        ids.append(batch.ids[keep])
        lengths.append(np.add.reduceat(keep, batch.offsets[:-1], dtype=np.int64))
        spans.append(batch_spans)
        num_windowed += num_cut
    problems.raise_any()
    all_spans = np.concatenate([np.empty((0, 4), np.int32), *spans])
    head_start, head_end, tail_start, tail_end = (np.ascontiguousarray(column) for column in all_spans.T)
    return TokenizedSource(
        piece_ids=np.concatenate([np.empty(0, np.int32), *ids]),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths]))]).astype(
            np.int64
        ),
        head_start=head_start,
        head_end=head_end,
        tail_start=tail_start,
        tail_end=tail_end,
        num_windowed=num_windowed,
    )


@dataclass(frozen=True)
class _Batch:
    """Pieces of some sentences.

    Attributes:
        ids: (T,) vocabulary ids.
        special: (T,) whether the tokenizer added the piece.
        starts: (T,) first character.
        ends: (T,) exclusive.
        offsets: (n + 1,) first piece of each sentence.
    """

    ids: Ints
    special: NDArray[np.bool_]
    starts: Longs
    ends: Longs
    offsets: Longs


def _cut(source: Source, first: int, tokenizer: FastTokenizer) -> _Batch:
    encoded = tokenizer(
        [sentence.text for sentence in source.sentences[first : first + BATCH_SIZE]],
        add_special_tokens=True,
        padding=False,
        truncation=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    lengths = [len(ids) for ids in encoded["input_ids"]]
    total = sum(lengths)
    flat = chain.from_iterable
    characters = np.fromiter(flat(flat(encoded["offset_mapping"])), np.int64, 2 * total)
    return _Batch(
        ids=np.fromiter(flat(encoded["input_ids"]), np.int32, total),
        special=np.fromiter(flat(encoded["special_tokens_mask"]), np.bool_, total),
        starts=characters[0::2],
        ends=characters[1::2],
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
    )


def _strip(sentence: Sentence, span: Span) -> Span:
    """Leave out white space at the ends, which some tokenizers put into the neighbouring word's piece."""
    entity = sentence.text[span[0] : span[1]]
    start = span[0] + len(entity) - len(entity.lstrip())
    return start, start + len(entity.strip())


def _align(batch: _Batch, source: Source, first: int, problems: Problems) -> Ints:
    """Return (n, 4) first and exclusive last piece of head and tail: pieces that overlap its text."""
    sentences = source.sentences[first : first + BATCH_SIZE]
    lengths = np.diff(batch.offsets)
    filled = np.flatnonzero(lengths)
    starts = batch.offsets[filled]
    spans = np.empty((len(sentences), 4), np.int32)
    position = np.arange(len(batch.ids)) - np.repeat(batch.offsets[:-1], lengths)
    for column, what in ((0, "head"), (2, "tail")):
        entity = np.array([_strip(s, getattr(s, what)) for s in sentences], dtype=np.int64)
        start, end = np.repeat(entity[:, 0], lengths), np.repeat(entity[:, 1], lengths)
        inside = ~batch.special & (batch.starts < end) & (batch.ends > start)
        spans[:, column : column + 2] = 0
        spans[filled, column] = np.minimum.reduceat(np.where(inside, position, len(position)), starts)
        spans[filled, column + 1] = np.maximum.reduceat(np.where(inside, position, -1), starts) + 1
        for row in np.flatnonzero(spans[:, column + 1] == 0).tolist():
            spans[row, column] = 0
            problems.note(_no_piece(source, first + row, what))
    return spans


def _no_piece(source: Source, row: int, what: str) -> DataError:
    sentence = source.sentences[row]
    start, end = sentence.head if what == "head" else sentence.tail
    return DataError(
        f"{source.place(row)}: the {what} must have at least one word piece, but the "
        f"tokenizer drops {sentence.text[start:end]!a} of {sentence.text[:80]!r}; "
        "correct the span or drop the instance"
    )


def _window(
    batch: _Batch, spans: Ints, max_pieces: int, source: Source, first: int, problems: Problems
) -> tuple[NDArray[np.bool_], Ints, int]:
    """Return (T,) pieces that stay, (n, 4) spans among them, and how many sentences were cut."""
    keep = np.ones(len(batch.ids), dtype=bool)
    long = np.flatnonzero(np.diff(batch.offsets) > max_pieces)
    for i in long.tolist():
        pieces = slice(batch.offsets[i], batch.offsets[i + 1])
        stays = nearest_pieces(batch.special[pieces], spans[i], max_pieces)
        if stays is None:
            fault = DataError(
                f"{source.place(first + i)}: the entities must fit into `encoder.max_pieces` = {max_pieces} pieces, "
                f"but don't in {source.sentences[first + i].text[:80]!r}; raise it or drop the instance"
            )
            problems.note(fault)
            continue
        keep[pieces] = stays
        before = np.concatenate([[0], np.cumsum(stays)])
        spans[i] = before[spans[i]]
    return keep, spans, len(long)


def nearest_pieces(special: NDArray[np.bool_], spans: Ints, max_pieces: int) -> NDArray[np.bool_] | None:
    """Choose the pieces of one sentence that stay: special ones, entities, then the nearest to any entity.

    Args:
        special: (L,) whether the tokenizer added the piece.
        spans: (4,) head start, head end, tail start, tail end, half-open.
        max_pieces: How many stay; ties go to the left.

    Returns:
        (L,) which pieces stay, or None where the entities alone are too many.
    """
    position = np.arange(len(special))
    distance = np.full(len(special), len(special))
    for start, end in (spans[:2], spans[2:]):
        outside = np.maximum(np.maximum(start - position, position - (end - 1)), 0)
        distance = np.minimum(distance, outside)
    budget = max_pieces - int(special.sum())
    if ((distance == 0) & ~special).sum() > budget:
        return None
    distance[special] = -1
    stays = np.zeros(len(special), dtype=bool)
    stays[np.argsort(distance, kind="stable")[:max_pieces]] = True
    return stays
