"""What of the data the search's objective trains on, and that no relation of a real novel instance gets there."""

from collections import Counter
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest

from rocore.config import DataConfig, PseudoNovelConfig
from rocore.data.instance import UnlabeledData
from rocore.data.load import load_data, load_known
from rocore.data.pseudo_novel import choose_hidden
from rocore.data.splits import count_labeled_per_epoch, make_splits
from rocore.errors import ConfigError

COUNTS = {"a": 12, "b": 9, "c": 20, "d": 16, "e": 11, "f": 14}
NOVEL = {"x": 7, "y": 5, "z": 3}
NUM_NOVEL = sum(NOVEL.values())
HIDE = {"num_relations": 3, "seed": 1}


@pytest.fixture
def base(write, lines, tmp_path):
    write("k.jsonl", lines(COUNTS, "k"))
    write("n.jsonl", lines(NOVEL, "n"))
    return DataConfig(format="jsonl", root=str(tmp_path), known="k.jsonl", novel="n.jsonl")


def hide(base, **keys):
    return base.model_copy(update={"pseudo_novel": PseudoNovelConfig(**HIDE, **keys)})


def hidden_counts(loaded):
    return Counter(loaded.gold.of(loaded.corpus.novel_rows)[1])


def known_counts(corpus):
    return Counter(corpus.known_relations[label] for label in corpus.known_labels.tolist())


HIDDEN = choose_hidden(tuple(COUNTS), PseudoNovelConfig(**HIDE))
SMALLEST = min(COUNTS[name] for name in HIDDEN)


@pytest.mark.parametrize(
    ("asked", "number"), [("equal", SMALLEST), (4, 4), (1000, SMALLEST), ("real", NUM_NOVEL // 3)]
)
def test_instances_per_relation_is_the_same_of_all_hidden_ones(base, asked, number):
    loaded = load_data(hide(base, instances_per_relation=asked))
    assert hidden_counts(loaded) == dict.fromkeys(HIDDEN, number)
    assert known_counts(loaded.corpus) == {name: COUNTS[name] for name in COUNTS.keys() - HIDDEN}


def test_instances_per_relation_null_leaves_them_as_they_are(base):
    loaded = load_data(hide(base))
    assert hidden_counts(loaded) == {name: COUNTS[name] for name in HIDDEN}
    assert loaded.corpus.cuts == ()


def test_instances_per_relation_of_a_larger_number_contain_those_of_a_smaller_one(base):
    rows = [
        set(load_data(hide(base, instances_per_relation=n)).corpus.novel_rows.tolist()) for n in (2, 4, 8)
    ]
    assert all(small < large for small, large in pairwise(rows))


def test_share_cuts_each_relation_and_hides_the_same_ones(base):
    loaded = load_data(hide(base, share=0.5))
    assert hidden_counts(loaded) == {name: round(COUNTS[name] / 2) for name in HIDDEN}
    assert known_counts(loaded.corpus) == {name: round(COUNTS[name] / 2) for name in COUNTS.keys() - HIDDEN}
    assert [cut.key for cut in loaded.corpus.cuts] == ["files", "data.pseudo_novel"]


def test_share_leaves_two_instances_of_each_relation(base):
    loaded = load_data(hide(base, share=0.01))
    assert {*hidden_counts(loaded).values(), *known_counts(loaded.corpus).values()} == {2}


def test_share_follows_the_seed(base):
    rows = [
        load_data(
            base.model_copy(update={"pseudo_novel": PseudoNovelConfig(num_relations=3, seed=seed, share=0.5)})
        ).corpus
        for seed in (1, 1, 2)
    ]
    assert rows[0].cut_fingerprint == rows[1].cut_fingerprint != rows[2].cut_fingerprint


def test_read_novel_adds_as_many_real_sentences_without_gold(base):
    loaded = load_data(hide(base, read_novel=True, instances_per_relation=4))
    corpus = loaded.corpus
    texts = [corpus.novel.sentences[row].text for row in corpus.novel_rows]
    assert Counter(text[0] for text in texts) == {"k": 12, "n": 12}
    assert corpus.num_novel_relations == 3 + 3
    positions, relations = loaded.gold.of(corpus.novel_rows)
    assert {texts[position][0] for position in positions} == {"k"}
    assert set(relations) == HIDDEN
    assert (
        corpus.pools[1].fingerprint == load_data(base).corpus.novel.fingerprint
    )  # the trunk of the whole file


def test_read_novel_takes_all_where_there_are_fewer(base):
    corpus = load_data(hide(base, read_novel=True)).corpus
    assert len(corpus.novel_rows) == sum(COUNTS[name] for name in HIDDEN) + NUM_NOVEL


def test_read_novel_with_a_resplit_takes_the_drawn_ones(base):
    keys = {"num_relations": 2, "read_novel": True, "instances_per_relation": 3}
    tree = base.model_dump() | {"resplit": {"num_novel_relations": 3, "seed": 1}}
    plain = load_data(DataConfig.model_validate(tree))
    loaded = load_data(DataConfig.model_validate(tree | {"pseudo_novel": keys}))
    positions, relations = loaded.gold.of(loaded.corpus.novel_rows)
    real = np.delete(loaded.corpus.novel_rows, positions)
    assert len(real) == len(relations) == 6
    assert set(real.tolist()) <= set(plain.corpus.novel_rows.tolist())


def test_real_sentences_have_no_field_for_a_label():
    assert {field.name for field in fields(UnlabeledData)} == {"source", "rows", "num_relations"}


@pytest.mark.parametrize(
    "keys", [{"read_novel": True}, {"instances_per_relation": "real"}, {"read_novel": True, "share": 0.5}]
)
def test_shuffled_relations_of_the_novel_file_change_nothing(base, write, lines, keys):
    before = load_data(hide(base, **keys))
    write("n.jsonl", lines(dict(reversed(NOVEL.items())), "n"))
    after = load_data(hide(base, **keys))
    assert before.corpus.cut_fingerprint == after.corpus.cut_fingerprint
    assert before.corpus.novel == after.corpus.novel
    assert before.gold == after.gold


def test_known_relations_of_a_hidden_task_are_read_without_the_novel_file(base, tmp_path):
    (tmp_path / "n.jsonl").unlink()
    assert set(load_known(hide(base, read_novel=True)).relations) == COUNTS.keys() - HIDDEN


def test_read_novel_without_a_novel_file_is_refused():
    with pytest.raises(ValueError, match=r"`data\.novel` must name a file, but is empty"):
        DataConfig(
            format="jsonl", known="k", pseudo_novel=PseudoNovelConfig(num_relations=2, read_novel=True)
        )


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("size", [None, 0.25, 9])
def test_labeled_per_epoch_real_is_what_the_real_split_trains_on(base, incremental, size):
    base = base.model_copy(update={"known_test_size": size})
    real = make_splits(load_data(base).corpus, base, seed=0, incremental=incremental)
    config = hide(base, labeled_per_epoch="real", instances_per_relation="equal")
    count = count_labeled_per_epoch(load_data(config).corpus, config, incremental=incremental)
    assert count == len(real.known_train)


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("size", [None, 9])
@pytest.mark.parametrize("subset", [{"num_labeled": 30}, {"num_labeled": 80}, {"instances_per_relation": 4}])
def test_labeled_per_epoch_real_of_a_cut_is_what_the_real_split_trains_on(base, subset, size, incremental):
    tree = base.model_dump() | {"subset": subset, "known_test_size": size}
    base = DataConfig.model_validate(tree)
    real = make_splits(load_data(base).corpus, base, seed=0, incremental=incremental)
    config = hide(base, labeled_per_epoch="real", instances_per_relation="equal")
    corpus = load_data(config).corpus
    assert count_labeled_per_epoch(corpus, config, incremental=incremental) == len(real.known_train)
    assert not len(corpus.spare_rows)


def test_labeled_per_epoch_of_a_share_is_smaller_by_it(base):
    config = hide(base, labeled_per_epoch="real", share=0.5)
    count = count_labeled_per_epoch(load_data(config).corpus, config, incremental=False)
    assert count == sum(round(number / 2) for number in COUNTS.values())


@pytest.mark.parametrize(("keys", "count"), [({}, None), ({"labeled_per_epoch": 50}, 50)])
def test_labeled_per_epoch_is_what_is_asked_for(base, keys, count):
    config = hide(base, **keys)
    assert count_labeled_per_epoch(load_data(config).corpus, config, incremental=False) == count


def test_labeled_per_epoch_with_a_broken_test_size_is_refused(base):
    config = hide(base.model_copy(update={"known_test_size": 1.5}), labeled_per_epoch="real")
    with pytest.raises(ConfigError, match=r"known_test_size` must be a fraction below 1 or a whole number"):
        count_labeled_per_epoch(load_data(config).corpus, config, incremental=False)
