"""report.tex: the final comparison as a table to paste into a paper."""

import math
import re
from collections.abc import Sequence

import rocore
from tune.names import short_keys, short_value
from tune.report.pictures_final import comparisons
from tune.report.results import INCREMENTAL, PAPER, Record, Results
from tune.statistics import Comparison

HEADINGS = {
    "b3_precision": "B$^3$ P",
    "b3_recall": "B$^3$ R",
    "b3_f1": "B$^3$ F1",
    "homogeneity": "Hom.",
    "completeness": "Comp.",
    "v_measure": "V",
    "ari": "ARI",
    "known_accuracy": "Known acc.",
    "novel_accuracy_hungarian": "Novel acc.",
}
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",  # a bare one is a command where babel is used for German
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    **{character: f"{{{character}}}" for character in "*[]"},  # what \\ before a row takes for its own
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
SYMBOLS = {"lambda": r"$\lambda$", "sigma": r"$\sigma$", "mu0": r"$\mu_0$", "T": "$T$", "layer": "layer $r$"}


def latex_table(*parts: Results) -> str | None:
    """Return report.tex; None before the final comparison.

    For each part, which is one data set's: a table of the novel relations' metrics; in incremental mode one of known
    and novel relations together; and one of the differences to the reference.
    """
    parts = tuple(part for part in parts if part.final)
    if not parts:
        return None
    tables = [each for part in parts for each in _tables(part)]
    return "\n\n".join(["\n".join(_head(parts[0])), *tables]) + "\n"


def _tables(results: Results) -> list[str]:
    novel = [name for name in results.metrics if name not in INCREMENTAL]
    together = [name for name in results.metrics if name in INCREMENTAL]
    tables = [_metrics_table(results, novel, "novel", "novel test split")]
    if together:
        what = "known and novel test instances together (incremental)"
        tables.append(_metrics_table(results, together, "incremental", what))
    compared = comparisons(results)
    if compared:
        tables.append(_differences_table(results, compared))
    return tables


def _head(results: Results) -> list[str]:
    head = ["% Written by rocore-tune; needs \\usepackage{booktabs}."]
    if results.stamp:
        head.append(f"% {escape(results.stamp)}")
    if results.tree.get("synthetic"):
        head.append("% Synthetic data: the numbers say nothing about real text.")
    return head


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line; more than Latin letters take LuaLaTeX and a font."""
    escaped = "".join(SPECIAL.get(character, character) for character in rocore.visible(text))
    return re.sub("-(?=-)", "-{}", escaped)  # two are a dash


def _metrics_table(results: Results, metrics: Sequence[str], label: str, what: str) -> str:
    rows = []
    for entry in results.final:
        figures = entry.get("metrics") or {}
        values = (_mean_std(figures.get(metric)) for metric in metrics)
        rows.append([_name(results, entry["name"]), _num_seeds(entry), *values])
    headings = ["Configuration", "$n$", *map(_heading, metrics)]
    return _float("table*", headings, rows, _caption(results, what), results.of_data_set(label))


def _differences_table(results: Results, compared: Sequence[tuple[str, dict[int, float], Comparison]]) -> str:
    rows = [[_name(results, name), *_comparison(comparison)] for name, _, comparison in compared]
    metric = _heading(results.metric)
    num_compared = compared[0][2].num_compared
    many = f", corrected for {num_compared} comparisons (Holm)" if num_compared > 1 else ""
    reference = escape(str(results.reference)) if results.is_experiment else results.reference_text
    on = "" if results.data_set is None else f" on {escape(results.data_set)}"
    caption = (
        f"Difference in {metric} to {reference}{on}, paired by seed: mean, 95\\% interval and p value of "
        f"Student's $t$-test{many}."
    )
    headings = ["Configuration", "Pairs", rf"$\Delta$ {metric}", r"95\% CI", "$p$"]
    return _float("table", headings, rows, caption, results.of_data_set("differences"))


def _float(
    environment: str, headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str
) -> str:
    body = "\n".join(" & ".join(row) + r" \\" for row in rows)
    return rf"""\begin{{{environment}}}[t]
\centering\footnotesize
\begin{{tabular}}{{lr{"c" * (len(headings) - 2)}}}
\toprule
{" & ".join(headings)} \\
\midrule
{body}
\bottomrule
\end{{tabular}}
\caption{{{caption}}}
\label{{tab:rocore-{label}}}
\end{{{environment}}}"""


def _heading(metric: str) -> str:
    last = metric.rsplit(".", 1)[-1]
    return HEADINGS.get(last, escape(last))


def _name(results: Results, name: str) -> str:
    if results.is_experiment:
        return escape(name)
    if name == PAPER:
        return "Paper's configuration"
    return "Search's choice" if name == results.best_name else escape(name)


def _num_seeds(entry: Record) -> str:
    failed = {failure["seed"] for failure in entry.get("failed_seeds") or []}
    finished = len(set(entry.get("seeds") or []) - failed)
    return f"{finished} ({len(failed)} failed)" if failed else str(finished)


def _mean_std(figures: Record | None) -> str:
    mean, std = (figures or {}).get("mean"), (figures or {}).get("std")
    if mean is None or not math.isfinite(mean):
        return "--"
    return f"${mean:.3f}$" if std is None else rf"${mean:.3f}_{{\pm {std:.3f}}}$"


def _comparison(comparison: Comparison) -> list[str]:
    difference, interval = comparison.difference, comparison.ci95
    return [
        str(comparison.num_pairs),
        "--" if difference is None else f"${difference:+.3f}$",
        "--" if interval is None else f"$[{interval[0]:+.3f}, {interval[1]:+.3f}]$",
        _p_value(comparison.p_value),
    ]


def _p_value(p: float | None) -> str:
    return "--" if p is None else "$< 0.001$" if p < 0.001 else f"${p:.3f}$"


def _caption(results: Results, what: str) -> str:
    data, encoder = results.tree.get("data") or {}, results.tree.get("encoder") or {}
    name = results.data_set or data.get("format", "the data")
    parts = [f"RoCORE on {escape(str(name))}, {what}"]
    if encoder.get("name"):
        parts.append(f"encoder {escape(str(encoder['name']))}")
    fresh = "" if results.is_experiment else " that the search did not use"
    text = f"{', '.join(parts)}: mean and, small, standard deviation over $n$ seeds{fresh}"
    if results.best_params and results.best_name != PAPER:
        names = short_keys(results.best_params)
        values = [
            f"{SYMBOLS.get(names[key], escape(names[key]))} = {escape(short_value(value))}"
            for key, value in results.best_params.items()
        ]
        text += f". Search's choice: {escape(str(results.best_name))}, {', '.join(values)}"
    stamp = f" \\textbf{{{escape(results.stamp.capitalize())}.}}" if results.stamp else ""
    return f"{text}.{stamp}"
