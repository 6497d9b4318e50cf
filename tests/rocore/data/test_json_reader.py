"""JSON that a user wrote: what stands twice, what can't be read, and where."""

import json
import re

import pytest

from rocore.data.json_reader import parse_json
from rocore.errors import DataError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"head": [0, 1], "head": [1, 2]}',
            "d: key `head` stands twice (line 1, columns 2 and 18); keep one",
        ),
        ('{"a": 1,\n "b": {"c": 1},\n "a": 2}', "d: key `a` stands twice (lines 1 and 3); keep one"),
        ('[[], [1, "x"], {"a": {"b": 1,\n"\\u0062": 2}}]', "d [2].a: key `b` stands twice (lines 1 and 2)"),
        ('{"a": 1, "a": 1, "a": 1}', "d: key `a` stands 3 times (line 1, columns 2, 10 and 18)"),
        (
            '{"x": "\\"a\\": 1, {", "a": ["a", "a"], "a": 2}',
            "d: key `a` stands twice (line 1, columns 22 and 39)",
        ),
        ('{"": 1, "": 2}', "d: key `` stands twice"),
    ],
)
def test_parse_json_of_a_key_that_stands_twice_names_it_and_both_places(text, message):
    with pytest.raises(DataError, match=re.escape(message)):
        parse_json(text.encode(), "d")


def test_parse_json_of_relations_that_stand_twice_names_them_all():
    with pytest.raises(DataError) as caught:
        parse_json(
            b'{"P1": [{}],\n"P2": [],\n"P1": [{"t": 1, "t": 2}],\n"P2": []}', "f.json", of_relations=True
        )
    assert str(caught.value).splitlines() == [
        "f.json: relation P1 stands twice (lines 1 and 3); merge its lists",
        "f.json: relation P2 stands twice (lines 2 and 4); merge its lists",
        "f.json P1[0]: key `t` stands twice (line 3, columns 9 and 17); keep one",
    ]


def test_parse_json_of_many_keys_that_stand_twice_names_some_and_their_number():
    text = ",".join(f'"P{i}": [{{}}]' for i in range(12))
    with pytest.raises(DataError) as caught:
        parse_json(f"{{{text}, {text}}}".encode(), "f.json", of_relations=True)
    assert len(str(caught.value).splitlines()) == 11
    assert str(caught.value).endswith("\nand 2 more keys")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "a": 2, "b"}', "must be JSON, but column 21"),
        (b'{"a": "1' + b"1" * 5000 + b'", "b":\n ' + b"7" * 5000 + b"}",
         r"at most 4300 digits, but has 5000; .* \(line 2 column 2\)"),
        (b"[1." + b"3" * 5000 + b", -" + b"7" * 4301 + b"]", r"has 4301; correct it \(column 5006\)"),
        ('{"a": 1}'.encode("utf-16"), "must be UTF-8, but is UTF-16; save it as UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "must be UTF-8, but is UTF-16 or UTF-32"),
        (b'{"a": 1}\n{"a": "\xff"}', "must be UTF-8, but byte 16 is 0xff in line 2"),
        (b'{"a":' * 5000, "of a few levels, but is nested too deeply"),
    ],
)  # fmt: skip
def test_parse_json_of_what_cannot_be_read_names_the_place(content, message):
    with pytest.raises(DataError, match=rf"^d: .*{message}"):
        parse_json(content, "d")


@pytest.mark.parametrize(
    "tree",
    [{"a": [{"a": {"a": 1}}, {"a": 2}], "A": 1}, [], "a", {"é": 1, "e\u0301": 2}, [{"a": 1}, {"a": 1}]],
)
def test_parse_json_of_good_json_gives_what_json_gives(tree):
    assert parse_json(b"\xef\xbb\xbf" + json.dumps(tree).encode(), "d") == tree
