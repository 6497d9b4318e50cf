"""Checks of a loaded corpus and its splits, before anything is computed."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rocore.data.instance import Corpus, LoadedData, Sentence, Source, Splits
from rocore.errors import DataError
from rocore.text import listed

SHOWN = 5

Rows = Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the data that the user should know: an error stops, a warning doesn't."""

    severity: Literal["error", "warning"]
    message: str


def validate(loaded: LoadedData, splits: Splits | None) -> list[Finding]:
    """Check a corpus and its splits; errors come first.

    Gold relations, where there are any, serve for names alone: that no novel relation is a known one, or looks like
    another.

    Args:
        loaded: The corpus.
        splits: Its splits. None where it can't be split: what is about them is left out.
    """
    corpus = loaded.corpus
    return [
        *_overlapping_names(loaded),
        *_small_relations(corpus),
        *_too_many_clusters(corpus, splits),
        *look_alikes(loaded),
        *_duplicates(corpus, splits),
        *_same_entity(corpus),
    ]


def raise_errors(findings: Sequence[Finding]) -> None:
    """Raise one error for all findings that are errors.

    Raises:
        DataError: If there are any.
    """
    errors = [finding.message for finding in findings if finding.severity == "error"]
    if errors:
        raise DataError("\n".join(errors))


def duplicate_key(sentence: Sentence) -> tuple[str, tuple[int, int], tuple[int, int]]:
    """Return what makes two instances the same: text and spans."""
    return sentence.text, sentence.head, sentence.tail


def shared_rows(first: Source, first_rows: Rows, second: Source, second_rows: Rows) -> list[tuple[int, int]]:
    """Return pairs of rows that hold the same instance, in the order of the second."""
    seen = {duplicate_key(first.sentences[row]): int(row) for row in first_rows[::-1]}
    pairs = ((seen.get(duplicate_key(second.sentences[row])), int(row)) for row in second_rows)
    return [(one, other) for one, other in pairs if one is not None]


def _listed(items: Sequence[str]) -> str:
    return listed(items, SHOWN)


def look_alikes(loaded: LoadedData) -> list[Finding]:
    """Warn of relations whose names differ in Unicode form, white space or invisible characters alone."""
    corpus = loaded.corpus
    counts = Counter(corpus.known_relations[label] for label in corpus.known_labels.tolist())
    counts.update(loaded.gold.of(corpus.novel_rows)[1] if loaded.gold else ())
    alike: dict[str, list[str]] = {}
    for name in counts:
        alike.setdefault(_looks(name), []).append(name)
    return [_look_alike(names, counts) for names in alike.values() if len(names) > 1]


def _look_alike(names: Sequence[str], counts: Mapping[str, int]) -> Finding:
    differ_in_space = len({" ".join(name.split()) for name in names}) == 1
    spelled = [repr(name) if differ_in_space else ascii(name) for name in sorted(names)]
    return Finding(
        "warning",
        "names of relations should differ in more than Unicode form or white space, but "
        f"{' and '.join(spelled)} count as {len(names)} relations, of "
        f"{' and '.join(str(counts[name]) for name in sorted(names))} instances; write one name, if one is meant",
    )


def _looks(name: str) -> str:
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen).split())


def _overlapping_names(loaded: LoadedData) -> Iterator[Finding]:
    if loaded.gold is None:
        return
    _, names = loaded.gold.of(loaded.corpus.novel_rows)
    overlap = sorted(set(names) & set(loaded.corpus.known_relations))
    if overlap:
        yield Finding(
            "error",
            f"no relation may be both known and novel, but {len(overlap)} are: {_listed(overlap)}; "
            "remove their instances from `data.known` or from `data.novel`",
        )


def _small_relations(corpus: Corpus) -> Iterator[Finding]:
    counts = np.bincount(corpus.known_labels, minlength=corpus.num_known_relations)
    small = [f"{corpus.known_relations[i]} ({counts[i]})" for i in np.flatnonzero(counts < 2)]
    if small:
        yield Finding(
            "error",
            f"a known relation must have at least 2 instances, but {len(small)} have fewer: "
            f"{_listed(small)}; add instances or remove the relation",
        )


def _too_many_clusters(corpus: Corpus, splits: Splits | None) -> Iterator[Finding]:
    wanted, available = corpus.num_novel_relations, len(corpus.novel_rows)
    train = available if splits is None else len(splits.novel_train)
    remedy = "lower data.num_novel_relations or add sentences"
    if available < wanted:
        yield Finding(
            "error",
            f"there must be at least as many novel instances as novel relations, but there are "
            f"{available} instances for {wanted} clusters; {remedy}",
        )
    elif train < wanted:
        yield Finding(
            "error",
            f"there must be at least as many novel training instances as novel relations, but there are "
            f"{train} ({available} with test) for {wanted} clusters; {remedy}, or lower data.novel_test_size",
        )


def _duplicates(corpus: Corpus, splits: Splits | None) -> Iterator[Finding]:
    known, novel = corpus.known, corpus.novel
    used = corpus.known_rows
    comparisons = []
    if splits is not None:
        used = np.union1d(splits.known_train, splits.known_test)
        comparisons = [
            ("known train and known test", known, splits.known_train, known, splits.known_test),
            ("novel train and novel test", novel, splits.novel_train, novel, splits.novel_test),
        ]
    comparisons.append(("known and novel", known, used, novel, corpus.novel_rows))
    for what, first, first_rows, second, second_rows in comparisons:
        pairs = shared_rows(first, first_rows, second, second_rows)
        if pairs:
            places = [f"{first.place(one)} = {second.place(other)}" for one, other in pairs]
            yield Finding(
                "warning",
                f"an instance should stand once, but {len(pairs)} stand in both {what} (same text and "
                f"spans): {_listed(places)}",
            )


def _same_entity(corpus: Corpus) -> Iterator[Finding]:
    for source, rows in ((corpus.known, corpus.known_rows), (corpus.novel, corpus.novel_rows)):
        places = [
            source.place(row)
            for row in rows.tolist()
            if source.sentences[row].head == source.sentences[row].tail
        ]
        if places:
            yield Finding(
                "warning",
                f"head and tail should be two entities, but have the same span in {len(places)} instances: "
                f"{_listed(places)}",
            )
