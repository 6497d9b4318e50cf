"""Use a part of the labeled instances: `data.subset`.

Rows are chosen, the pools stay as they are: a part finds the trunk of the whole data in the cache. Each relation has an
order of its instances and the relations have one of theirs, both seeded and both the same whatever else is cut; a cut
takes the first of an order. So a larger number contains what a smaller one chooses. Instances that are left out of a
relation stay spare: known test instances are drawn from them, too, and those are the same whatever the numbers.
"""

import hashlib
from bisect import bisect_right
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rocore.config import SubsetConfig
from rocore.data.instance import Corpus, Rows
from rocore.errors import DataError

RELATIONS, INSTANCES = 2, 3
"""Streams of the seed."""
FEWEST = 2
"""Instances that a known relation must have."""


def take_subset(corpus: Corpus, config: SubsetConfig) -> Corpus:
    """Leave out known relations, then instances of each, then instances in all.

    The last are spread as evenly as the relations allow: each gives as many as any other, or all that it has; what
    remains is given by one more of the first relations of the order.

    Raises:
        DataError: If there are fewer relations or instances than are asked for, or fewer than 2 would be left of a
            relation.
    """
    whole = replace(corpus, cuts=corpus.cuts or (corpus.after("files"),))
    if config.num_known_relations is not None:
        whole = _keep_relations(whole, config.num_known_relations, config.seed)
        whole = _noted(whole, whole, "num_known_relations")
    corpus, shares = whole, np.bincount(whole.known_labels, minlength=whole.num_known_relations)
    if config.instances_per_relation is not None:
        shares = np.minimum(shares, config.instances_per_relation)
        corpus = _noted(keep_first(whole, shares, config.seed), corpus, "instances_per_relation")
    if config.num_labeled is not None:
        shares = _spread(shares, config.num_labeled, _order(whole.known_relations, config.seed))
        corpus = _noted(keep_first(whole, shares, config.seed), corpus, "num_labeled")
    return corpus


def keep_labeled(corpus: Corpus, is_kept: NDArray[np.bool_]) -> Corpus:
    """Leave out labeled instances, and the relations that have none left; ids are given anew, in the old order.

    Nothing stays spare: what follows may use no other labels than those that are kept.

    Args:
        corpus: Any.
        is_kept: (N,) of `known_rows`.
    """
    labels = corpus.known_labels[is_kept]
    kept, renumbered = np.unique(labels, return_inverse=True)
    return replace(
        corpus,
        known_rows=corpus.known_rows[is_kept],
        known_labels=renumbered.astype(np.int64),
        known_relations=tuple(corpus.known_relations[label] for label in kept.tolist()),
        spare_rows=labels[:0],
        spare_labels=labels[:0],
    )


def keep_first(corpus: Corpus, shares: Rows, seed: int) -> Corpus:
    """Keep the first `shares` (C_l,) instances in the order of each relation; the others stay spare."""
    is_kept = np.zeros(len(corpus.known_rows), dtype=bool)
    spare = [np.empty(0, dtype=np.int64)]
    for label, (name, share) in enumerate(zip(corpus.known_relations, shares.tolist(), strict=True)):
        number = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8])
        rng = np.random.default_rng([seed, INSTANCES, number])
        order = rng.permutation(np.flatnonzero(corpus.known_labels == label))
        is_kept[order[:share]] = True
        spare.append(order[share:])
    left_out = np.concatenate(spare)
    return replace(
        keep_labeled(corpus, is_kept),
        spare_rows=corpus.known_rows[left_out],
        spare_labels=corpus.known_labels[left_out],
    )


def _keep_relations(corpus: Corpus, num_relations: int, seed: int) -> Corpus:
    available = corpus.num_known_relations
    if num_relations > available:
        raise DataError(
            f"`data.subset.num_known_relations` must be at most the {available} known relations that there are, but "
            f"is {num_relations}; lower it"
        )
    is_kept = np.zeros(available, dtype=bool)
    is_kept[_order(corpus.known_relations, seed)[:num_relations]] = True
    return keep_labeled(corpus, is_kept[corpus.known_labels])


def _noted(corpus: Corpus, before: Corpus, key: str) -> Corpus:
    return replace(corpus, cuts=(*before.cuts, corpus.after(f"data.subset.{key}")))


def _order(relations: tuple[str, ...], seed: int) -> Rows:
    """Return ids of the relations in the seed's order, which doesn't depend on the order of a file."""
    by_name = np.array(sorted(range(len(relations)), key=relations.__getitem__))
    return by_name[np.random.default_rng([seed, RELATIONS]).permutation(len(relations))]


def _spread(counts: Rows, num_labeled: int, order: Rows) -> Rows:
    """Return (C_l,) how many instances each relation gives."""
    available, fewest = int(counts.sum()), FEWEST * len(counts)
    if num_labeled > available:
        raise DataError(
            f"`data.subset.num_labeled` must be at most the {available} labeled instances that there are, but is "
            f"{num_labeled}; lower it, or raise what else `data.subset` leaves out"
        )
    if num_labeled < fewest:
        raise DataError(
            f"`data.subset.num_labeled` must leave {FEWEST} instances of each of {len(counts)} known relations, but "
            f"is {num_labeled}; set it to at least {fewest}, or lower `data.subset.num_known_relations`"
        )
    levels = range(int(counts.max()) + 1)
    level = bisect_right(levels, num_labeled, key=lambda each: int(np.minimum(counts, each).sum())) - 1
    shares = np.minimum(counts, level)
    able = order[counts[order] > level]
    shares[able[: num_labeled - int(shares.sum())]] += 1
    return shares
