import json

import pytest

from benchmarks.growth import AXES, draw, lengthen, narrow, scale
from benchmarks.workload import KNOWN, NOVEL, write_cut, write_tiny_data


def relations_of(**sentences):
    return {name: [{"tokens": text.split()} for text in texts] for name, texts in sentences.items()}


def texts_of(relations):
    return [" ".join(i["tokens"]) for instances in relations.values() for i in instances]


def test_scale_by_a_part_keeps_every_nth_instance_of_each_relation():
    assert texts_of(scale(relations_of(a=["1", "2", "3"], b=["4"]), 0.5)) == ["1", "3", "4"]


def test_scale_by_a_multiple_adds_copies_that_differ():
    assert texts_of(scale(relations_of(a=["1", "2"], b=["4"]), 2)) == ["1", "2", "1 1", "2 1", "4", "4 1"]


def test_lengthen_fills_with_the_words_that_follow_and_begins_anew_at_the_end():
    relations = relations_of(a=["a b", "c d"], b=["e f g"])
    assert texts_of(lengthen(relations, 4)) == ["a b c d", "c d e f", "e f g a"]


def test_lengthen_where_a_sentence_is_longer_leaves_it():
    assert texts_of(lengthen(relations_of(a=["a b c"]), 2)) == ["a b c"]


def test_narrow_keeps_fewer_relations_and_the_number_of_instances():
    relations = relations_of(a=["1"] * 6, b=["2"] * 6, c=["3"] * 6)
    assert texts_of(narrow(relations, 1, 6)) == ["1"] * 6
    assert texts_of(narrow(relations, 3, 6)) == ["1"] * 2 + ["2"] * 2 + ["3"] * 2


def test_write_cut_cuts_both_files(tmp_path):
    write_tiny_data(tmp_path / "whole")
    write_cut(tmp_path / "whole", tmp_path / "cut", lambda relations: scale(relations, 0.1))
    sizes = [
        [len(instances) for instances in json.loads((tmp_path / "cut" / name).read_text()).values()]
        for name in (KNOWN, NOVEL)
    ]
    assert sizes == [[3] * 4, [3] * 3]


@pytest.mark.parametrize("axis", AXES)
def test_draw_writes_a_picture_of_each_axis(tmp_path, axis):
    keys = ("prepare_s", "pretrain_epoch_s", "joint_epoch_s", "prepare_mib", "trial_mib")
    draw([{"axis": axis, "value": value, **dict.fromkeys(keys, 1.0)} for value in (1, 2)], tmp_path)
    assert (tmp_path / f"growth_{axis}.png").read_bytes().startswith(b"\x89PNG")
