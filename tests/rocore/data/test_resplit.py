import json
import random

import numpy as np
import pytest

from rocore.config import BuiltinConfig, DataConfig, PseudoNovelConfig, ResplitConfig
from rocore.data.load import load_data
from rocore.data.resplit import draw_novel
from rocore.data.splits import make_splits
from rocore.data.validation import validate
from rocore.errors import DataError

NAMES = ("a", "b", "c", "d", "e", "x", "y")


def write_roles(write, known, novel):
    def lines(relations, word):
        records = (
            {"tokens": [f"{word}{i}", "met", "Curie"], "head": [0, 1], "tail": [2, 3], "relation": name}
            for i, name in enumerate(relations)
        )
        return "".join(json.dumps(record) + "\n" for record in records)

    write("k.jsonl", lines(known, "k"))
    write("n.jsonl", lines(novel, "n"))


@pytest.fixture
def base(write, tmp_path):
    write_roles(write, [*"abcde"] * 4, [*"xy"] * 4)
    config = {"format": "jsonl", "root": str(tmp_path), "known": "k.jsonl", "novel": "n.jsonl"}
    return DataConfig(**config, resplit={"num_novel_relations": 3, "seed": 1})


def names_of(corpus):
    return [corpus.known_relations[label] for label in corpus.known_labels]


def test_resplit_deals_the_relations_of_both_files(base):
    loaded = load_data(base)
    corpus, novel = loaded.corpus, draw_novel(NAMES, base.resplit)
    assert len(novel & set("abcde")) > 0
    assert set(corpus.known_relations) == set(NAMES) - novel
    assert corpus.num_novel_relations == 3
    assert sorted([*corpus.known_rows, *corpus.novel_rows]) == list(range(28))
    whole = [*[*"abcde"] * 4, *[*"xy"] * 4]
    assert names_of(corpus) == [whole[row] for row in corpus.known_rows]
    assert loaded.gold.of(corpus.novel_rows)[1] == [whole[row] for row in corpus.novel_rows]


def test_resplit_gold_is_of_novel_instances_alone_and_names_stand_nowhere_else(base):
    loaded = load_data(base)
    assert loaded.gold.of(loaded.corpus.known_rows)[1] == []
    assert not set(loaded.corpus.known_relations) & set(loaded.gold.of(loaded.corpus.novel_rows)[1])
    assert not [finding for finding in validate(loaded, None) if finding.severity == "error"]


def test_resplit_keeps_the_pools_of_the_files_for_the_trunk(base):
    plain = load_data(base.model_copy(update={"resplit": None})).corpus
    corpus = load_data(base).corpus
    assert [pool.fingerprint for pool in corpus.pools] == [pool.fingerprint for pool in plain.pools]
    assert corpus.known.sentences == (*plain.known.sentences, *plain.novel.sentences)
    assert [corpus.known.place(row) for row in (0, 20)] == ["k.jsonl line 1", "n.jsonl line 1"]


def test_resplit_with_permuted_novel_gold_gives_the_same_corpus_and_splits(base, write):
    """What training may see depends on which instances are novel, and not on their relations."""
    before = load_data(base)
    whole = [*[*"abcde"] * 4, *[*"xy"] * 4]
    rows = before.corpus.novel_rows.tolist()
    gold = [whole[row] for row in rows]
    random.Random(2).shuffle(gold)
    for row, name in zip(rows, gold, strict=True):
        whole[row] = name
    write_roles(write, whole[:20], whole[20:])
    after = load_data(base)
    assert after.gold != before.gold
    for name in ("known_rows", "known_labels", "novel_rows"):
        np.testing.assert_array_equal(getattr(after.corpus, name), getattr(before.corpus, name))
    for name in ("known", "novel", "known_relations", "num_novel_relations", "cuts", "cut_fingerprint"):
        assert getattr(after.corpus, name) == getattr(before.corpus, name)
    splits = [make_splits(each.corpus, base, seed=0, incremental=True) for each in (before, after)]
    np.testing.assert_array_equal(splits[0].novel_test, splits[1].novel_test)


def test_resplit_then_hidden_relations_leave_no_novel_instance(base):
    novel = set(load_data(base).corpus.novel_rows.tolist())
    loaded = load_data(base.model_copy(update={"pseudo_novel": PseudoNovelConfig(num_relations=2)}))
    used = {*loaded.corpus.known_rows.tolist(), *loaded.corpus.novel_rows.tolist()}
    assert used == set(range(28)) - novel
    assert loaded.gold.of(np.array(sorted(novel)))[1] == []
    assert loaded.corpus.num_novel_relations == 2


def test_resplit_of_one_file_needs_no_novel_one(base):
    one = base.model_copy(update={"novel": ()})
    corpus = load_data(one).corpus
    assert corpus.pools == (corpus.known,)
    assert (corpus.num_known_relations, corpus.num_novel_relations) == (2, 3)


def test_resplit_with_a_given_number_of_clusters_keeps_it(base):
    assert load_data(base.model_copy(update={"num_novel_relations": 9})).corpus.num_novel_relations == 9


def test_resplit_of_the_builtin_corpus_is_made():
    builtin = BuiltinConfig(num_known_relations=3, num_novel_relations=3, instances_per_relation=8)
    corpus = load_data(DataConfig(builtin=builtin, resplit=ResplitConfig(num_novel_relations=2))).corpus
    assert (corpus.num_known_relations, len(corpus.novel_rows)) == (4, 16)


def test_resplit_of_tacred_takes_its_file_once(write, tmp_path):
    record = {"token": ["a", "b"], "subj_start": 0, "subj_end": 0, "obj_start": 1, "obj_end": 1}
    relations = ["per:title", "no_relation", "per:charges", "org:founded", "per:age"]
    write("t.json", [record | {"relation": r} for r in relations])
    files = {"root": str(tmp_path), "known": "t.json", "novel": "t.json"}
    loaded = load_data(DataConfig(format="tacred", **files, resplit={"num_novel_relations": 2}))
    assert len(loaded.corpus.known_rows) + len(loaded.corpus.novel_rows) == 4


def test_resplit_of_a_file_that_stands_in_both_roles_raises(base):
    with pytest.raises(
        DataError, match=r"deals every instance once, but 20 .* the first at k\.jsonl line 1; name"
    ):
        load_data(base.model_copy(update={"novel": ("k.jsonl",)}))


def test_resplit_of_an_instance_without_relation_raises(base, write):
    write_roles(write, [*"abcde"], ["x", None])
    with pytest.raises(
        DataError, match=r"n\.jsonl line 2: an instance must carry a relation where `data.resplit`"
    ):
        load_data(base)


@pytest.mark.parametrize(
    ("size", "available", "match"),
    [
        (6, 7, "takes 6 of 7; set it to at most 5"),
        (9, 7, "takes 9 of 7"),
        (2, 3, "takes 2 of 3; add relations"),
    ],
)
def test_draw_novel_of_too_many_raises(size, available, match):
    with pytest.raises(DataError, match=f"at least 2 relations must stay known, but .* {match}"):
        draw_novel(NAMES[:available], ResplitConfig(num_novel_relations=size))


def test_draw_novel_is_nested_seeded_and_independent_of_order():
    def draw(num, seed=0, names=NAMES):
        return draw_novel(names, ResplitConfig(num_novel_relations=num, seed=seed))

    assert draw(2) < draw(3) < draw(5)
    assert draw(3) == draw(3, names=NAMES[::-1])
    assert len({draw(3, seed) for seed in range(5)}) > 1
