"""The parts of the report that compute: numbers, names, best-so-far, pairs of seeds, importances."""

import re

import matplotlib as mpl
import pytest

from rocore.errors import ConfigError
from tests.awkward import AWKWARD
from tune.names import file_name, run_name, short_keys, symbols
from tune.report.contents import Table, cells
from tune.report.markdown import escape
from tune.report.numbers import duration, interval, mean_std, p_value, score, signed
from tune.report.pictures_final import comparisons
from tune.report.results import Results, values_by_seed
from tune.report.svg import VARIABLES, drawing

DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, DASH),
        (0.04, "0.0 s"),
        (59.4, "59.4 s"),
        (60, "1 min 00 s"),
        (119.7, "2 min 00 s"),
        (3599.9, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_duration_shows_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (score(0.71249), "0.712"),
        (score(float("nan")), DASH),
        (signed(-0.0317), f"{MINUS}0.032"),
        (mean_std({"mean": 0.5, "std": 0.0123}), "0.500 ± 0.012"),
        (mean_std({"mean": 0.5, "std": None}), "0.500"),
        (mean_std(None), DASH),
        (interval([-0.01, 0.02], plus=True), f"[{MINUS}0.010, +0.020]"),
        (interval(None), DASH),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.0414), "0.041"),
    ],
)
def test_numbers_are_rounded_for_people(shown, text):
    assert shown == text


def test_short_keys_are_the_papers_letters_and_unique():
    keys = ["loss.center_weight", "model.hidden_size", "other.hidden_size", "incremental.rampup_epochs"]
    assert list(short_keys(keys).values()) == ["lambda", "model.hidden_size", "other.hidden_size", "T"]
    assert symbols(keys)["loss.center_weight"] == "λ"


def test_run_name_is_short_and_a_folder_name():
    name = run_name(
        "0003", {"loss.center_weight": 0.00512345, "encoder.name": "a/b c", "encoder.output_layer": 4}
    )
    assert name == "0003-lambda=0.00512-name=a_b_c-layer=4"


@pytest.mark.parametrize(
    "text", [*AWKWARD.values(), "..", ".hidden", "", "\udcff", "\u804c" * 200], ids=ascii
)
def test_file_name_is_one_that_file_systems_take(text, tmp_path):
    name = file_name(text)
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(name.encode()) <= 120
    assert not name.startswith(".")
    assert name.isprintable()


def test_file_name_that_is_cut_tells_long_names_apart():
    long = "\u804c" * 200
    names = {file_name(f"{long}{end}") for end in "ab"} | {run_name("0003", {"encoder.name": f"{long}c"})}
    assert len(names) == 3
    assert all(len(name.encode()) == pytest.approx(119, abs=1) for name in names)


def test_values_by_seed_skips_failed_seeds(tree):
    entry = tree["final"][1]
    assert list(values_by_seed(entry, "novel_test.b3_f1")) == [1, 2, 4, 5]
    listed = entry | {"seeds": [1, 2, 4, 5]}
    assert values_by_seed(listed, "novel_test.b3_f1") == values_by_seed(entry, "novel_test.b3_f1")


def test_values_by_seed_that_cannot_be_paired_are_left_out():
    entry = {"seeds": [1, 2], "failed_seeds": [], "metrics": {"m": {"values": [0.5]}}}
    assert values_by_seed(entry, "m") == {}


def test_comparisons_pair_only_seeds_that_both_finished(tree):
    found = {name: (differences, comparison) for name, differences, comparison in comparisons(Results(tree))}
    differences, comparison = found["trial-7"]
    assert list(differences) == [1, 2, 4, 5]
    assert comparison.num_pairs == 4
    assert comparison.difference == pytest.approx(sum(differences.values()) / 4)


def test_svg_takes_its_colors_from_the_page_and_its_ids_from_its_name():
    before = mpl.rcParams["svg.fonttype"]
    with drawing("probe") as drawn:
        for color in VARIABLES:
            drawn.axes.plot([1, 2], [2, 1], "o-", color=color)
        drawn.axes.set_title("<b>$x_1$</b>")
    svg = drawn.svg
    assert not re.findall(r"#[0-9a-fA-F]{6}", svg)
    assert {f"var(--{name})" for name in VARIABLES.values()} <= set(re.findall(r"var\(--\w+\)", svg))
    assert all(name.startswith("probe-") for name in re.findall(r'\bid="([^"]+)"', svg))
    assert "&lt;b&gt;$x_1$&lt;/b&gt;" in svg
    assert mpl.rcParams["svg.fonttype"] == before


def test_markdown_escape_keeps_text_text():
    assert escape("a|b\n<i>_x_</i> `c`") == "a\\|b\\\\n&lt;i&gt;\\_x\\_&lt;/i&gt; \\`c\\`"


def test_table_knows_its_columns_of_numbers():
    table = Table(("name", "x", "why"), (cells(("a", 1, "b")),), num_text=1, num_text_last=1)
    assert [table.is_number(column) for column in range(3)] == [False, True, False]


def test_drawing_that_fails_holds_its_fault_and_logs_the_traceback(caplog):
    with drawing("probe") as drawn:
        drawn.axes.plot([1], [1, 2])
    assert drawn.svg == ""
    assert drawn.fault.startswith("ValueError: x and y")
    assert "picture probe can't be made" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [OSError(28, "full"), MemoryError("no room"), ConfigError("no such key")])
def test_drawing_passes_on_what_is_no_mistake_of_the_program(error):
    with pytest.raises(type(error), match=r"full|room|key"), drawing("probe"):
        raise error
