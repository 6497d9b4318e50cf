"""What a run reads: everything that is wrong is told at once, as training tells it."""

import json

import pytest

from rocore.errors import DataError, EncoderError
from rocore.training.inputs import read_inputs
from rocore.training.task import check_task, prepare


@pytest.fixture
def jsonl(config_of, tmp_path):
    """Make a configuration of two files, with these heads in the novel one."""

    def make(*heads, **keys):
        rows = [(f"a{i}", "rq"[i % 2]) for i in range(8)]
        novel = [(head, "s") for head in ("b0", "b1", "b2", *heads)]
        for name, found in (("known", rows), ("novel", novel)):
            records = (
                {"tokens": [head, "met", "Bo"], "head": [0, 1], "tail": [2, 3], "relation": r}
                for head, r in found
            )
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        files = {"format": "jsonl", "root": str(tmp_path), "known": "known.jsonl", "novel": "novel.jsonl"}
        return config_of({"data": {**files, "num_novel_relations": 2, **keys}})

    return make


def test_inputs_of_good_data_have_no_problems(jsonl):
    config = jsonl("b4")
    inputs = read_inputs(config)
    inputs.cut_into_pieces(config.encoder.max_pieces)
    inputs.problems.raise_any()
    assert inputs.loaded is not None
    assert inputs.splits is not None
    assert inputs.encoder is not None


def test_inputs_cut_into_pieces_tell_what_training_tells(jsonl):
    config = jsonl("\u00ad", "b5", "\u200b")
    inputs = read_inputs(config)
    inputs.problems.raise_any()
    inputs.cut_into_pieces(config.encoder.max_pieces)
    told = []
    for refuse in (inputs.problems.raise_any, lambda: prepare(config)):
        with pytest.raises(
            DataError, match=r"^novel\.jsonl line 4: the head .*\nnovel\.jsonl line 6: the"
        ) as caught:
            refuse()
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_check_task_of_data_that_cannot_be_split_tells_the_rest_too(jsonl):
    config = jsonl(novel_test_size=9, num_novel_relations=5)
    with pytest.raises(DataError) as caught:
        check_task(config)
    first, second = str(caught.value).splitlines()
    assert first.startswith("`data.novel_test_size` must leave novel instances to train on, but takes 9 of 3")
    assert "there are 3 instances for 5 clusters" in second


def test_check_task_of_unreadable_data_and_encoder_tells_both(config_of, tmp_path):
    files = {"format": "jsonl", "root": str(tmp_path), "known": "absent.jsonl", "novel": "novel.jsonl"}
    with pytest.raises(DataError) as caught:
        check_task(config_of({"data": files, "encoder.name": str(tmp_path / "absent")}))
    starts = [
        "`data.known`: 'absent.jsonl' must",
        "`data.novel`: 'novel.jsonl' must",
        "encoder folder must exist",
    ]
    found = str(caught.value).splitlines()
    assert [line[: len(start)] for line, start in zip(found, starts, strict=True)] == starts


def test_check_task_of_a_wrong_encoder_alone_raises_its_class(config_of):
    with pytest.raises(EncoderError, match=r"^`encoder\.output_layer` must lie in 1\.\.3"):
        check_task(config_of({"encoder.output_layer": 5}))


def test_check_task_warns_of_names_that_look_alike(jsonl, tmp_path):
    config = jsonl("b4")
    lines = (tmp_path / "known.jsonl").read_text().replace('"q"', '"r "')
    (tmp_path / "known.jsonl").write_text(lines)
    (warning,) = check_task(config).warnings
    assert "'r' and 'r ' count as 2 relations, of 4 and 4 instances" in warning
