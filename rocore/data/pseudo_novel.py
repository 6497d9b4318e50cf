"""Hide some known relations: an objective for the search that needs no gold of the novel ones."""

from dataclasses import replace

import numpy as np

from rocore.config import PseudoNovelConfig
from rocore.data.instance import Corpus, LoadedData, NovelGold
from rocore.data.subset import keep_labeled
from rocore.errors import DataError


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
