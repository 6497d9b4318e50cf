"""Hide some known relations: an objective for the search that needs no gold of the novel ones."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rocore.config import PseudoNovelConfig
from rocore.data.instance import Corpus, LoadedData, NovelGold, Source, UnlabeledData
from rocore.data.subset import FEWEST, keep_first, keep_labeled
from rocore.errors import DataError

REAL = 4
"""Stream of the seed that draws real novel sentences."""


def make_hidden_task(
    corpus: Corpus, config: PseudoNovelConfig, real: UnlabeledData | None = None
) -> LoadedData:
    """Return the task that the search's objective is measured on; of novel instances nothing but `real` is read.

    Each relation, hidden or not, gives its share; then the hidden ones are evened out; then they lose their labels.

    Args:
        corpus: With known relations.
        config: Which are hidden, and what of the data is used.
        real: The real novel sentences, where the configuration asks for them or their number.

    Raises:
        DataError: If so many relations can't be hidden.
    """
    hidden = choose_hidden(corpus.known_relations, config)
    before = corpus.after("files")
    spare = np.bincount(corpus.spare_labels, minlength=corpus.num_known_relations)
    if config.share < 1:
        counts = np.bincount(corpus.known_labels)
        shares = np.maximum(np.rint(counts * config.share).astype(np.int64), np.minimum(counts, FEWEST))
        corpus = keep_first(corpus, shares, config.seed)
        spare = np.rint(spare * config.share).astype(np.int64)
    counts_with_hidden = np.bincount(corpus.known_labels), spare
    if config.instances_per_relation is not None:
        corpus = _even_out(corpus, hidden, config, real)
    loaded = hide_relations(corpus, hidden)
    if config.read_novel:
        assert real is not None
        loaded = _with_real(loaded, real, config.seed)
    made = replace(loaded.corpus, counts_with_hidden=counts_with_hidden)
    if config.share < 1 or config.instances_per_relation is not None or config.read_novel:
        made = replace(made, cuts=(*(corpus.cuts or (before,)), made.after("data.pseudo_novel")))
    return LoadedData(made, loaded.gold)


def choose_hidden(relations: tuple[str, ...], config: PseudoNovelConfig) -> frozenset[str]:
    """Return group `fold` of the disjoint groups into which the seed shuffles the relations.

    The names are sorted first, so that the groups don't depend on the order of a file.

    Raises:
        DataError: If there are too few relations for that fold, or fewer than 2 would stay known.
    """
    available, size = len(relations), config.num_relations
    if available - size < 2:
        raise DataError(
            f"at least 2 relations must stay known, but `data.pseudo_novel.num_relations` hides {size} "
            f"of {available}; set it to at most {available - 2}"
        )
    if (config.fold + 1) * size > available:
        raise DataError(
            f"fold {config.fold} of {size} hidden relations needs {(config.fold + 1) * size} known "
            f"relations, but there are {available}; set `data.pseudo_novel.fold` "
            f"to at most {available // size - 1}"
        )
    order = np.random.default_rng(config.seed).permutation(available)
    names = sorted(relations)
    return frozenset(names[i] for i in order[config.fold * size : (config.fold + 1) * size])


def _even_out(
    corpus: Corpus, hidden: frozenset[str], config: PseudoNovelConfig, real: UnlabeledData | None
) -> Corpus:
    """Leave each hidden relation as many instances as any other, and the rest as it is."""
    is_hidden = np.array([name in hidden for name in corpus.known_relations])
    counts = np.bincount(corpus.known_labels)
    number = int(counts[is_hidden].min())
    if config.instances_per_relation == "real":
        assert real is not None
        mean = config.share * len(real.rows) / real.num_relations
        number = min(number, max(FEWEST, round(mean)))
    elif isinstance(config.instances_per_relation, int):
        number = min(number, config.instances_per_relation)
    return keep_first(corpus, np.where(is_hidden, number, counts), config.seed)


def _with_real(loaded: LoadedData, real: UnlabeledData, seed: int) -> LoadedData:
    """Put as many real novel sentences beside the hidden ones, or all that there are; they have no gold."""
    corpus, gold = loaded.corpus, loaded.gold
    assert gold is not None
    pool, first = corpus.known, 0
    if real.source is not pool:
        pool, first = Source.joined(pool, real.source), len(pool.sentences)
    drawn = _draw(real.rows + first, len(corpus.novel_rows), seed)
    joined = replace(
        corpus,
        known=pool,
        novel=pool,
        novel_rows=np.concatenate([corpus.novel_rows, drawn]),
        num_novel_relations=corpus.num_novel_relations + real.num_relations,
    )
    absent = len(pool.sentences) - len(gold.relations)
    return LoadedData(joined, NovelGold((*gold.relations, *(None,) * absent)))


def _draw(rows: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng([seed, REAL]).permutation(rows)[:size])


def hide_relations(corpus: Corpus, hidden: frozenset[str]) -> LoadedData:
    """Make the instances of some known relations the unlabeled ones, in place of those that there are.

    The known pool serves as both pools, the same object. The names of the hidden relations become gold, and leave the
    corpus.

    Args:
        corpus: With known relations, the hidden ones among them.
        hidden: Names.
    """
    names, rows, labels = corpus.known_relations, corpus.known_rows, corpus.known_labels
    is_hidden = np.array([name in hidden for name in names])[labels]
    gold: list[str | None] = [None] * len(corpus.known.sentences)
    for row, label in zip(rows[is_hidden].tolist(), labels[is_hidden].tolist(), strict=True):
        gold[row] = names[label]
    return LoadedData(
        replace(
            keep_labeled(corpus, ~is_hidden),
            novel=corpus.known,
            novel_rows=rows[is_hidden],
            num_novel_relations=len(hidden),
        ),
        NovelGold(tuple(gold)),
    )
