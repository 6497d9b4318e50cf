import json

import pytest

from rocore.config import DataConfig
from rocore.data.knowledgenet import convert_knowledgenet
from rocore.data.load import load_data
from rocore.errors import ConfigError, DataError

TEXT = " Ada Lovelace married in London, where Zoë lived."


def fact(relation, subject, object_, **keys):
    return {
        "relation": relation,
        "text": TEXT,
        "subject": subject,
        "object": object_,
        "doc": "7",
        "fold": "2",
    } | keys


FACTS = (
    fact("PLACE_OF_BIRTH", [1, 13], [25, 31]),
    fact("PLACE_OF_RESIDENCE", [1, 13], [25, 31]),
    fact("SPOUSE", [1, 13], [39, 42]),
    fact("SPOUSE", [39, 42], [1, 13]),
    fact("PLACE_OF_RESIDENCE", [39, 42], [25, 31]),
)


@pytest.fixture
def facts(write):
    return lambda *records: write("facts.jsonl", "".join(json.dumps(record) + "\n" for record in records))


def test_convert_knowledgenet_writes_what_the_jsonl_reader_takes(facts, tmp_path):
    written, num_instances, num_left_out = convert_knowledgenet(facts(*FACTS), tmp_path / "deep" / "out")
    assert (num_instances, num_left_out) == (3, 2)
    rows = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert [row["relation"] for row in rows] == ["SPOUSE", "SPOUSE", "PLACE_OF_RESIDENCE"]
    assert rows[0] == {"text": TEXT, "head": [1, 13], "tail": [39, 42], "relation": "SPOUSE"}
    config = DataConfig(
        format="jsonl", root=str(written.parent), known=written.name, pseudo_novel=None, novel="n"
    )
    config = config.model_copy(update={"novel": (written.name,), "num_novel_relations": 2})
    sentence = load_data(config).corpus.known.sentences[1]
    assert sentence.text[slice(*sentence.head)] == "Zoë"
    assert sentence.text[slice(*sentence.tail)] == "Ada Lovelace"


def test_convert_knowledgenet_again_writes_the_same(facts, tmp_path):
    path = facts(*FACTS)
    first = convert_knowledgenet(path, tmp_path / "out")[0].read_bytes()
    assert convert_knowledgenet(path, tmp_path / "out")[0].read_bytes() == first


@pytest.mark.parametrize(
    ("record", "match"),
    [
        (
            fact("CEO", [1, 99], [25, 31]),
            "line 1: the subject span must lie within the sentence of 49 characters",
        ),
        (fact("CEO", [3, 3], [25, 31]), "line 1: the subject span must not be empty"),
        (fact("CEO", "Ada", [25, 31]), r"line 1: `subject` must be \[start, end\]"),
        (fact("", [1, 4], [25, 31]), "line 1: `relation` must have a name"),
        ({"text": TEXT}, "line 1: an instance must have `relation`"),
    ],
)
def test_convert_knowledgenet_of_a_wrong_line_raises_and_writes_nothing(facts, tmp_path, record, match):
    with pytest.raises(DataError, match=match):
        convert_knowledgenet(facts(record), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_convert_knowledgenet_where_no_pair_has_one_relation_raises(facts, tmp_path):
    with pytest.raises(DataError, match="must hold pairs of entities with one relation, but each of 2 facts"):
        convert_knowledgenet(facts(*FACTS[:2]), tmp_path / "out")


def test_convert_knowledgenet_into_a_file_raises(facts, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="--out must be a folder that can be written"):
        convert_knowledgenet(facts(*FACTS), tmp_path / "out")


def test_convert_knowledgenet_of_an_empty_or_absent_file_raises(write, tmp_path):
    with pytest.raises(DataError, match=r"data file must hold facts, but .* is empty"):
        convert_knowledgenet(write("empty.jsonl", "\n"), tmp_path / "out")
    with pytest.raises(DataError, match=r"data file must be readable, but .*absent"):
        convert_knowledgenet(tmp_path / "absent.jsonl", tmp_path / "out")
