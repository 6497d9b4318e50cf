"""Pictures of the final comparison: every seed is a dot."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from tune.report.contents import Cell, Picture, table
from tune.report.numbers import NO_NUMBER, interval, mean_std, p_value, score, signed
from tune.report.results import Record, Results, values_by_seed
from tune.report.svg import BEST, CARD, GRID, HEIGHT, PAPER, TRIAL, drawing
from tune.statistics import Comparison, compare, corrected


def tone_of(results: Results, name: str) -> str:
    """Return "best", "paper" or nothing."""
    return "best" if name == results.best_name else "paper" if name == results.reference else ""


def color_of(results: Results, name: str) -> str:
    """Return the colour of a configuration."""
    return {"best": BEST, "paper": PAPER, "": TRIAL}[tone_of(results, name)]


def title_of(metric: str) -> str:
    """Return a metric's name for a heading."""
    words = {
        "b3_precision": "B³ precision",
        "b3_recall": "B³ recall",
        "b3_f1": "B³ F1",
        "homogeneity": "Homogeneity",
        "completeness": "Completeness",
        "v_measure": "V-measure",
        "ari": "ARI",
        "known_accuracy": "Known accuracy",
        "novel_accuracy_hungarian": "Novel accuracy (matched)",
        "silhouette": "Silhouette",
        "pseudo_label_change": "Pseudo labels changed",
    }
    return words.get(metric.rsplit(".", 1)[-1], metric)


def seeds_picture(results: Results) -> Picture | None:
    """Draw the values of every seed, linked from configuration to configuration, with mean and interval."""
    metric = results.metric
    entries = [entry for entry in results.final if values_by_seed(entry, metric)]
    if not entries:
        return None
    with drawing(results.of_data_set("seeds")) as drawn:
        axes = drawn.axes
        for seed in sorted({seed for entry in entries for seed in values_by_seed(entry, metric)}):
            found = [(x, values_by_seed(entry, metric).get(seed)) for x, entry in enumerate(entries)]
            line = [(x, value) for x, value in found if value is not None]
            axes.plot(*zip(*line, strict=True), color=GRID, linewidth=1.2, zorder=1)
        for x, entry in enumerate(entries):
            color, figures = color_of(results, entry["name"]), entry["metrics"][metric]
            values = list(values_by_seed(entry, metric).values())
            axes.plot([x] * len(values), values, "o", color=color, alpha=0.55, markersize=5.5, zorder=2)
            if figures.get("ci95"):
                axes.plot([x + 0.16] * 2, figures["ci95"], color=color, linewidth=2, zorder=2)
            axes.plot(
                [x + 0.16], [figures["mean"]], "D", color=color, markersize=7, markeredgecolor=CARD, zorder=3
            )
            axes.annotate(
                score(figures["mean"]),
                (x + 0.16, figures["mean"]),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
                fontweight="bold" if color == BEST else "normal",
            )
        axes.set_xticks(range(len(entries)), [entry["name"] for entry in entries])
        axes.set_xlim(-0.4, len(entries) - 0.35)
        axes.set_ylabel(title_of(metric))
        axes.grid(visible=False, axis="x")
    rows = [
        (Cell(entry["name"]), str(seed), Cell(score(value), repr(value)))
        for entry in entries
        for seed, value in values_by_seed(entry, metric).items()
    ]
    return Picture(
        name=results.of_data_set("seeds"),
        title=f"{title_of(metric)} of every seed",
        caption="A dot is a seed, a line joins the same seed; diamonds are means, bars their 95% intervals "
        "(Student's t).",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(("Configuration", "Seed", title_of(metric)), rows),
    )


def comparisons(results: Results) -> list[tuple[str, dict[int, float], Comparison]]:
    """Compare every configuration with the reference, over the seeds that both finished, corrected for all of them.

    Other data than the reference's make no pairs. In an experiment, all data sets are corrected for together.
    """
    metric, reference = results.metric, results.final_named(results.reference)
    if reference is None:
        return []
    theirs, named, compared = values_by_seed(reference, metric), [], []
    for entry in results.final:
        ours = values_by_seed(entry, metric)
        seeds = [seed for seed in ours if seed in theirs]
        if entry["name"] != results.reference and seeds and entry.get("shares_data", True):
            named.append((str(entry["name"]), {seed: ours[seed] - theirs[seed] for seed in seeds}))
            compared.append(compare([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]))
    together = _given(results, [name for name, _ in named]) if results.is_experiment else corrected(compared)
    return [(*pair, comparison) for pair, comparison in zip(named, together, strict=True)]


def _given(results: Results, names: Sequence[str]) -> list[Comparison]:
    """Return the comparisons that the results hold."""
    kept = [field.name for field in fields(Comparison)]
    found = ((results.final_named(name) or {})["against_reference"] for name in names)
    return [Comparison(**{key: each[key] for key in kept}) for each in found]


def differences_picture(results: Results) -> Picture | None:
    """Draw the difference to the reference, seed by seed."""
    found = comparisons(results)
    if not found:
        return None
    with drawing(results.of_data_set("differences"), height=min(HEIGHT, 1.6 + 0.55 * len(found))) as drawn:
        axes = drawn.axes
        axes.axvline(0, color=PAPER, linewidth=1.5)
        for y, (name, differences, comparison) in enumerate(reversed(found)):
            color = color_of(results, name)
            values = list(differences.values())
            axes.plot(values, [y - 0.14] * len(values), "o", color=color, alpha=0.55, markersize=5.5)
            if comparison.ci95 is not None:
                axes.plot(comparison.ci95, [y + 0.14] * 2, color=color, linewidth=2)
            axes.plot(
                [float(np.mean(values))], [y + 0.14], "D", color=color, markersize=7, markeredgecolor=CARD
            )
        axes.set_yticks(range(len(found)), [name for name, _, _ in reversed(found)])
        axes.set_ylim(-0.6, len(found) - 0.4)
        axes.set_xlabel(f"{title_of(results.metric)} minus {results.reference_text}, same seed")
        axes.grid(visible=False, axis="y")
    rows = [_comparison_row(name, comparison) for name, _, comparison in found]
    many = (
        f" Intervals and p values are corrected for {num_compared} comparisons (Holm)."
        if (num_compared := found[0][2].num_compared) > 1
        else ""
    )
    return Picture(
        name=results.of_data_set("differences"),
        title=f"Difference to {results.reference_text}",
        caption="A dot is a seed; diamonds are means, bars their 95% intervals (Student's t). "
        f"Right of the line is better than {results.reference_text}.{many}",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(
            (
                "Configuration",
                "Difference",
                "95% interval",
                "p (paired t)",
                "Probably better",
                "Pairs",
            ),
            rows,
        ),
    )


def _comparison_row(name: str, comparison: Comparison) -> Sequence[object]:
    better = comparison.probability_better
    return (
        name,
        Cell(signed(comparison.difference), repr(comparison.difference)),
        interval(list(comparison.ci95) if comparison.ci95 else None, plus=True),
        p_value(comparison.p_value),
        NO_NUMBER if better is None else Cell(f"{better:.0%}", repr(better)),
        str(comparison.num_pairs),
    )


def summary_of(entry: Record | None, metric: str) -> str:
    """Return mean ± standard deviation of one configuration."""
    return mean_std((entry or {}).get("metrics", {}).get(metric))
