"""report.tex: what a paper takes over."""

import re

import pytest

from tune.report.latex import escape, latex_table
from tune.report.results import Results


def rows_of(text):
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    return [
        [cell.strip() for cell in row.split("&")]
        for row in body.replace("\n", " ").split(r"\\")
        if row.strip()
    ]


def test_latex_table_holds_mean_spread_seeds_interval_and_p(tree):
    text = latex_table(Results(tree))
    best, second, paper = rows_of(text)
    figures = tree["final"][0]["metrics"]["novel_test.b3_f1"]
    assert best[:2] == ["Search's choice (trial-15)", "5"]
    assert rf"${figures['mean']:.3f} \pm {figures['std']:.3f}$" in best
    assert re.fullmatch(r"\$\+0\.\d{3}\$ \$\[\+0\.\d{3}, \+0\.\d{3}\]\$", best[-2])
    assert best[-1] == "$< 0.001$"
    assert second[1] == "4 (1 failed)"
    assert paper[0] == "Paper's configuration"
    assert paper[-2:] == ["--", "--"]


def test_latex_table_has_as_many_columns_as_its_rows(tree):
    text = latex_table(Results(tree))
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
    assert {len(row) for row in rows_of(text)} == {columns}
    assert len(re.search(r"\\toprule\n(.*) \\\\", text)[1].split("&")) == columns


def test_latex_table_balances_its_braces_and_environments(tree):
    tree["final"][1]["name"] = tree["data"]["format"] = r"50% of {x_1} & $y$ \ ~^#"
    text = latex_table(Results(tree))
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(.+?)\}", text) == ["table*", "tabular"]
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("leaky_relu", r"leaky\_relu"), ("a & b\n50%", r"a \& b 50\%"), ("\\", r"\textbackslash{}")],
)
def test_escape_prints_text_as_it_is(text, escaped):
    assert escape(text) == escaped


def test_latex_table_in_incremental_mode_has_a_second_table(tree):
    figure = {"mean": 0.5, "std": None, "n": 1, "values": [0.5], "ci95": None}
    tree["final"][0]["metrics"]["all_test.b3_f1"] = figure
    text = latex_table(Results(tree))
    assert text.count(r"\begin{table*}") == 2
    assert "$0.500$" in text


def test_latex_table_without_a_final_comparison_is_none(tree):
    assert latex_table(Results(tree | {"final": []})) is None
