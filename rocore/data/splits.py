"""Train and test rows. Nothing here is ever handed gold relations of novel instances."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rocore.config import DataConfig
from rocore.data.instance import Corpus, Rows, Splits
from rocore.errors import ConfigError, DataError
from rocore.outputs import write_atomically

NOVEL_TEST_SIZE = {"fewrel": 1 / 7, "builtin": 1 / 7, "jsonl": 1 / 7, "tacred": 0.15}
"""The paper's: 1,600 of FewRel's 11,200 novel instances, 15% of TACRED's."""
KNOWN_TEST_SIZE_INCREMENTAL = 1 / 7
FIELDS = ("known_train", "known_test", "novel_train", "novel_test")


def make_splits(corpus: Corpus, config: DataConfig, *, seed: int, incremental: bool) -> Splits:
    """Split both roles; the novel side at random and never by relation, the known side by relation.

    Each side has a random stream of its own: the novel split is the same with and without incremental mode. Known test
    instances are drawn from spare ones, too, before any cut: `data.subset` doesn't change them. Where one was chosen
    by the cut, the next spare one of its relation is trained on instead, while there are any.

    Returns:
        Rows of the pools, each sorted ascending.

    Raises:
        ConfigError: If a test size isn't a fraction or a whole number.
        DataError: If a test size leaves no training instance.
    """
    novel_rng, known_rng = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    novel_size = config.novel_test_size
    if novel_size is None:
        novel_size = NOVEL_TEST_SIZE[config.format_of("known" if config.pseudo_novel else "novel")]
    num_test = max(1, _count("novel_test_size", novel_size, len(corpus.novel_rows)))
    if num_test >= len(corpus.novel_rows):
        raise DataError(
            f"`data.novel_test_size` must leave novel instances to train on, but takes {num_test} of "
            f"{len(corpus.novel_rows)}; set it lower"
        )
    shuffled = novel_rng.permutation(corpus.novel_rows)
    rows = np.sort(np.concatenate([corpus.known_rows, corpus.spare_rows]))
    num_known_test = _count_known_test(config, len(rows), incremental)
    known_test = rows[_stratify(corpus.labels_of(rows), num_known_test, known_rng)]
    return Splits(
        known_train=_known_train(corpus, known_test),
        known_test=known_test,
        novel_train=np.sort(shuffled[num_test:]),
        novel_test=np.sort(shuffled[:num_test]),
    )


def count_labeled_per_epoch(corpus: Corpus, config: DataConfig, *, incremental: bool) -> int | None:
    """Return over how many labeled instances an epoch counts its steps; None: over those that are trained on.

    Raises:
        ConfigError: If a test size isn't a fraction or a whole number.
        DataError: If a test size leaves no training instance.
    """
    asked = config.pseudo_novel.labeled_per_epoch if config.pseudo_novel else None
    if not isinstance(asked, str):
        return asked
    assert corpus.counts_with_hidden is not None
    kept, spare = corpus.counts_with_hidden
    counts = kept + spare
    tested = _tested(counts, _count_known_test(config, int(counts.sum()), incremental))
    return int(np.minimum(kept, counts - tested).sum())


def _count_known_test(config: DataConfig, num_labeled: int, incremental: bool) -> int:
    size = config.known_test_size
    if size is None:
        size = KNOWN_TEST_SIZE_INCREMENTAL if incremental else 0
    return _count("known_test_size", size, num_labeled)


def _known_train(corpus: Corpus, known_test: Rows) -> Rows:
    """Return as many rows of each relation as were chosen, none of them a test row."""
    is_test = np.isin(corpus.known_rows, known_test)
    lost = np.bincount(corpus.known_labels[is_test], minlength=corpus.num_known_relations)
    is_free = ~np.isin(corpus.spare_rows, known_test)
    spare_rows, spare_labels = corpus.spare_rows[is_free], corpus.spare_labels[is_free]
    instead = [spare_rows[spare_labels == label][:count] for label, count in enumerate(lost.tolist())]
    return np.sort(np.concatenate([corpus.known_rows[~is_test], *instead]))


def _count(key: str, size: float, available: int) -> int:
    if size < 1:
        return round(size * available)
    if size != int(size):
        raise ConfigError(f"`data.{key}` must be a fraction below 1 or a whole number, but got {size}")
    return int(size)


def _stratify(labels: Rows, num_test: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return (N,) which instances are tested: shares by relation, at least one of each left to train on."""
    is_test = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(_tested(np.bincount(labels), num_test)):
        is_test[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return is_test


def _tested(counts: Rows, num_test: int) -> Rows:
    """Return (C_l,) how many instances of each relation are tested."""
    room = np.maximum(counts - 1, 0)
    if num_test > room.sum():
        raise DataError(
            f"`data.known_test_size` must leave one instance of each known relation to train on, but "
            f"takes {num_test} of {counts.sum()} instances of {len(counts)} relations; "
            f"set it to at most {room.sum()}"
        )
    ideal = counts * num_test / max(1, int(counts.sum()))
    taken = np.minimum(np.floor(ideal).astype(np.int64), room)
    while (short := num_test - taken.sum()) > 0:
        order = np.argsort(np.where(taken < room, taken - ideal, np.inf), kind="stable")
        taken[order[: min(short, int((taken < room).sum()))]] += 1
    return taken


def save_splits(splits: Splits, path: Path) -> None:
    """Write the rows as JSON, under a temporary name first."""
    write_atomically(path, json.dumps({name: getattr(splits, name).tolist() for name in FIELDS}) + "\n")


def load_splits(path: Path) -> Splits:
    """Read what `save_splits` wrote.

    Raises:
        DataError: If the file is absent or holds anything else.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        rows = {name: np.array(tree[name], dtype=np.int64).reshape(-1) for name in FIELDS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"splits must be readable from {path}, but {type(error).__name__}: {error}; "
            "train again, or restore the file"
        ) from error
    return Splits(**rows)
