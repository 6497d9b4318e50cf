from dataclasses import replace

import numpy as np
import pytest

from rocore.data.instance import Corpus, LoadedData, NovelGold, Sentence, Source, Splits
from rocore.data.validation import Finding, look_alikes, raise_errors, validate
from rocore.errors import DataError


def pool(name, num, *, repeat=()):
    """Distinct sentences, save for (row, of) pairs that repeat another row."""
    sentences = [Sentence(f"{name} {i} b", (0, 1), (2, 3)) for i in range(num)]
    for row, of in repeat:
        sentences[row] = sentences[of]
    return Source(tuple(sentences), f"{name}.json")


def data(known=None, novel=None, labels=(0, 0, 0, 1, 1, 1), gold=None, clusters=2):
    known, novel = known or pool("known", 6), novel or pool("novel", 6)
    corpus = Corpus(
        known=known,
        known_rows=np.arange(len(known.sentences)),
        known_labels=np.array(labels),
        known_relations=("P1", "P2"),
        novel=novel,
        novel_rows=np.arange(len(novel.sentences)),
        num_novel_relations=clusters,
    )
    return LoadedData(corpus, NovelGold(gold) if gold else None)


def splits(known_test=(5,), novel_test=(5,), num_novel=6):
    return Splits(
        known_train=np.setdiff1d(np.arange(6), known_test),
        known_test=np.array(known_test, dtype=np.int64),
        novel_train=np.setdiff1d(np.arange(num_novel), novel_test),
        novel_test=np.array(novel_test, dtype=np.int64),
    )


def test_validate_good_data_finds_nothing():
    assert validate(data(gold=["P8", "P9", None] * 2), splits()) == []


def test_validate_overlapping_names_is_an_error_with_the_names():
    (finding,) = validate(data(gold=["P2", "P9", "P1", "P9", None, None]), splits())
    assert finding.severity == "error"
    assert "but 2 are: P1, P2" in finding.message


def test_validate_small_relation_is_an_error_with_its_count():
    (finding,) = validate(data(labels=(0, 0, 0, 0, 0, 1)), splits())
    assert finding.severity == "error"
    assert "at least 2 instances, but 1 have fewer: P2 (1)" in finding.message


@pytest.mark.parametrize(
    ("clusters", "message"),
    [(7, "there are 6 instances for 7 clusters"), (6, "there are 5 (6 with test) for 6 clusters")],
)
def test_validate_more_clusters_than_instances_is_one_error(clusters, message):
    (finding,) = validate(data(clusters=clusters), splits())
    assert finding.severity == "error"
    assert message in finding.message


def test_validate_duplicates_across_known_train_and_test_is_a_warning_with_places():
    (finding,) = validate(data(known=pool("known", 6, repeat=[(5, 1)])), splits())
    assert finding.severity == "warning"
    assert "1 stand in both known train and known test" in finding.message
    assert "known.json [1] = known.json [5]" in finding.message


def test_validate_duplicates_across_novel_train_and_test_is_a_warning():
    (finding,) = validate(data(novel=pool("novel", 6, repeat=[(5, 1)])), splits())
    assert "1 stand in both novel train and novel test" in finding.message


def test_validate_duplicates_within_train_alone_finds_nothing():
    assert validate(data(known=pool("known", 6, repeat=[(2, 1)])), splits()) == []


def test_validate_same_text_with_other_spans_is_no_duplicate():
    known = pool("known", 6)
    other = Sentence(known.sentences[1].text, (0, 1), (4, 5))
    known = Source((*known.sentences[:5], other), known.name)
    assert validate(data(known=known), splits()) == []


def test_validate_many_duplicates_across_roles_names_the_first_five():
    (finding,) = validate(data(novel=Source(pool("known", 6).sentences, "novel.json")), splits())
    assert "6 stand in both known and novel" in finding.message
    assert finding.message.endswith("known.json [4] = novel.json [4] and 1 more")


def test_validate_same_span_for_both_entities_is_a_warning():
    sentences = (*pool("novel", 5).sentences, Sentence("a b", (0, 1), (0, 1)))
    (finding,) = validate(data(novel=Source(sentences, "novel.json")), splits())
    assert finding.severity == "warning"
    assert "the same span in 1 instances: novel.json [5]" in finding.message


def test_validate_errors_come_before_warnings():
    findings = validate(data(known=pool("known", 6, repeat=[(5, 1)]), clusters=7), splits())
    assert [finding.severity for finding in findings] == ["error", "warning"]


def test_raise_errors_gathers_errors_and_leaves_out_warnings():
    findings = [Finding("error", "one"), Finding("warning", "two"), Finding("error", "three")]
    with pytest.raises(DataError, match=r"^one\nthree$"):
        raise_errors(findings)


def test_raise_errors_warnings_alone_pass():
    raise_errors([Finding("warning", "two")])


def test_validate_warnings_name_the_places_of_the_readers():
    known, novel = pool("known", 6, repeat=[(5, 1)]), pool("novel", 5).sentences
    known = Source(known.sentences, known.name, tuple(f"k.json [{10 * i}] (id e{i})" for i in range(6)))
    same = Sentence("a b", (0, 1), (0, 1))
    novel = Source((*novel, same), "novel.json", tuple(f"n.jsonl line {i + 3}" for i in range(6)))
    first, second = validate(data(known=known, novel=novel), splits())
    assert first.message.endswith("k.json [10] (id e1) = k.json [50] (id e5)")
    assert second.message.endswith("n.jsonl line 8")


def test_validate_without_splits_leaves_out_what_is_about_them():
    known = pool("known", 6, repeat=[(5, 1)])
    assert validate(data(known=known, clusters=6), None) == []
    (finding,) = validate(data(known=known, clusters=7), None)
    assert "there are 6 instances for 7 clusters" in finding.message


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("born in", "born  in"), "'born  in' and 'born in' count as 2 relations, of 3 and 3 instances"),
        (("born in", "born in "), "'born in' and 'born in ' count"),
        (("born in", "born\u00a0in"), r"'born in' and 'born\xa0in' count"),
        (("born in", "born\tin"), r"'born\tin' and 'born in' count"),
        (("出生 于", "出生  于"), "'出生  于' and '出生 于' count"),
        (("caf\u00e9", "cafe\u0301"), r"'cafe\u0301' and 'caf\xe9' count"),
        (("born\u200bin", "bornin"), r"'bornin' and 'born\u200bin' count"),
        (("office", "o\ufb03ce"), r"'office' and 'o\ufb03ce' count"),
    ],
)
def test_look_alikes_names_both_names(names, shown):
    loaded = data()
    loaded = LoadedData(replace(loaded.corpus, known_relations=names), None)
    (finding,) = look_alikes(loaded)
    assert (finding.severity, shown in finding.message) == ("warning", True)
    assert finding in validate(loaded, splits())


@pytest.mark.parametrize(
    "names", [("Born in", "born in"), ("born in", "bornin"), ("P1", "P2"), ("café", "cafe")]
)
def test_look_alikes_of_names_that_differ_finds_nothing(names):
    loaded = data()
    assert look_alikes(LoadedData(replace(loaded.corpus, known_relations=names), None)) == []


def test_look_alikes_across_known_and_novel_are_found():
    (finding,) = look_alikes(data(gold=["P1 ", "P9", None] * 2))
    assert "'P1' and 'P1 ' count as 2 relations, of 3 and 2 instances" in finding.message
