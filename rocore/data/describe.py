"""What a corpus consists of: counts, relations, lengths, duplicates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rocore.data.instance import Cut, LoadedData, Source
from rocore.data.validation import duplicate_key
from rocore.text import shown

QUANTILES = (0.0, 0.5, 0.95, 1.0)


@dataclass(frozen=True)
class RoleSummary:
    """One role of a corpus.

    Attributes:
        role: `known` or `novel`.
        name: Its files.
        num_instances: Of this role.
        relations: Instances by relation, most first; of the novel role by gold, empty where there is none.
        num_unlabeled: Instances without a relation in the file.
        sentence_words: Shortest, median, 95% quantile and longest, in words.
        entity_words: The same of head and tail entities together.
        num_duplicates: Instances that repeat an earlier one (same text and spans).
        num_same_entity: Instances whose head and tail have the same span.
    """

    role: str
    name: str
    num_instances: int
    relations: dict[str, int]
    num_unlabeled: int
    sentence_words: tuple[int, ...]
    entity_words: tuple[int, ...]
    num_duplicates: int
    num_same_entity: int


def describe(loaded: LoadedData) -> list[RoleSummary]:
    """Summarise the known and the novel role."""
    corpus, gold = loaded.corpus, loaded.gold
    known = [corpus.known_relations[label] for label in corpus.known_labels]
    novel = gold.of(corpus.novel_rows)[1] if gold else []
    return [
        _summarise("known", corpus.known, corpus.known_rows, known),
        _summarise("novel", corpus.novel, corpus.novel_rows, novel),
    ]


def render(summaries: Sequence[RoleSummary], *, num_relations: int) -> RenderableType:
    """Return tables of the roles and of the most frequent relations of each."""
    table = Table(title="Corpus")
    table.add_column("")
    for summary in summaries:
        table.add_column(Text(f"{summary.role}\n{shown(summary.name)}"), justify="right", overflow="fold")
    for label, cells in _rows(summaries):
        table.add_row(label, *cells)
    return Group(
        table, *(_relation_table(s, num_relations) for s in summaries if s.relations and num_relations)
    )


def render_cuts(cuts: Sequence[Cut]) -> RenderableType:
    """Return a table of what each cut left, in the order in which they apply."""
    table = Table(title="Cuts, in their order")
    table.add_column("after", no_wrap=True)
    for column in ("known relations", "labeled", "unlabeled"):
        table.add_column(column, justify="right")
    for cut in cuts:
        counts = (cut.num_known_relations, cut.num_labeled, cut.num_unlabeled)
        table.add_row(cut.key, *(f"{count:,}" for count in counts))
    return table


def _rows(summaries: Sequence[RoleSummary]) -> list[tuple[str, list[str]]]:
    return [
        ("instances", [f"{s.num_instances:,}" for s in summaries]),
        ("relations", [str(len(s.relations)) if s.relations else "unknown" for s in summaries]),
        ("instances a relation (min / max)", [_range(s.relations) for s in summaries]),
        ("instances without a relation", [f"{s.num_unlabeled:,}" for s in summaries]),
        ("words a sentence (min / median / 95% / max)", [_quantiles(s.sentence_words) for s in summaries]),
        ("words an entity (min / median / 95% / max)", [_quantiles(s.entity_words) for s in summaries]),
        ("duplicates (same text and spans)", [f"{s.num_duplicates:,}" for s in summaries]),
        ("head and tail the same span", [f"{s.num_same_entity:,}" for s in summaries]),
    ]


def _range(relations: dict[str, int]) -> str:
    return f"{min(relations.values()):,} / {max(relations.values()):,}" if relations else "-"


def _quantiles(values: tuple[int, ...]) -> str:
    return " / ".join(str(value) for value in values) or "-"


def _relation_table(summary: RoleSummary, num_relations: int) -> Table:
    left_out = len(summary.relations) - num_relations
    caption = f"and {left_out} more" if left_out > 0 else None
    table = Table(title=f"{summary.role.capitalize()} relations", caption=caption)
    table.add_column("relation", overflow="fold")
    table.add_column("instances", justify="right")
    for name, count in list(summary.relations.items())[:num_relations]:
        table.add_row(Text(shown(name)), f"{count:,}")
    return table


def _summarise(role: str, source: Source, rows: NDArray[np.int64], relations: Sequence[str]) -> RoleSummary:
    sentences = [source.sentences[row] for row in rows]
    spans = [(s.text, span) for s in sentences for span in (s.head, s.tail)]
    return RoleSummary(
        role=role,
        name=source.name,
        num_instances=len(sentences),
        relations=dict(Counter(relations).most_common()),
        num_unlabeled=len(sentences) - len(relations),
        sentence_words=_distribution([len(s.text.split()) for s in sentences]),
        entity_words=_distribution([len(text[start:end].split()) for text, (start, end) in spans]),
        num_duplicates=len(sentences) - len({duplicate_key(s) for s in sentences}),
        num_same_entity=sum(s.head == s.tail for s in sentences),
    )


def _distribution(lengths: Sequence[int]) -> tuple[int, ...]:
    if not lengths:
        return ()
    return tuple(int(q) for q in np.quantile(lengths, QUANTILES, method="nearest"))
