"""YAML that a user wrote: what stands twice, what holds itself, what can't be read, and where."""

import re

import pytest
from click.testing import CliRunner

from rocore.commands.main import main
from rocore.config import load_config, make_config, parse_override, read_yaml
from rocore.errors import ConfigError
from rocore.yaml_reader import parse_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {root: a}\n\n\n\ndata: {}\n", "key `data` stands twice in run.yaml (lines 1 and 5); keep one"),
        ("seed: 1\nseed: 2\nseed: 3\n", "key `seed` stands 3 times in run.yaml (lines 1, 2 and 3); keep one"),
        ("loss:\n  scale: a\n  'scale': b\n", "key `loss.scale` stands twice in run.yaml (lines 2 and 3)"),
        ("train: {max_epochs: 1, max_epochs: 2}", "key `train.max_epochs` stands twice in run.yaml (line 1, "),
        ("{a: 1, a: 2,\na: 3}", "stands 3 times in run.yaml (line 1 column 2, line 1 column 8 and line 2 column 1)"),
        ("overrides:\n  train.max_epochs: 1\n  train.max_epochs: 1\n", "key `overrides.train.max_epochs` stands twice"),
        ("a: [1, {b: 1, b: 2}]", "key `a[1].b` stands twice"),
        ("yes: 1\ntrue: 2\n", "key `yes` stands twice in run.yaml (lines 1 and 2)"),
        ("a: !!set {x, x}", "key `a.x` stands twice"),
        ("a: 1\ra: 2\r", "key `a` stands twice in run.yaml (lines 1 and 2)"),
        ("a: &a {x: 1}\nb: &b {y: 1}\nc:\n  <<: *a\n  <<: *b\n", "key `c.<<` stands twice"),
    ],
)  # fmt: skip
def test_parse_yaml_of_a_key_that_stands_twice_names_it_and_both_lines(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_yaml(text, "run.yaml")


def test_parse_yaml_of_several_keys_that_stand_twice_names_them_all():
    with pytest.raises(
        ConfigError, match=r"^key `a` .* \(lines 1 and 4\).*\nkey `a.b` .* \(lines 2 and 3\).*$"
    ):
        parse_yaml("a:\n  b: 1\n  b: 2\na: 3\n", "run.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b: &b {x: 1, y: 2}\nc: {<<: *b, y: 3}\n", {"b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}}),
        ("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b}\nd: {<<: [*a, *b]}\n",
         {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 2}, "d": {"x": 1}}),
        ("a: &a [1e-4]\nb: *a\nc: [*a, *a]\n", {"a": [1e-4], "b": [1e-4], "c": [[1e-4], [1e-4]]}),
        ("a: {x: 1}\nb: {x: 1}\n1: a\n'1': b\n", {"a": {"x": 1}, "b": {"x": 1}, 1: "a", "1": "b"}),
    ],
)  # fmt: skip
def test_parse_yaml_of_merged_and_repeated_values_takes_them(text, expected):
    assert parse_yaml(text, "run.yaml") == expected


LAUGHS = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: &t {x: *t}", r"an alias must name what ends before it, but \*t stands within &t"),
        ("seed: 1\ntrain: &t\n  - [*t]\n", r"\*t stands within &t: run.yaml line 3; write the value out"),
        (LAUGHS, r"run.yaml line 7: aliases must stand for at most 1000000 values in all, but \*a"),
        ("a: 1\nseed: " + "1" * 5000, "run.yaml line 2: a whole number must have at most 4300 digits, but has 5000"),
        ("a: 2024-13-45", "run.yaml line 1: '2024-13-45' must be a value of YAML's type timestamp, but isn't"),
        ("a: !!float x", "'x' must be a value of YAML's type float"),
        ("a: !!int ''", "'' must be a value of YAML's type int"),
        ("a: !!bool x", "'x' must be a value of YAML's type bool"),
        ("a: !!timestamp x", "'x' must be a value of YAML's type timestamp"),
        ("\na: '\\'\nb: \"\\ud83d\"", r"run.yaml line 3: text must .* lone surrogate U\+D83D"),
        ('"\\udfff": 1', r"lone surrogate U\+DFFF"),
        ("a: 1\nb: \x00", r"run.yaml line 2 must be text, but holds the character U\+0000; remove it"),
        ("[" * 1000, "run.yaml must be YAML of a few levels, but is nested too deeply to read"),
        ("a: 1\n---\nb: 2\n", "run.yaml must be YAML, but expected a single document"),
        ("? [a]\n: 1", "run.yaml must be YAML, but while constructing a mapping"),
    ],
)  # fmt: skip
def test_parse_yaml_of_what_cannot_be_read_names_the_line(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "run.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: 3".encode("utf-16"), "must be UTF-8, but is UTF-16; save it as UTF-8"),
        ("seed: 3".encode("utf-16-be"), "must be UTF-8, but is UTF-16 or UTF-32"),
        ("seed: 3".encode("utf-32"), "must be UTF-8, but is UTF-32"),
        ("a: 1\nb: é\n".encode("latin-1"), "must be UTF-8, but byte 8 is 0xe9 in line 2"),
    ],
)
def test_read_yaml_of_another_encoding_names_it(content, message, tmp_path):
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "run.yaml")


def test_read_yaml_with_a_byte_order_mark_takes_it(tmp_path):
    (tmp_path / "run.yaml").write_bytes(b"\xef\xbb\xbfseed: 3")
    assert read_yaml(tmp_path / "run.yaml") == {"seed": 3}


@pytest.mark.parametrize("value", ["9" * 4000, ".inf", ".nan", "1e999"])
def test_load_config_of_a_number_that_is_none_names_its_key_shortly(value, tmp_path):
    (tmp_path / "run.yaml").write_text(f"data: {{novel_test_size: {value}}}")
    with pytest.raises(ConfigError, match=r"`data.novel_test_size`: input should be .*, but got .{3,250} in"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data={root: a, root: b}", r"key `root` stands twice in the value of `--set data={.*}` \(line 1, "),
        ("seed=" + "1" * 5000, r"the value of `--set seed=1{190,200}\.\.\.` line 1: a whole number must have"),
        ("data.known=&a [*a]", r"\*a stands within &a"),
        ("a=" + "[" * 1000, "nested too deeply"),
    ],
)  # fmt: skip
def test_parse_override_of_a_value_that_cannot_be_read_says_so(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_override(text)


def test_set_of_a_section_after_its_key_is_refused_and_before_it_is_taken(tmp_path):
    (tmp_path / "c.yaml").write_text("train: {max_epochs: 1}")

    def run(*settings):
        words = [word for setting in settings for word in ("--set", setting)]
        return CliRunner().invoke(main, ["data", "describe", str(tmp_path / "c.yaml"), *words])

    result = run("data.builtin.seed=3", "data.builtin={seed: 4}")
    assert result.exit_code == 2
    assert "`--set data.builtin` must come before what sets a key of it" in result.output
    small = "{num_known_relations: 2, num_novel_relations: 2, instances_per_relation: 8}"
    assert run(f"data.builtin={small}", "data.builtin.seed=3", "data.builtin.seed=4").exit_code == 0


def test_make_config_of_a_long_value_shortens_it():
    with pytest.raises(ConfigError, match=r"`data.format`: .* but got 'x{199}\.\.\. in the configuration$"):
        make_config({"data": {"format": "x" * 10_000}})
