"""report.tex: the final comparison as a table to paste into a paper."""

import math
from collections.abc import Sequence

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
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
SYMBOLS = {"lambda": r"$\lambda$", "sigma": r"$\sigma$", "mu0": r"$\mu_0$", "T": "$T$", "layer": "layer $r$"}


def latex_table(results: Results) -> str | None:
    """Return report.tex; None before the final comparison.

    One table a group of metrics: novel relations alone and, in incremental mode, known and novel ones together.
    """
    if not results.final:
        return None
    novel = [name for name in results.metrics if name not in INCREMENTAL]
    together = [name for name in results.metrics if name in INCREMENTAL]
    tables = [_float(results, novel, "novel", _caption(results, "novel test split"))]
    if together:
        caption = _caption(results, "known and novel test instances together (incremental)")
        tables.append(_float(results, together, "incremental", caption))
    head = ["% Written by rocore-tune; needs \\usepackage{booktabs}."]
    if results.stamp:
        head.append(f"% {escape(results.stamp)}")
    if results.tree.get("synthetic"):
        head.append("% Synthetic data: the numbers say nothing about real text.")
    return "\n".join([*head, *tables]) + "\n"


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line."""
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _float(results: Results, metrics: Sequence[str], label: str, caption: str) -> str:
    compared = {name: comparison for name, _, comparison in comparisons(results)}
    shows_comparison = results.metric in metrics and bool(compared)
    headings = ["Configuration", "$n$", *(_heading(metric) for metric in metrics)]
    if shows_comparison:
        headings += [rf"$\Delta$ {_heading(results.metric)} [95\% CI]", "$p$"]
    rows = []
    for entry in results.final:
        figures = entry.get("metrics") or {}
        cells = [_name(results, entry), _num_seeds(entry)]
        cells += [_mean_std(figures.get(metric)) for metric in metrics]
        if shows_comparison:
            cells += _comparison(compared.get(str(entry["name"])))
        rows.append(" & ".join(cells) + r" \\")
    body = "\n".join(rows)
    return rf"""\begin{{table*}}[t]
\centering\small
\begin{{tabular}}{{lr{"c" * (len(headings) - 2)}}}
\toprule
{" & ".join(headings)} \\
\midrule
{body}
\bottomrule
\end{{tabular}}
\caption{{{caption}}}
\label{{tab:rocore-{label}}}
\end{{table*}}"""


def _heading(metric: str) -> str:
    last = metric.rsplit(".", 1)[-1]
    return HEADINGS.get(last, escape(last))


def _name(results: Results, entry: Record) -> str:
    name = escape(str(entry["name"]))
    if entry["name"] == PAPER:
        return "Paper's configuration"
    return f"Search's choice ({name})" if entry["name"] == results.best_name else name


def _num_seeds(entry: Record) -> str:
    failed = {failure["seed"] for failure in entry.get("failed_seeds") or []}
    finished = len(set(entry.get("seeds") or []) - failed)
    return f"{finished} ({len(failed)} failed)" if failed else str(finished)


def _mean_std(figures: Record | None) -> str:
    mean, std = (figures or {}).get("mean"), (figures or {}).get("std")
    if mean is None or not math.isfinite(mean):
        return "--"
    return f"${mean:.3f}$" if std is None else rf"${mean:.3f} \pm {std:.3f}$"


def _comparison(comparison: Comparison | None) -> list[str]:
    if comparison is None or comparison.difference is None:
        return ["--", "--"]
    difference = f"${comparison.difference:+.3f}$"
    if comparison.ci95 is not None:
        low, high = comparison.ci95
        difference += f" $[{low:+.3f}, {high:+.3f}]$"
    p = comparison.p_value
    return [difference, "--" if p is None else "$< 0.001$" if p < 0.001 else f"${p:.3f}$"]


def _caption(results: Results, what: str) -> str:
    data, encoder = results.tree.get("data") or {}, results.tree.get("encoder") or {}
    parts = [f"RoCORE on {escape(str(data.get('format', 'the data')))}, {what}"]
    if encoder.get("name"):
        parts.append(f"encoder {escape(str(encoder['name']))}")
    text = ", ".join(parts) + ": mean $\\pm$ standard deviation over $n$ seeds that the search did not use"
    if comparisons(results) and what.startswith("novel"):
        text += (
            "; difference to the paper's configuration with its paired bootstrap interval and paired $t$-test"
        )
    if results.best_params and results.best_name != PAPER:
        names = short_keys(results.best_params)
        values = [
            f"{SYMBOLS.get(names[key], escape(names[key]))} = {escape(short_value(value))}"
            for key, value in results.best_params.items()
        ]
        text += f". {escape(str(results.best_name))}: {', '.join(values)}"
    stamp = f" \\textbf{{{escape(results.stamp.capitalize())}.}}" if results.stamp else ""
    return f"{text}.{stamp}"
