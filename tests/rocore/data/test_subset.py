import re
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from rocore.config import BuiltinConfig, DataConfig, PseudoNovelConfig, ResplitConfig, SubsetConfig
from rocore.data.instance import Cut
from rocore.data.load import load_data
from rocore.data.splits import make_splits
from rocore.data.subset import take_subset
from rocore.errors import DataError

COUNTS = {"a": 3, "b": 5, "c": 8, "d": 8, "e": 20}


@pytest.fixture
def base(write, lines, tmp_path):
    write("k.jsonl", lines(COUNTS, "k"))
    write("n.jsonl", lines({"x": 4, "y": 4}, "n"))
    return DataConfig(format="jsonl", root=str(tmp_path), known="k.jsonl", novel="n.jsonl")


def cut(base, **keys):
    return load_data(base.model_copy(update={"subset": SubsetConfig(**keys)})).corpus


def chosen(corpus):
    """Rows of the pool by relation."""
    names = [corpus.known_relations[label] for label in corpus.known_labels]
    return {
        name: {int(r) for r, n in zip(corpus.known_rows, names, strict=True) if n == name} for name in names
    }


def counts_of(corpus):
    return {name: len(rows) for name, rows in chosen(corpus).items()}


def test_subset_num_known_relations_keeps_whole_relations_and_renumbers(base):
    corpus = cut(base, num_known_relations=3)
    assert len(corpus.known_relations) == 3
    assert counts_of(corpus) == {name: COUNTS[name] for name in corpus.known_relations}
    assert sorted(set(corpus.known_labels.tolist())) == [0, 1, 2]
    whole = chosen(load_data(base).corpus)
    assert chosen(corpus) == {name: whole[name] for name in corpus.known_relations}


def test_subset_instances_per_relation_is_an_upper_bound(base):
    assert counts_of(cut(base, instances_per_relation=6)) == {"a": 3, "b": 5, "c": 6, "d": 6, "e": 6}


@pytest.mark.parametrize(
    ("num_labeled", "smallest"),
    [(10, [2, 2, 2, 2, 2]), (23, [3, 5, 5, 5, 5]), (32, [3, 5, 8, 8, 8]), (40, [3, 5, 8, 8, 16])],
)
def test_subset_num_labeled_is_spread_as_evenly_as_relations_allow(base, num_labeled, smallest):
    assert counts_of(cut(base, num_labeled=num_labeled)) == dict(zip("abcde", smallest, strict=True))


def test_subset_num_labeled_that_does_not_divide_differs_by_one_at_most(base):
    counts = counts_of(cut(base, num_labeled=12))
    assert sorted(counts.values()) == [2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("key", "numbers"),
    [
        ("num_known_relations", range(2, 6)),
        ("instances_per_relation", range(2, 21)),
        ("num_labeled", range(10, 45)),
    ],
)
def test_subset_of_a_larger_number_contains_that_of_a_smaller_one(base, key, numbers):
    rows = [set(cut(base, **{key: number}).known_rows.tolist()) for number in numbers]
    assert all(small <= large for small, large in pairwise(rows))
    assert rows[0] < rows[-1]


def test_subset_relation_keeps_the_same_instances_whatever_others_are_kept(base):
    few = chosen(cut(base, num_known_relations=2, instances_per_relation=3))
    all_ = chosen(cut(base, instances_per_relation=3))
    assert few == {name: all_[name] for name in few}


def test_subset_num_labeled_takes_the_first_of_instances_per_relation(base):
    both, wider, narrower = (
        chosen(cut(base, **keys))
        for keys in (
            {"instances_per_relation": 6, "num_labeled": 22},
            {"instances_per_relation": 5},
            {"instances_per_relation": 4},
        )
    )
    assert sorted(map(len, both.values())) == [3, 4, 5, 5, 5]
    assert all(narrower[name] <= both[name] <= wider[name] for name in COUNTS)


def test_subset_seed_changes_the_choice_and_the_runs_seed_does_not(base):
    first, second = cut(base, num_known_relations=2), cut(base, num_known_relations=2, seed=5)
    assert first.known_relations != second.known_relations
    first = cut(base, instances_per_relation=3)
    for seed in (0, 1):
        splits = make_splits(first, base, seed=seed, incremental=False)
        assert splits.known_train.tolist() == first.known_rows.tolist()
        assert not len(splits.known_test)


@pytest.mark.parametrize("seed", [0, 1])
def test_subset_of_instances_leaves_known_test_instances_as_they_are(base, seed):
    whole = load_data(base).corpus
    splits = {
        number: make_splits(cut(base, num_labeled=number), base, seed=seed, incremental=True)
        for number in (10, 12, 25, 44)
    }
    expected = make_splits(whole, base, seed=seed, incremental=True)
    assert len(expected.known_test) == round(len(whole.known_rows) / 7)
    for number, found in splits.items():
        np.testing.assert_array_equal(found.known_test, expected.known_test)
        assert not set(found.known_train) & set(found.known_test)
        # A relation whose every instance is asked for has none to put in a test instance's place.
        counts = np.bincount(whole.labels_of(found.known_train), minlength=len(COUNTS))
        room = np.bincount(whole.labels_of(expected.known_train), minlength=len(COUNTS))
        asked = np.bincount(cut(base, num_labeled=number).known_labels, minlength=len(COUNTS))
        np.testing.assert_array_equal(counts, np.minimum(asked, room))
    assert all(set(small.known_train) <= set(large.known_train) for small, large in pairwise(splits.values()))
    np.testing.assert_array_equal(splits[44].known_train, expected.known_train)


def test_subset_labels_of_test_instances_that_it_left_out_are_known(base):
    part, whole = cut(base, num_labeled=10), load_data(base).corpus
    rows = np.arange(len(whole.known.sentences))
    np.testing.assert_array_equal(part.labels_of(rows), whole.labels_of(rows))
    few = cut(base, num_known_relations=2, num_labeled=4)
    names = [few.known_relations[label] for label in few.labels_of(rows) if label >= 0]
    assert len(names) == sum(COUNTS[name] for name in few.known_relations)


def test_subset_does_not_depend_on_the_order_of_relations_in_a_file(base, write, lines):
    before = cut(base, num_known_relations=3, num_labeled=11)
    write("k.jsonl", lines(dict(reversed(COUNTS.items())), "k"))
    after = cut(base, num_known_relations=3, num_labeled=11)
    assert counts_of(before) == counts_of(after)


def test_subset_leaves_pools_and_novel_side_as_they_are(base):
    whole, part = load_data(base), load_data(base.model_copy(update={"subset": SubsetConfig(num_labeled=12)}))
    assert [pool.fingerprint for pool in part.corpus.pools] == [
        pool.fingerprint for pool in whole.corpus.pools
    ]
    np.testing.assert_array_equal(part.corpus.novel_rows, whole.corpus.novel_rows)
    assert part.gold == whole.gold


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        (
            {"num_known_relations": 6},
            r"num_known_relations` must be at most the 5 known .* but is 6; lower it",
        ),
        ({"num_labeled": 45}, "num_labeled` must be at most the 44 labeled instances .* but is 45; lower it"),
        ({"instances_per_relation": 2, "num_labeled": 11}, "must be at most the 10 labeled instances"),
        ({"num_labeled": 9}, "must leave 2 instances of each of 5 known .* but is 9; set it to at least 10"),
    ],
)
def test_subset_that_is_impossible_raises(base, keys, match):
    with pytest.raises(DataError, match=match):
        cut(base, **keys)


@pytest.mark.parametrize(
    ("key", "value"), [("num_known_relations", 1), ("instances_per_relation", 1), ("num_labeled", 3)]
)
def test_subset_below_what_training_needs_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        SubsetConfig(**{key: value})


def test_subset_acts_before_relations_are_hidden(base):
    config = base.model_copy(
        update={
            "subset": SubsetConfig(num_known_relations=4, instances_per_relation=4),
            "pseudo_novel": PseudoNovelConfig(num_relations=2),
        }
    )
    kept = cut(base, num_known_relations=4, instances_per_relation=4)
    loaded = load_data(config)
    hidden = loaded.gold.of(loaded.corpus.novel_rows)[1]
    assert {*hidden, *loaded.corpus.known_relations} == set(kept.known_relations)
    assert sorted([*loaded.corpus.known_rows, *loaded.corpus.novel_rows]) == kept.known_rows.tolist()
    # A search uses no label that its runs don't have: its test instances are of the cut.
    splits = make_splits(loaded.corpus, config, seed=0, incremental=True)
    assert len(splits.known_test)
    assert set(splits.known_test) < set(loaded.corpus.known_rows)
    few = config.model_copy(update={"subset": SubsetConfig(num_known_relations=3)})
    with pytest.raises(DataError, match=r"at least 2 relations must stay known, but .* hides 2 of 3"):
        load_data(few)


def test_load_data_all_cuts_apply_in_their_order_and_say_what_they_left(base):
    config = base.model_copy(
        update={
            "resplit": ResplitConfig(num_novel_relations=2),
            "subset": SubsetConfig(num_known_relations=4, instances_per_relation=4, num_labeled=12),
        }
    )
    corpus = load_data(config).corpus
    assert [entry.key for entry in corpus.cuts] == [
        "files",
        "data.resplit",
        "data.subset.num_known_relations",
        "data.subset.instances_per_relation",
        "data.subset.num_labeled",
    ]
    assert corpus.cuts[0] == Cut("files", 7, 52, 0)
    assert corpus.cuts[1].num_known_relations == 5
    assert corpus.cuts[-1] == corpus.after("data.subset.num_labeled")
    assert (corpus.num_known_relations, len(corpus.known_rows)) == (4, 12)
    assert load_data(base).corpus.cuts == ()


def test_cut_fingerprint_tells_cuts_apart(base):
    corpora = [
        load_data(base).corpus,
        cut(base, num_labeled=12),
        cut(base, num_labeled=12, seed=1),
        cut(base, num_labeled=13),
        load_data(base.model_copy(update={"resplit": ResplitConfig(num_novel_relations=2)})).corpus,
    ]
    found = [corpus.cut_fingerprint for corpus in corpora]
    assert found[0] is None
    assert len(set(found)) == len(found)
    assert re.fullmatch("[0-9a-f]{64}", found[1])
    assert cut(base, num_labeled=12).cut_fingerprint == found[1]
    spare = [corpus.cut_fingerprint_with_spare for corpus in corpora]
    # Nothing is spare in the first and the last; the others' test instances may be spare ones.
    assert [one == other for one, other in zip(found, spare, strict=True)] == [
        True,
        False,
        False,
        False,
        True,
    ]


def test_take_subset_without_numbers_changes_nothing(base):
    corpus = load_data(base).corpus
    assert take_subset(corpus, SubsetConfig(seed=3)).known_rows is corpus.known_rows


def test_subset_of_the_builtin_corpus_is_taken(base):
    builtin = BuiltinConfig(num_known_relations=5, num_novel_relations=3, instances_per_relation=8)
    corpus = load_data(DataConfig(builtin=builtin, subset=SubsetConfig(num_labeled=13))).corpus
    assert sorted(counts_of(corpus).values()) == [2, 2, 3, 3, 3]
