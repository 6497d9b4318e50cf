"""report.tex: what a paper takes over."""

import re

import pytest

from tune.report.latex import escape, latex_table
from tune.report.results import Results


def tables_of(text):
    """Return label, number of columns, headings and rows of every table."""
    found = {}
    for table in text.split(r"\begin{table")[1:]:
        head, body = table.split(r"\midrule")
        rows = body.split(r"\bottomrule")[0].strip().splitlines()
        label = re.search(r"\\label\{tab:rocore-(\w+)\}", table)[1]
        columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", head)[1])
        headings = cells(head.split("\\toprule\n")[1])
        found[label] = (columns, headings, [cells(row) for row in rows])
    return found


def cells(row):
    return [cell.strip() for cell in row.strip().removesuffix(r"\\").split("&")]


def test_latex_tables_hold_mean_spread_and_seeds(tree):
    _, headings, (best, second, paper) = tables_of(latex_table(Results(tree)))["novel"]
    figures = tree["final"][0]["metrics"]["novel_test.b3_f1"]
    assert best[:2] == ["Search's choice", "5"]
    assert best[headings.index("B$^3$ F1")] == rf"${figures['mean']:.3f}_{{\pm {figures['std']:.3f}}}$"
    assert second[:2] == ["trial-7", "4 (1 failed)"]
    assert paper[0] == "Paper's configuration"


def test_latex_tables_hold_difference_interval_and_p(tree):
    _, _, (best, second) = tables_of(latex_table(Results(tree)))["differences"]
    assert best[1] == "5"
    assert re.fullmatch(r"\$\+0\.\d{3}\$", best[2])
    assert re.fullmatch(r"\$\[\+0\.\d{3}, \+0\.\d{3}\]\$", best[3])
    assert best[4] == "$< 0.001$"
    assert second[1] == "4"


def test_latex_tables_say_for_how_many_comparisons_they_are_corrected(tree):
    assert "corrected for 2 comparisons (Holm)" in latex_table(Results(tree))
    del tree["final"][1]
    assert "corrected" not in latex_table(Results(tree))


def test_latex_tables_have_as_many_columns_as_their_rows(tree):
    for columns, headings, rows in tables_of(latex_table(Results(tree))).values():
        assert {len(headings), *map(len, rows)} == {columns}


def test_latex_tables_balance_their_braces_and_environments(tree):
    tree["final"][1]["name"] = tree["data"]["format"] = r"50% of {x_1} & $y$ \ ~^#"
    text = latex_table(Results(tree))
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(.+?)\}", text) == ["table*", "tabular", "table", "tabular"]
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("leaky_relu", r"leaky\_relu"),
        ("a & b\n50%", r"a \& b\textbackslash{}n50\%"),
        ("\\", r"\textbackslash{}"),
    ],
)
def test_escape_prints_text_as_it_is(text, escaped):
    assert escape(text) == escaped


def test_latex_tables_in_incremental_mode_have_one_more(tree):
    figure = {"mean": 0.5, "std": None, "n": 1, "values": [0.5], "ci95": None}
    tree["final"][0]["metrics"]["all_test.b3_f1"] = figure
    tables = tables_of(latex_table(Results(tree)))
    assert list(tables) == ["novel", "incremental", "differences"]
    assert [row[2] for row in tables["incremental"][2]] == ["$0.500$", "--", "--"]


def test_latex_table_without_a_final_comparison_is_none(tree):
    assert latex_table(Results(tree | {"final": []})) is None
