import json

import pytest

from rocore.data.checks import Limits
from rocore.data.fewrel import read_fewrel
from rocore.data.instance import Sentence
from rocore.data.jsonl import read_jsonl, read_sentences
from rocore.data.tacred import NOVEL_TACRED_RELATIONS, known_tacred, novel_tacred, read_tacred
from rocore.errors import DataError

TACRED = {
    "id": "e779",
    "token": ["Tom", "Thabane", "founded", "the", "ABC", "."],
    "subj_start": 4,
    "subj_end": 4,
    "obj_start": 0,
    "obj_end": 1,
    "relation": "org:founded_by",
}
LINE = {"tokens": ["in", "Paris", "Marie", "Curie"], "head": [1, 2], "tail": [2, 4], "relation": "lived in"}


def entities(sentence):
    return sentence.text[slice(*sentence.head)], sentence.text[slice(*sentence.tail)]


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def test_read_fewrel_file_keeps_order_places_and_first_mention(write, fewrel_record):
    record = fewrel_record()
    record["h"][2].append([0])
    path = write("f.json", {"P2": [record, fewrel_record()], "P1": [fewrel_record(head=(0,))]})
    instances = read_fewrel(path)
    assert [i.relation for i in instances] == ["P2", "P2", "P1"]
    assert [i.place for i in instances] == ["f.json P2[0]", "f.json P2[1]", "f.json P1[0]"]
    assert instances[0].sentence == Sentence("in Paris , Marie Curie worked", (3, 8), (11, 22))
    assert entities(instances[2].sentence) == ("in", "Marie Curie")


@pytest.mark.parametrize(
    ("tokens", "head", "tail", "expected"),
    [
        (["a b", "c"], [0], [1], ("a b", "c")),
        (["", "x", "", "y"], [1], [3], ("x", "y")),
        (["x", "", "z", "y"], [0, 1, 2], [3], ("x  z", "y")),
        (["\u00a0", "Zoë", "林", "😀👍🏽"], [1, 2], [3], ("Zoë 林", "😀👍🏽")),
        (["e\u0301", "\u202eabc", "\x00d"], [0], [2], ("e\u0301", "\x00d")),
    ],
)
def test_read_fewrel_odd_tokens_still_align(write, fewrel_record, tokens, head, tail, expected):
    path = write("f.json", {"P1": [fewrel_record(tokens, head, tail)]})
    assert entities(read_fewrel(path)[0].sentence) == expected


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"h": ["x", "Q1", [[1, 3]]]},
            r"f\.json P1\[0\]: the head indices must be contiguous, but got \[1, 3\]",
        ),
        ({"h": ["x", "Q1", [[2, 1]]]}, "head indices must be contiguous"),
        (
            {"t": ["x", "Q1", [[5, 6]]]},
            r"tail indices must lie within the sentence of 6 words, but are \[5, 6\]; .* the last one is 5",
        ),
        ({"t": ["x", "Q1", [[-1, 0]]]}, r"tail indices must lie within .* but are \[-1, 0\]"),
        ({"t": ["x", "Q1", [[]]]}, "tail span must not be empty"),
        ({"t": ["x", "Q1", []]}, r"tail must be \[name, id, \[\[token indices\], ...\]\]"),
        ({"t": ["x", "Q1", [["1"]]]}, "tail indices must be whole numbers"),
        ({"t": ["x", "Q1", [[True]]]}, "tail indices must be whole numbers"),
        ({"t": 3}, "tail must be"),
        ({"tokens": "in Paris"}, "tokens must be a list of strings"),
        ({"tokens": ["in", 3]}, "token 1 must be a string, but got 3"),
        ({"tokens": []}, "a sentence must hold words"),
        ({"tokens": ["", " "]}, "a sentence must hold words"),
        ({"tokens": ["in", " ", ",", "Marie", "Curie", "worked"]}, "head entity must hold some text"),
        ({"tokens": ["\ud83d"]}, r"lone surrogate U\+D83D at character 0"),
    ],
)
def test_read_fewrel_bad_instance_raises_with_place(write, fewrel_record, change, match):
    path = write("f.json", {"P1": [fewrel_record() | change]})
    with pytest.raises(DataError, match=match) as caught:
        read_fewrel(path)
    assert "f.json P1[0]" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "f.json is empty"),
        (" \n", "f.json is empty"),
        ('{"P1": [\n{"tokens": ["a"', "must be JSON, but line 2 column 16"),
        ([], "must be an object of relations, but is a list"),
        ({}, "must hold instances, but holds none"),
        ({"P1": []}, "must hold instances, but holds none"),
        ({"P1": 3}, "P1: a relation must hold a list, but got 3"),
        ({"": []}, "a relation must have a name"),
        ({"P1": [3]}, "must be a JSON object, but got 3"),
        ({"P1": [{"token": ["a"]}]}, r"must have `tokens`, but has none; did you mean `token`\?"),
        ({"P1": [{}]}, "must have `tokens`, but has none; the object is empty"),
        ("[" * 100_000, "nested too deeply|must be JSON"),
    ],
)
def test_read_fewrel_bad_file_raises(write, content, match):
    with pytest.raises(DataError, match=match):
        read_fewrel(write("f.json", content))


def test_read_fewrel_not_utf8_raises_with_byte(tmp_path):
    path = tmp_path / "f.json"
    path.write_bytes('{"P1": "é"}'.encode("latin-1"))
    with pytest.raises(DataError, match="must be UTF-8, but byte 8 is 0xe9"):
        read_fewrel(path)


def test_read_fewrel_absent_file_raises(tmp_path):
    with pytest.raises(DataError, match=r"must be readable, but .*f\.json: No such file"):
        read_fewrel(tmp_path / "f.json")


def test_read_tacred_subject_is_head_and_ends_are_inclusive(write):
    (instance,) = read_tacred(write("t.json", [TACRED]))
    assert entities(instance.sentence) == ("ABC", "Tom Thabane")
    assert (instance.relation, instance.place) == ("org:founded_by", "t.json [0] (id e779)")


def test_read_tacred_no_relation_is_dropped_and_order_kept(write):
    records = [TACRED | {"relation": r} for r in ("per:title", "no_relation", "org:founded", "per:title")]
    assert [i.relation for i in read_tacred(write("t.json", records))] == [
        "per:title",
        "org:founded",
        "per:title",
    ]


def test_tacred_roles_share_one_file_without_overlap(write):
    records = [TACRED | {"relation": r} for r in (*NOVEL_TACRED_RELATIONS, "per:title", "org:founded_by")]
    instances = read_tacred(write("t.json", records))
    assert len(set(NOVEL_TACRED_RELATIONS)) == 10
    assert [i.relation for i in known_tacred(instances)] == ["per:title", "org:founded_by"]
    assert [i.relation for i in novel_tacred(instances)] == list(NOVEL_TACRED_RELATIONS)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"subj_end": 6},
            "the subject must lie within the sentence of 6 words, but has subj_start 4 and subj_end 6; "
            "subj_end is the last word itself, so subj_start <= subj_end <= 5 must hold",
        ),
        (
            {"subj_start": 5, "subj_end": 4},
            "but has subj_start 5 and subj_end 4; subj_end is the last word itself",
        ),
        ({"obj_start": -1}, "the object must lie within .* but has obj_start -1 and obj_end 1"),
        ({"obj_start": "0"}, "obj_start and obj_end must be whole numbers, but are '0' and 1"),
        ({"obj_end": None}, "obj_start and obj_end must be whole numbers, but are 0 and None"),
        ({"relation": None}, "`relation` must be a string, but got None"),
        ({"relation": ""}, "`relation` must have a name, but is empty"),
    ],
)
def test_read_tacred_bad_instance_raises_with_id(write, change, match):
    with pytest.raises(DataError, match=match) as caught:
        read_tacred(write("t.json", [TACRED | change]))
    assert "t.json [0] (id e779)" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({}, "must be a list of instances, but is a dict"),
        ([TACRED | {"relation": "no_relation"}], "holds none of 1"),
        ([{k: v for k, v in TACRED.items() if k != "obj_end"}], "must have `obj_end`, but has none"),
    ],
)
def test_read_tacred_bad_file_raises(write, content, match):
    with pytest.raises(DataError, match=match):
        read_tacred(write("t.json", content))


def test_read_jsonl_words_and_text_give_the_same_sentence(write):
    text = {"text": "in Paris Marie Curie", "head": [3, 8], "tail": [9, 20], "relation": None, "id": 7}
    first, second = read_jsonl(write("d.jsonl", lines(LINE, text)))
    assert first.sentence == second.sentence
    assert (first.relation, second.relation) == ("lived in", None)
    assert (first.place, second.place) == ("d.jsonl line 1", "d.jsonl line 2")


def test_read_jsonl_absent_relation_is_none(write):
    line = {key: value for key, value in LINE.items() if key != "relation"}
    assert read_jsonl(write("d.jsonl", lines(line)))[0].relation is None


def test_read_jsonl_raw_line_separator_in_text_stays_one_line(write):
    record = {"text": "a\u2028b \u0085c", "head": [0, 1], "tail": [2, 3]}
    path = write("d.jsonl", "\ufeff" + json.dumps(record, ensure_ascii=False) + "\r\n\r\n" + lines(LINE))
    first, second = read_jsonl(path)
    assert first.sentence.text == "a\u2028b \u0085c"
    assert second.place == "d.jsonl line 3"


def test_read_sentences_bad_relation_is_not_looked_at(write):
    path = write("d.jsonl", lines(LINE | {"relation": 3}))
    assert read_sentences(path)[0].relation is None
    with pytest.raises(DataError, match="line 1: `relation` must be a string, but got 3"):
        read_jsonl(path)


def test_read_jsonl_bad_lines_are_named_all_at_once(write):
    path = write("d.jsonl", "{\n" + lines(LINE, LINE | {"head": [1, 1]}) + "\n3\n")
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("d.jsonl line 1: must be JSON, but column 2")
    assert second.startswith("d.jsonl line 3: the head span must not be empty")
    assert third.startswith("d.jsonl line 5: an instance must be a JSON object")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"head": [1]}, r"`head` must be \[start, end\], but got \[1\]"),
        ({"head": [1, 1]}, r"head span must not be empty, but is \[1, 1\).*one word is \[1, 2\)"),
        ({"head": [2, 1]}, r"head span must lie within .* but is \[2, 1\)"),
        ({"tail": [3, 5]}, r"tail span must lie within the sentence of 4 words, but is \[3, 5\)"),
        ({"tail": [1.0, 2]}, "tail span must be two whole numbers"),
        ({"tail": [False, 2]}, "tail span must be two whole numbers"),
        ({"text": "both"}, "must have `tokens` or `text`, but has both"),
        ({"relation": ""}, "`relation` must have a name"),
    ],
)
def test_read_jsonl_bad_line_raises_with_line(write, change, match):
    with pytest.raises(DataError, match=match) as caught:
        read_jsonl(write("d.jsonl", lines(LINE, LINE | change)))
    assert "d.jsonl line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("record", "match"),
    [
        ({"text": "ab", "head": [0, 3], "tail": [0, 1]}, "sentence of 2 characters"),
        ({"text": " ", "head": [0, 1], "tail": [0, 1]}, "a sentence must hold words"),
        ({"text": "a b", "head": [1, 2], "tail": [0, 1]}, "head entity must hold some text, but is ' '"),
        ({"text": 3, "head": [1, 2], "tail": [0, 1]}, "`text` must be a string"),
        ({"tokens": ["a", "b"], "head": [0, 1]}, "must have `tail`"),
        ([1], "must be a JSON object"),
    ],
)
def test_read_jsonl_bad_record_raises(write, record, match):
    with pytest.raises(DataError, match=match):
        read_jsonl(write("d.jsonl", lines(record)))


@pytest.mark.parametrize("read", [read_jsonl, read_sentences])
def test_read_jsonl_empty_file_raises(write, read):
    with pytest.raises(DataError, match=r"d\.jsonl is empty"):
        read(write("d.jsonl", "\n\n"))


def test_read_jsonl_absent_file_raises(tmp_path):
    with pytest.raises(DataError, match="must be readable"):
        read_jsonl(tmp_path / "d.jsonl")


@pytest.fixture(params=["fewrel", "tacred", "jsonl", "sentences"])
def short_file(request, write, fewrel_record):
    """One sentence of at most 30 characters in each format: its reader and its file."""
    record = {"tokens": LINE["tokens"], "head": LINE["head"], "tail": LINE["tail"], "relation": "r"}
    return {
        "fewrel": (read_fewrel, lambda: write("f.json", {"P1": [fewrel_record()]}), r"f\.json P1\[0\]"),
        "tacred": (read_tacred, lambda: write("t.json", [TACRED]), r"t\.json \[0\] \(id e779\)"),
        "jsonl": (read_jsonl, lambda: write("j.jsonl", lines(record)), r"j\.jsonl line 1"),
        "sentences": (read_sentences, lambda: write("s.jsonl", lines(record)), r"s\.jsonl line 1"),
    }[request.param]


def test_readers_of_a_sentence_at_the_limit_take_it_and_above_it_name_the_place(short_file):
    read, make, place = short_file
    path = make()
    length = len(read(path)[0].sentence.text)
    assert len(read(path, Limits(1.0, length))) == 1
    message = f"^{place}: a sentence must have at most {length - 1} characters, but has {length}; .*data.max_sentence"
    with pytest.raises(DataError, match=message):
        read(path, Limits(1.0, length - 1))


def test_readers_of_a_file_that_is_too_large_do_not_open_it(short_file):
    read, make, _ = short_file
    path = make()
    mib = path.stat().st_size / 2**20
    assert len(read(path, Limits(mib, 1000))) == 1
    path.write_bytes(b"{" * (path.stat().st_size + 1))
    with pytest.raises(
        DataError, match=rf"at most .* MiB, but .*{path.name} has 0\.0; .* raise data\.max_file_mib"
    ):
        read(path, Limits(mib, 1000))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('{"tokens": ["a", "b"], "head": [0, 1], "tail": [1, 2], "head": [1, 2]}', "key `head` stands twice"),
        ('{"tokens": ["a", "b"], "head": [NaN, 1], "tail": [1, 2]}', r"two whole numbers, but got \[nan, 1\]"),
        ('{"tokens": ["a", "b"], "head": [0, Infinity], "tail": [1, 2]}', r"two whole numbers, but got \[0, inf\]"),
        ('{"tokens": ["a", "b"], "head": [0, 1e999], "tail": [1, 2]}', "two whole numbers"),
        ('{"tokens": ["a", "b"], "head": [0, 1], "tail": [1, 2], "relation": NaN}', "must be a string, but got nan"),
        ('{"tokens": ["a", "b"], "head": [0, 1' + "0" * 4299 + '], "tail": [1, 2]}', "two whole numbers"),
        ('{"tokens": ["a", "b"], "head": [0, 1' + "0" * 5000 + '], "tail": [1, 2]}', "at most 4300 digits"),
        ('{"tokens": ["a", "\\ud800"], "head": [0, 1], "tail": [1, 2]}', r"token 1 must .* U\+D800"),
        ('{"tokens": ["a", "b"], "head": [0, 1], "tail": [1, 2], "relation": "\\udc00"}', "`relation` must"),
        ('{"tokens": ' + "[" * 700 + "]" * 700 + ', "head": [0, 1], "tail": [1, 2]}', "token 0 must be a string"),
        ("[" * 5000, "nested too deeply"),
    ],
)  # fmt: skip
def test_read_jsonl_line_of_odd_json_raises_with_its_line(write, line, match):
    with pytest.raises(DataError, match=rf"^d\.jsonl line 3: .*{match}"):
        read_jsonl(write("d.jsonl", f"{lines(LINE)}\n{line}\n"))


def test_read_jsonl_of_utf_16_says_so_once(tmp_path):
    (tmp_path / "d.jsonl").write_text(lines(*[LINE] * 20), encoding="utf-16")
    with pytest.raises(DataError, match=r"^[^\n]*d\.jsonl: must be UTF-8, but is UTF-16; save it as UTF-8$"):
        read_jsonl(tmp_path / "d.jsonl")


def test_read_jsonl_of_many_bad_lines_names_some_and_their_number(write):
    with pytest.raises(DataError) as caught:
        read_jsonl(write("d.jsonl", "3\n" * 500))
    assert str(caught.value).splitlines()[9].startswith("d.jsonl line 10: ")
    assert str(caught.value).endswith("\nand 490 more like these")


def test_read_fewrel_relation_that_stands_twice_raises(write, fewrel_record):
    one, two = (json.dumps({"P177": [fewrel_record()] * count}) for count in (2, 3))
    path = write("f.json", f"{one[:-1]},\n{two[1:]}")
    with pytest.raises(
        DataError, match=r"^f\.json: relation P177 stands twice \(lines 1 and 2\); merge its lists$"
    ):
        read_fewrel(path)


def test_read_fewrel_bad_instances_are_named_all_at_once(write, fewrel_record):
    content = {"P1": [fewrel_record(), 3], "\ud800": [], "": [], "P2": 5, "P3": [{}]}
    with pytest.raises(DataError) as caught:
        read_fewrel(write("f.json", content))
    starts = ["f.json P1[1]: ", "f.json: the name of", "f.json: a relation", "f.json P2: ", "f.json P3[0]: "]
    found = str(caught.value).splitlines()
    assert [line[: len(start)] for line, start in zip(found, starts, strict=True)] == starts


@pytest.mark.parametrize(
    ("found", "written"),
    [
        ("e1", "e1"),
        (7, "7"),
        ("a\nb", r"'a\nb'"),
        ("\ud800", r"'\ud800'"),
        ("x" * 99, f"'{'x' * 59}..."),
        ([], "[]"),
    ],
)
def test_read_tacred_of_any_id_places_stay_short_and_printable(write, found, written):
    (instance,) = read_tacred(write("t.json", [TACRED | {"id": found}]))
    assert instance.place == f"t.json [0] (id {written})"


def test_readers_call_a_file_what_they_are_told(write, fewrel_record):
    path = write("f.json", {"P1": [fewrel_record()]})
    assert read_fewrel(path, name="a/f.json")[0].place == "a/f.json P1[0]"
    assert read_tacred(write("t.json", [TACRED]), name="a/t.json")[0].place == "a/t.json [0] (id e779)"
    assert read_sentences(write("d.jsonl", lines(LINE)), name="a/d.jsonl")[0].place == "a/d.jsonl line 1"
