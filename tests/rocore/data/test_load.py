import hashlib
import json

import numpy as np
import pytest
from pydantic import ValidationError

from rocore.config import BuiltinConfig, DataConfig, PseudoNovelConfig
from rocore.data.load import load_data, load_known
from rocore.data.pseudo_novel import choose_hidden
from rocore.data.splits import make_splits
from rocore.errors import DataError


@pytest.fixture
def fewrel(write, fewrel_record, tmp_path):
    """Two files: known P1 (3), P2 (2), P3 (1); novel P8 (2), P9 (1)."""

    def records(name, count):
        return [fewrel_record(["in", f"{name}{i}", ",", "Marie", "Curie"]) for i in range(count)]

    write("known.json", {"P2": records("b", 2), "P1": records("a", 3), "P3": records("c", 1)})
    write("novel.json", {"P9": records("y", 1), "P8": records("x", 2)})
    return DataConfig(format="fewrel", root=str(tmp_path), known="known.json", novel="novel.json")


def jsonl_config(write, tmp_path, known, novel, **keys):
    def lines(relations):
        record = {"tokens": ["a", "b"], "head": [0, 1], "tail": [1, 2]}
        return "".join(json.dumps(record | {"relation": r}) + "\n" for r in relations)

    write("k.jsonl", lines(known))
    write("n.jsonl", lines(novel))
    return DataConfig(format="jsonl", root=str(tmp_path), known="k.jsonl", novel="n.jsonl", **keys)


def test_load_data_fewrel_gives_labels_in_file_order_and_gold_apart(fewrel):
    loaded = load_data(fewrel)
    assert loaded.corpus.known_relations == ("P2", "P1", "P3")
    assert loaded.corpus.known_labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert loaded.corpus.num_novel_relations == 2
    assert loaded.gold.relations == ("P9", "P8", "P8")
    assert not loaded.corpus.synthetic
    assert loaded.corpus.novel.sentences[0].text == "in y0 , Marie Curie"


def test_load_data_files_are_recorded_with_their_sha256(fewrel, tmp_path):
    expected = {
        n: hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in ("known.json", "novel.json")
    }
    assert load_data(fewrel).corpus.files == expected


def test_load_data_relative_root_is_relative_to_the_working_directory(fewrel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    assert len(load_data(fewrel.model_copy(update={"root": tmp_path.name})).corpus.known.sentences) == 6


def test_load_data_home_is_expanded(fewrel, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_data(fewrel.model_copy(update={"root": "~"})).corpus.known.sentences) == 6


@pytest.mark.parametrize("absolute", [True, False])
def test_load_data_glob_with_one_match_is_taken(fewrel, tmp_path, absolute):
    name = f"{tmp_path}/kn*.json" if absolute else "kn*.json"
    assert list(load_data(fewrel.model_copy(update={"known": (name,)})).corpus.files) == [
        "known.json",
        "novel.json",
    ]


def test_load_data_name_with_brackets_of_a_file_is_no_glob(fewrel, tmp_path):
    (tmp_path / "known.json").rename(tmp_path / "k[1].json")
    assert "k[1].json" in load_data(fewrel.model_copy(update={"known": ("k[1].json",)})).corpus.files


@pytest.mark.parametrize(
    ("known", "match"),
    [
        (("*.json",), r"must match exactly one file .* but matches known\.json, novel\.json; name the files"),
        (("knwon.json",), r"'knwon\.json' must be a file in .*did you mean 'known\.json'\?"),
        (("q*.txt",), r"there is none; files there: known\.json, novel\.json"),
        ((".",), "there is none"),
        (("known.json", "known.json"), r"must name each file once, but known\.json comes twice"),
    ],
)
def test_load_data_unclear_file_raises(fewrel, known, match):
    with pytest.raises(DataError, match=match):
        load_data(fewrel.model_copy(update={"known": known}))


def test_load_data_absent_root_raises(fewrel):
    with pytest.raises(DataError, match=r"`data.root` must be a folder"):
        load_data(fewrel.model_copy(update={"root": "nowhere"}))


def test_load_data_several_files_are_joined_in_order(fewrel, write, fewrel_record):
    write("more.json", {"P1": [fewrel_record()], "P4": [fewrel_record()]})
    corpus = load_data(fewrel.model_copy(update={"known": ("known.json", "more.json")})).corpus
    assert corpus.known_relations == ("P2", "P1", "P3", "P4")
    assert corpus.known_labels.tolist() == [0, 0, 1, 1, 1, 2, 1, 3]


def test_load_data_tacred_same_file_serves_both_roles(write, tmp_path):
    record = {"token": ["a", "b"], "subj_start": 0, "subj_end": 0, "obj_start": 1, "obj_end": 1}
    relations = ["per:title", "no_relation", "per:charges", "org:founded", "per:age"]
    write("t.json", [record | {"relation": r} for r in relations])
    loaded = load_data(DataConfig(format="tacred", root=str(tmp_path), known="t.json", novel="t.json"))
    assert loaded.corpus.known_relations == ("per:title", "per:age")
    assert loaded.gold.relations == ("per:charges", "org:founded")


def test_load_data_tacred_without_novel_relations_raises(write, tmp_path):
    record = {"token": ["a", "b"], "subj_start": 0, "subj_end": 0, "obj_start": 1, "obj_end": 1}
    write("t.json", [record | {"relation": r} for r in ("per:title", "per:age")])
    with pytest.raises(DataError, match=r"`data.novel` must hold instances of novel relations"):
        load_data(DataConfig(format="tacred", root=str(tmp_path), known="t.json", novel="t.json"))


def test_load_data_known_without_relation_raises(write, tmp_path):
    config = jsonl_config(write, tmp_path, ["r", None], ["s", "t"])
    with pytest.raises(
        DataError, match=r"k\.jsonl line 2: an instance in `data.known` must carry a relation"
    ):
        load_data(config)


def test_load_data_one_known_relation_raises(write, tmp_path):
    with pytest.raises(DataError, match=r"must hold at least 2 relations, but holds r;"):
        load_data(jsonl_config(write, tmp_path, ["r", "r"], ["s", "t"]))


@pytest.mark.parametrize(("novel", "count"), [([None, None], "2 of 2"), (["s", "t", None], "1 of 3")])
def test_load_data_uncountable_novel_relations_raises(write, tmp_path, novel, count):
    with pytest.raises(
        DataError, match=f"{count} novel instances carry no relation; set data.num_novel_relations"
    ):
        load_data(jsonl_config(write, tmp_path, ["r", "q"], novel))


def test_load_data_single_novel_relation_raises(write, tmp_path):
    with pytest.raises(DataError, match=r"`data.novel` must hold at least 2 relations, but holds 1"):
        load_data(jsonl_config(write, tmp_path, ["r", "q"], ["s", "s"]))


@pytest.mark.parametrize("novel", [[None, None], ["s", None], ["s", "t"]])
def test_load_data_given_number_of_novel_relations_wins(write, tmp_path, novel):
    loaded = load_data(jsonl_config(write, tmp_path, ["r", "q"], novel, num_novel_relations=7))
    assert loaded.corpus.num_novel_relations == 7
    assert (loaded.gold is None) == (novel == [None, None])


def test_load_data_builtin_is_synthetic():
    config = DataConfig(
        builtin=BuiltinConfig(num_known_relations=3, num_novel_relations=2, instances_per_relation=8)
    )
    loaded = load_data(config)
    assert loaded.corpus.synthetic
    assert (loaded.corpus.num_known_relations, loaded.corpus.num_novel_relations) == (3, 2)
    assert loaded.corpus.files == {}


def test_load_data_shuffled_novel_gold_changes_neither_corpus_nor_splits(write, tmp_path):
    corpora, splits = [], []
    for novel in (["s", "t", "u", "s", "t", "u"] * 3, ["u", "u", "s", "t", "t", "s"] * 3):
        config = jsonl_config(write, tmp_path, ["r", "q"], novel)
        corpora.append(load_data(config).corpus)
        splits.append(make_splits(corpora[-1], config, seed=0, incremental=False))
    assert corpora[0].novel == corpora[1].novel
    assert corpora[0].num_novel_relations == corpora[1].num_novel_relations
    np.testing.assert_array_equal(splits[0].novel_test, splits[1].novel_test)


def test_load_data_pseudo_novel_never_opens_novel_files(fewrel, write, fewrel_record, tmp_path):
    write("known.json", {f"P{i}": [fewrel_record()] * 2 for i in range(5)})
    (tmp_path / "novel.json").unlink()
    config = fewrel.model_copy(update={"pseudo_novel": PseudoNovelConfig(num_relations=2)})
    corpus = load_data(config).corpus
    assert corpus.known is corpus.novel
    assert list(corpus.files) == ["known.json"]


@pytest.mark.parametrize("pseudo", [None, PseudoNovelConfig(num_relations=2)])
def test_load_known_is_the_known_side_and_never_opens_novel_files(fewrel, write, fewrel_record, pseudo):
    write("known.json", {name: [fewrel_record(["x", name, ",", "y", "z"])] * 2 for name in "ABCDE"})
    config = fewrel.model_copy(update={"pseudo_novel": pseudo})
    expected = load_data(config).corpus
    write("novel.json", "not what the reader takes")
    data = load_known(config)
    assert len(data.relations) == (5 if pseudo is None else 3)
    assert data.relations == expected.known_relations
    assert data.rows.tolist() == expected.known_rows.tolist()
    assert data.labels.tolist() == expected.known_labels.tolist()
    assert data.source == expected.known


def test_load_known_tacred_leaves_out_novel_relations_of_the_same_file(write, tmp_path):
    record = {"token": ["a", "b"], "subj_start": 0, "subj_end": 0, "obj_start": 1, "obj_end": 1}
    names = ("org:founded", "per:title", "per:age")
    write("t.json", [record | {"relation": name} for name in names])
    data = load_known(DataConfig(format="tacred", root=str(tmp_path), known="t.json", novel="absent.json"))
    assert data.relations == ("per:title", "per:age")


def test_load_known_builtin_says_synthetic():
    config = DataConfig(builtin=BuiltinConfig(instances_per_relation=8))
    expected = load_data(config).corpus
    data = load_known(config)
    assert data.synthetic
    assert data.source == expected.known
    assert data.relations == expected.known_relations


def test_load_data_pseudo_novel_hides_one_group_and_renumbers_the_rest(fewrel, write, fewrel_record):
    write("known.json", {f"P{i}": [fewrel_record()] * (i + 1) for i in range(6)})
    pseudo = PseudoNovelConfig(num_relations=2, fold=1, seed=3)
    loaded = load_data(fewrel.model_copy(update={"pseudo_novel": pseudo, "num_novel_relations": 9}))
    corpus = loaded.corpus
    hidden = choose_hidden(tuple(f"P{i}" for i in range(6)), pseudo)
    names = [f"P{i}" for i in range(6) for _ in range(i + 1)]
    assert corpus.num_novel_relations == 2
    assert set(corpus.known_relations) == {f"P{i}" for i in range(6)} - hidden
    assert [corpus.known_relations[i] for i in corpus.known_labels] == [
        names[row] for row in corpus.known_rows
    ]
    assert loaded.gold.of(corpus.novel_rows)[1] == [names[row] for row in corpus.novel_rows]
    assert {names[row] for row in corpus.novel_rows} == hidden
    assert sorted([*corpus.known_rows, *corpus.novel_rows]) == list(range(21))
    assert loaded.gold.of(corpus.known_rows)[1] == []


def test_choose_hidden_folds_are_disjoint_and_do_not_depend_on_order():
    names = tuple(f"P{i}" for i in range(10))
    groups = [choose_hidden(names, PseudoNovelConfig(num_relations=3, fold=f, seed=1)) for f in range(3)]
    assert len(frozenset.union(*groups)) == 9
    reverse = [
        choose_hidden(names[::-1], PseudoNovelConfig(num_relations=3, fold=f, seed=1)) for f in range(3)
    ]
    assert groups == reverse
    assert groups[0] != choose_hidden(names, PseudoNovelConfig(num_relations=3, seed=2))


@pytest.mark.parametrize(
    ("num_relations", "fold", "match"),
    [
        (5, 0, "at least 2 relations must stay known, but .* hides 5 of 6; set it to at most 4"),
        (4, 1, "fold 1 of 4 hidden relations needs 8 known relations, but there are 6; .* to at most 0"),
    ],
)
def test_choose_hidden_too_few_relations_raises(num_relations, fold, match):
    with pytest.raises(DataError, match=match):
        choose_hidden(tuple("abcdef"), PseudoNovelConfig(num_relations=num_relations, fold=fold))


@pytest.mark.parametrize(("key", "value"), [("max_file_mib", 1e-4), ("max_sentence_characters", 2)])
def test_load_data_beyond_a_limit_of_the_configuration_names_its_key(write, tmp_path, key, value):
    config = jsonl_config(write, tmp_path, ["a", "b"], ["c", "d"], **{key: value})
    with pytest.raises(DataError, match=rf"(?m)k\.jsonl.* raise data\.{key}$"):
        load_data(config)


def test_load_data_places_are_those_of_the_readers_in_every_file(write, tmp_path):
    record = {"tokens": ["a", "b"], "head": [0, 1], "tail": [1, 2]}
    line = json.dumps(record | {"relation": "r"}) + "\n"
    other = json.dumps(record | {"relation": "q"}) + "\n"
    for folder in ("a", "b", "novel"):
        (tmp_path / folder).mkdir()
    write("a/train.jsonl", line + "\n" + line)
    write("b/train.jsonl", other)
    write("novel/train.jsonl", "\n" + line)
    known = ("a/train.jsonl", "b/train.jsonl")
    files = {"known": known, "novel": "novel/train.jsonl", "num_novel_relations": 2}
    corpus = load_data(DataConfig(format="jsonl", root=str(tmp_path), **files)).corpus
    places = [corpus.known.place(row) for row in range(3)]
    assert places == ["a/train.jsonl line 1", "a/train.jsonl line 3", "b/train.jsonl line 1"]
    assert corpus.novel.place(0) == "novel/train.jsonl line 2"


def test_load_data_tacred_places_count_every_element_of_the_file(write, tmp_path):
    record = {"token": ["a", "b"], "subj_start": 0, "subj_end": 0, "obj_start": 1, "obj_end": 1}
    relations = ["no_relation", "org:founded", "per:title", "no_relation", "per:age", "per:charges"]
    records = [record | {"relation": r, "id": f"e{i}"} for i, r in enumerate(relations)]
    write("t.json", records)
    config = DataConfig(format="tacred", root=str(tmp_path), known="t.json", novel="t.json")
    corpus = load_data(config).corpus
    assert corpus.known.places == ("t.json [2] (id e2)", "t.json [4] (id e4)")
    assert corpus.novel.places == ("t.json [1] (id e1)", "t.json [5] (id e5)")


def test_load_data_hidden_relations_keep_the_places_of_the_known_pool(write, tmp_path):
    config = jsonl_config(
        write, tmp_path, ["a", "b", "c", "d"], ["e"], pseudo_novel=PseudoNovelConfig(num_relations=2)
    )
    assert load_data(config).corpus.novel.place(3) == "k.jsonl line 4"


def test_load_data_with_faults_in_several_files_names_them_all(write, tmp_path):
    config = jsonl_config(write, tmp_path, ["a", 3, "b"], ["c", "", "d"], num_novel_relations=2)
    with pytest.raises(DataError, match=r"^k\.jsonl line 2: .*\nn\.jsonl line 2: [^\n]*$"):
        load_data(config)
    with pytest.raises(DataError, match=r"^k\.jsonl line 2: .*\n`data\.novel`: 'absent' must be a file"):
        load_data(config.model_copy(update={"novel": ("absent",)}))


def test_load_data_with_known_instances_without_relation_names_some_and_their_number(write, tmp_path):
    config = jsonl_config(write, tmp_path, ["a", *[None] * 12], ["c", None])
    with pytest.raises(DataError) as caught:
        load_data(config)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("k.jsonl line 2: an instance in `data.known` must carry a relation")
    assert lines[10] == "and 2 more like these"
    assert "1 of 2 novel instances carry no relation" in lines[11]


def test_load_data_novel_file_of_another_format_is_read(fewrel, write, tmp_path):
    record = {"token": ["a", "b"], "subj_start": 0, "subj_end": 0, "obj_start": 1, "obj_end": 1}
    relations = ["per:title", "no_relation", "per:charges", "org:founded", "per:charges"] * 10
    write("t.json", [record | {"relation": r} for r in relations])
    config = fewrel.model_copy(update={"novel": ("t.json",), "novel_format": "tacred"})
    loaded = load_data(config)
    assert loaded.corpus.known_relations == ("P2", "P1", "P3")
    assert set(loaded.gold.relations) == {"per:charges", "org:founded"}
    splits = make_splits(loaded.corpus, config, seed=0, incremental=False)
    assert len(splits.novel_test) == round(0.15 * 30)  # TACRED's share, not FewRel's


def test_load_data_file_of_both_roles_is_read_in_the_format_of_each(fewrel):
    config = fewrel.model_copy(update={"novel": ("known.json",), "novel_format": "jsonl"})
    with pytest.raises(DataError, match=r"known\.json line 1: "):
        load_data(config)


def test_hidden_relations_split_as_the_known_format(fewrel, write, fewrel_record):
    write("known.json", {f"P{i}": [fewrel_record()] * 10 for i in range(4)})
    hidden = PseudoNovelConfig(num_relations=2)
    config = fewrel.model_copy(update={"novel_format": "tacred", "pseudo_novel": hidden})
    splits = make_splits(load_data(config).corpus, config, seed=0, incremental=False)
    assert len(splits.novel_test) == round(20 / 7)


def test_data_config_novel_format_of_the_builtin_corpus_is_refused():
    with pytest.raises(
        ValidationError, match=r"`data\.novel_format` must be null .* but is fewrel; the built-in"
    ):
        DataConfig(novel_format="fewrel")
