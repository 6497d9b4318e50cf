"""Hide some known relations: an objective for the search that needs no gold of the novel ones."""

import numpy as np
from numpy.typing import NDArray

from rocore.config import PseudoNovelConfig
from rocore.data.instance import Corpus, LoadedData, NovelGold, Source
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


def hide_known_relations(
    known: Source,
    labels: NDArray[np.int64],
    relations: tuple[str, ...],
    config: PseudoNovelConfig,
    *,
    synthetic: bool = False,
    files: dict[str, str] | None = None,
) -> LoadedData:
    """Split the known pool by relation: one group becomes unlabeled, its names become gold.

    Args:
        known: The pool; it becomes `Corpus.known` and `Corpus.novel`, the same object.
        labels: (N,) relation ids of the whole pool.
        relations: Names, by relation id.
        config: Which relations are hidden.
        synthetic: Passed on.
        files: Passed on.

    Raises:
        DataError: If there are too few relations.
    """
    hidden = choose_hidden(relations, config)
    is_hidden = np.array([name in hidden for name in relations])[labels]
    kept = tuple(name for name in relations if name not in hidden)
    renumbered = np.array([kept.index(name) if name in kept else -1 for name in relations], dtype=np.int64)
    known_rows = np.flatnonzero(~is_hidden)
    corpus = Corpus(
        known=known,
        known_rows=known_rows,
        known_labels=renumbered[labels[known_rows]],
        known_relations=kept,
        novel=known,
        novel_rows=np.flatnonzero(is_hidden),
        num_novel_relations=config.num_relations,
        synthetic=synthetic,
        files=dict(files or {}),
    )
    gold = NovelGold(tuple(relations[i] if h else None for i, h in zip(labels, is_hidden, strict=True)))
    return LoadedData(corpus, gold)
