import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rocore.config import DataConfig
from rocore.data.instance import Corpus, Sentence, Source
from rocore.data.splits import load_splits, make_splits, save_splits
from rocore.errors import ConfigError, DataError


def corpus_of(counts, num_novel=70, offset=0):
    """A corpus whose rows start at `offset` and stand every second row of the pools."""
    labels = np.repeat(np.arange(len(counts)), counts)
    known_rows = offset + 2 * np.arange(len(labels))
    novel_rows = offset + 2 * np.arange(num_novel)
    pool = Source((Sentence("a b", (0, 1), (2, 3)),) * (offset + 2 * max(len(labels), num_novel) + 1), "pool")
    names = tuple(f"P{i}" for i in range(len(counts)))
    return Corpus(pool, known_rows, labels, names, pool, novel_rows, num_novel_relations=3)


def config_of(**keys):
    return DataConfig(format=keys.pop("format", "jsonl"), known="k", novel="n", **keys)


@pytest.mark.parametrize(
    ("size", "data_format", "expected"),
    [
        (None, "fewrel", 1600),
        (None, "builtin", 1600),
        (None, "jsonl", 1600),
        (None, "tacred", 1680),
        (0.5, "jsonl", 5600),
        (123, "jsonl", 123),
        (1e-9, "jsonl", 1),
    ],
)
def test_make_splits_novel_size_follows_format_or_config(size, data_format, expected):
    config = config_of(format=data_format, novel_test_size=size)
    splits = make_splits(corpus_of([5, 5], 11200), config, seed=0, incremental=False)
    assert (len(splits.novel_test), len(splits.novel_train)) == (expected, 11200 - expected)


@pytest.mark.parametrize(
    ("size", "incremental", "expected"),
    [(None, False, 0), (None, True, 20), (0.5, False, 70), (33, True, 33), (0, True, 0)],
)
def test_make_splits_known_size_follows_mode_or_config(size, incremental, expected):
    splits = make_splits(
        corpus_of([70, 70]), config_of(known_test_size=size), seed=0, incremental=incremental
    )
    assert len(splits.known_test) == expected


@settings(deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 5),
)
def test_make_splits_any_corpus_gives_sorted_disjoint_covering_rows(counts, share, seed, offset):
    corpus = corpus_of(counts, 20, offset)
    num_test = int(share * (sum(counts) - len(counts) + 1))
    config = config_of(known_test_size=num_test if num_test else 0)
    splits = make_splits(corpus, config, seed=seed, incremental=True)
    for train, test, rows in (
        (splits.known_train, splits.known_test, corpus.known_rows),
        (splits.novel_train, splits.novel_test, corpus.novel_rows),
    ):
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), rows)
    label_of = dict(zip(corpus.known_rows.tolist(), corpus.known_labels.tolist(), strict=True))
    assert {label_of[row] for row in splits.known_train.tolist()} == set(range(len(counts)))
    assert len(splits.known_test) == num_test


def test_make_splits_known_side_is_stratified():
    corpus = corpus_of([100, 40, 10])
    splits = make_splits(corpus, config_of(known_test_size=0.2), seed=3, incremental=False)
    label_of = dict(zip(corpus.known_rows.tolist(), corpus.known_labels.tolist(), strict=True))
    assert np.bincount([label_of[row] for row in splits.known_test.tolist()]).tolist() == [20, 8, 2]


def test_make_splits_same_seed_same_rows_other_seed_other_rows():
    corpus, config = corpus_of([50, 50]), config_of()
    first, again, other = (make_splits(corpus, config, seed=s, incremental=True) for s in (1, 1, 2))
    for name in ("known_train", "known_test", "novel_train", "novel_test"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.novel_test.tolist() != other.novel_test.tolist()
    assert first.known_test.tolist() != other.known_test.tolist()


def test_make_splits_novel_rows_do_not_depend_on_mode():
    corpus, config = corpus_of([50, 50]), config_of()
    standard, incremental = (make_splits(corpus, config, seed=1, incremental=i) for i in (False, True))
    np.testing.assert_array_equal(standard.novel_test, incremental.novel_test)


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        ({"novel_test_size": 70}, DataError, "leave novel instances to train on, but takes 70 of 70"),
        ({"novel_test_size": 1.5}, ConfigError, "fraction below 1 or a whole number, but got 1.5"),
        ({"known_test_size": 2.5}, ConfigError, "known_test_size` must be a fraction"),
        ({"known_test_size": 9}, DataError, "takes 9 of 10 instances of 2 relations; set it to at most 8"),
    ],
)
def test_make_splits_bad_size_raises(keys, error, match):
    with pytest.raises(error, match=match):
        make_splits(corpus_of([5, 5]), config_of(**keys), seed=0, incremental=False)


def test_save_splits_then_load_gives_the_same_rows(tmp_path):
    splits = make_splits(corpus_of([5, 5]), config_of(), seed=0, incremental=False)
    save_splits(splits, tmp_path / "splits.json")
    loaded = load_splits(tmp_path / "splits.json")
    for name in ("known_train", "known_test", "novel_train", "novel_test"):
        array = getattr(loaded, name)
        assert array.dtype == np.int64
        np.testing.assert_array_equal(array, getattr(splits, name))
    assert [path.name for path in tmp_path.iterdir()] == ["splits.json"]


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", '{"known_train": ["x"]}'])
def test_load_splits_bad_file_raises(tmp_path, content):
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"splits must be readable from .*splits\.json"):
        load_splits(path)
