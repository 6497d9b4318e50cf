import numpy as np
import pytest

from rocore.data.instance import Corpus, LoadedData, NovelGold, Sentence, Source, Splits
from rocore.data.validation import Finding, raise_errors, validate
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
