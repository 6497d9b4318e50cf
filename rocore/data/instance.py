"""What the readers give and what training is allowed to see.

Sentences carry no relation. Labels of known relations stand in `Corpus`; gold relations of novel instances stand in
`NovelGold`, an object of its own that only an evaluator is handed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Numbers of sentences in a pool or a bank; also other whole numbers, one a sentence."""
Span = tuple[int, int]
"""Half-open character span [start, end)."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and its entity pair.

    Word-tokenized input is joined by single spaces, so that every format becomes text with character spans.
    """

    text: str
    head: Span
    tail: Span


@dataclass(frozen=True, slots=True)
class Instance:
    """A sentence as a reader found it: with its relation, or None where the file gives none."""

    sentence: Sentence
    relation: str | None
    place: str
    """Where it stands, for messages: `file.jsonl line 12`, `val_wiki.json P177[3]`, `train.json [68] (id e7)`."""


@dataclass(frozen=True)
class Source:
    """An ordered pool of sentences (one role's files, in order); the unit that the trunk cache stores."""

    sentences: tuple[Sentence, ...]
    name: str
    places: tuple[str, ...] = ()
    """Where each stands, as its reader says; none where no file was read."""
    parts: tuple["Source", ...] = ()
    """What it was joined from; the trunk cache stores these instead."""

    @classmethod
    def joined(cls, first: "Source", second: "Source") -> "Source":
        """Return one pool of the sentences of two, in order."""
        sources = (first, second)
        return cls(
            tuple(sentence for source in sources for sentence in source.sentences),
            f"{first.name} + {second.name}",
            tuple(source.place(row) for source in sources for row in range(len(source.sentences))),
            sources,
        )

    def of_rows(self, rows: NDArray[np.int64]) -> "Source":
        """Return the pool of some rows, in their order, under the same name."""
        chosen = rows.tolist()
        sentences = tuple(self.sentences[row] for row in chosen)
        return Source(sentences, self.name, tuple(self.place(row) for row in chosen))

    def place(self, row: int) -> str:
        """Return what messages call a sentence."""
        return self.places[row] if self.places else f"{self.name} [{row}]"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over texts and spans, in order."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            digest.update(
                f"{sentence.text}\x00{sentence.head}{sentence.tail}\x01".encode("utf-8", "surrogatepass")
            )
        return digest.hexdigest()


@dataclass(frozen=True)
class Cut:
    """What one cut of the data left; the first one of a corpus is what was read.

    Attributes:
        key: The key that asked for it, or `files`.
        num_known_relations: C_l; before a re-split, all relations.
        num_labeled: Labeled instances; before a re-split, all.
        num_unlabeled: Unlabeled instances; 0 where they weren't read.
    """

    key: str
    num_known_relations: int
    num_labeled: int
    num_unlabeled: int


@dataclass(frozen=True)
class Corpus:
    """Everything that training may see.

    Attributes:
        known: Pool of sentences with known relations.
        known_rows: Rows of `known` that are used, shape (N,).
        known_labels: Relation ids of `known_rows`, shape (N,), in [0, num_known_relations).
        known_relations: Names, by relation id.
        novel: Pool of sentences with novel relations.
        novel_rows: Rows of `novel` that are used, shape (M,).
        num_novel_relations: C_u, number of clusters looked for.
        synthetic: Whether the sentences were generated.
        cuts: What was left step by step; empty where the whole data are used.
        spare_rows: Rows of `known` that a cut of instances left out, each relation's in the cut's order: known test
            instances are drawn from all rows, so that they are the same whatever is cut.
        spare_labels: Relation ids of `spare_rows`.
    """

    known: Source
    known_rows: NDArray[np.int64]
    known_labels: NDArray[np.int64]
    known_relations: tuple[str, ...]
    novel: Source
    novel_rows: NDArray[np.int64]
    num_novel_relations: int
    synthetic: bool = False
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 by file name."""
    cuts: tuple[Cut, ...] = ()
    counts_with_hidden: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    """How many labeled instances each relation had, and how many spare ones, before `data.pseudo_novel` hid some
    relations; None where it hid none."""
    spare_rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    spare_labels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def pools(self) -> tuple[Source, ...]:
        """The pools as the files have them: two, or one where known and novel rows share it and it isn't joined."""
        return (self.known.parts or (self.known,)) if self.novel is self.known else (self.known, self.novel)

    @property
    def cut_fingerprint(self) -> str | None:
        """SHA-256 over what was chosen of the pools, and the known labels; None where the whole data are used."""
        return self._cut_digest(self.known_rows, self.known_labels, self.novel_rows)

    @property
    def cut_fingerprint_with_spare(self) -> str | None:
        """The same over the spare rows and their labels, too: where known test instances are drawn from them."""
        spare = (self.spare_rows, self.spare_labels) if len(self.spare_rows) else ()
        return self._cut_digest(self.known_rows, self.known_labels, self.novel_rows, *spare)

    def _cut_digest(self, *parts: NDArray[np.int64]) -> str | None:
        if not self.cuts:
            return None
        digest = hashlib.sha256(repr(self.known_relations).encode("utf-8", "surrogatepass"))
        for rows in parts:
            digest.update(f"\x00{len(rows)} ".encode() + np.ascontiguousarray(rows, dtype="<i8").tobytes())
        return digest.hexdigest()

    def labels_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the known relation ids of rows of `known`, cut ones included; -1 for others."""
        label_of_row = np.full(len(self.known.sentences), -1)
        label_of_row[self.known_rows] = self.known_labels
        label_of_row[self.spare_rows] = self.spare_labels
        found: NDArray[np.int64] = label_of_row[rows]
        return found

    def after(self, key: str) -> Cut:
        """Return the counts as they are, as what a cut left."""
        return Cut(key, self.num_known_relations, len(self.known_rows), len(self.novel_rows))

    @property
    def num_known_relations(self) -> int:
        """C_l."""
        return len(self.known_relations)


@dataclass(frozen=True)
class LabeledData:
    """The known side alone: nothing of the novel one is in it, not even its sentences.

    Attributes:
        source: Pool of sentences with known relations.
        rows: Those that are used, shape (N,).
        labels: Relation ids of `rows`, shape (N,), in [0, number of relations).
        relations: Names, by relation id.
        synthetic: Whether the sentences were generated.
    """

    source: Source
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    relations: tuple[str, ...]
    synthetic: bool = False


@dataclass(frozen=True)
class UnlabeledData:
    """The novel side alone, as the search's objective may read it: sentences, and nowhere a relation.

    Attributes:
        source: Pool of sentences with novel relations.
        rows: Those that are used, shape (M,).
        num_relations: C_u, as on the real split.
    """

    source: Source
    rows: NDArray[np.int64]
    num_relations: int


@dataclass(frozen=True)
class NovelGold:
    """Gold relations of the novel pool, by row of `Corpus.novel`; None where the file gives none."""

    relations: Sequence[str | None]

    def of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
        """Return positions within `rows` whose rows carry gold, and their relations."""
        found = [
            (i, relation)
            for i, row in enumerate(rows.tolist())
            if (relation := self.relations[row]) is not None
        ]
        return np.array([i for i, _ in found], dtype=np.int64), [relation for _, relation in found]


@dataclass(frozen=True)
class LoadedData:
    """A corpus and, apart from it, the gold relations that only an evaluator may see (None where there are none)."""

    corpus: Corpus
    gold: NovelGold | None


@dataclass(frozen=True)
class Splits:
    """Rows of `Corpus.known` and `Corpus.novel` (not positions in `known_rows`), each sorted ascending."""

    known_train: NDArray[np.int64]
    known_test: NDArray[np.int64]
    novel_train: NDArray[np.int64]
    novel_test: NDArray[np.int64]
