"""One picture a searched parameter: the objective against its value."""

from typing import TYPE_CHECKING

import numpy as np

from tune.names import short_value, symbols
from tune.report.contents import Cell, Picture, Table, table
from tune.report.numbers import score
from tune.report.pictures_search import objective_cell, trial_tone
from tune.report.results import B3_F1, Record, Results
from tune.report.svg import BEST, CARD, INK, PAPER, TRIAL, drawing, label, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYER, CENTER_WEIGHT = "encoder.output_layer", "loss.center_weight"
COMPARABLE = ("pseudo_novel", "oracle")
"""Objectives that are B-cubed F1, as the final metric is; sweeps of older versions have others."""
MIN_TREND = 6
SLICE_HEIGHT = 2.8
TICK_CHARACTERS, NARROWEST = 60, 8
"""Characters that fit below a slice, shared by its ticks; a tick's at least."""
FINAL_CAPTION = "Crosses: B³ F1 of the final comparison, on the real split, mean and standard deviation."


def slice_pictures(results: Results) -> tuple[Picture, ...]:
    """Draw every searched parameter that any scored trial sets; the layer has a picture of its own."""
    found = [_slice(results, key, index) for index, key in enumerate(results.keys) if key != LAYER]
    return tuple(picture for picture in found if picture is not None)


def scored(results: Results, key: str) -> list[Record]:
    """Return the trials that have an objective and set this key."""
    return [
        trial
        for trial in results.trials
        if trial.get("objective") is not None and key in (trial.get("params") or {})
    ]


def _slice(results: Results, key: str, index: int) -> Picture | None:
    trials = scored(results, key)
    if not trials:
        return None
    name, dimension = symbols(results.keys)[key], results.space.get(key, {})
    positions, labels = _positions(trials, key, dimension)
    compared = smoothed = False
    with drawing(f"slice-{index}", height=SLICE_HEIGHT) as drawn:
        axes = drawn.axes
        draw_points(axes, results, trials, positions)
        compared = _draw_final(axes, results, key) if not labels else False
        is_log = dimension.get("distribution") == "log_uniform"
        smoothed = not labels and _draw_trend(axes, trials, positions, is_log)
        if labels:
            room = max(NARROWEST, TICK_CHARACTERS // len(labels))
            axes.set_xticks(range(len(labels)), [label(choice, room) for choice in labels])
            axes.grid(visible=False, axis="x")
        elif is_log:
            _log_axis(axes)
        axes.set_xlabel(name if name == key else f"{name}   ({key})")
        axes.set_ylabel("Objective")
        legend_above(axes)
    return Picture(
        name=f"slice-{index}",
        title=f"Objective against {name}",
        caption=" ".join(
            [
                "As the paper's Figure 5." if key == CENTER_WEIGHT else "",
                "Filled: complete; hollow: stopped early.",
                "Line: complete trials, smoothed; the other parameters vary too." if smoothed else "",
                FINAL_CAPTION if compared else "",
            ]
        ).strip(),
        svg=drawn.svg,
        fault=drawn.fault,
        table=_table(results, trials, key, name),
    )


def _table(results: Results, trials: list[Record], key: str, name: str) -> Table:
    ordered = sorted(trials, key=lambda trial: -float(trial["objective"]))
    rows = [
        (
            str(trial["number"]),
            str(trial["state"]),
            Cell(short_value(trial["params"][key]), repr(trial["params"][key])),
            objective_cell(trial),
        )
        for trial in ordered
    ]
    return table(
        ("Trial", "State", name, "Objective"),
        rows,
        2,
        tones=[trial_tone(results, trial) for trial in ordered],
    )


def _draw_final(axes: "Axes", results: Results, key: str) -> bool:
    """Draw the final comparison beside the search, where both are the same measure."""
    if results.objective.get("name") not in COMPARABLE:
        return False
    drawn = False
    for entry in results.final:
        figures = (entry.get("metrics") or {}).get(results.objective.get("final_metric", B3_F1)) or {}
        if figures.get("mean") is not None and key in (entry.get("params") or {}):
            axes.errorbar(
                [entry["params"][key]],
                [figures["mean"]],
                yerr=[figures.get("std") or 0.0],
                color=INK,
                marker="x",
                markersize=6,
                linewidth=1.2,
                linestyle="none",
                label=None if drawn else "final B³ F1",
                zorder=5,
            )
            drawn = True
    return drawn


def _draw_trend(axes: "Axes", trials: list[Record], x_of: dict[int, float], is_log: bool) -> bool:
    """Draw the complete trials, smoothed by a Gaussian kernel of an eighth of their extent."""
    complete = [trial for trial in trials if trial.get("state") == "complete"]
    raw = np.array([x_of[trial["number"]] for trial in complete])
    if len(set(raw.tolist())) < MIN_TREND:
        return False
    x = np.log10(raw) if is_log else raw
    y = np.array([float(trial["objective"]) for trial in complete])
    grid = np.linspace(x.min(), x.max(), 50)
    weights = np.exp(-0.5 * ((grid[:, None] - x) / (np.ptp(x) / 8)) ** 2)
    smooth = (weights * y).sum(1) / weights.sum(1)
    axes.plot(10**grid if is_log else grid, smooth, color=TRIAL, linewidth=1.6, alpha=0.8, zorder=2)
    return True


def _positions(trials: list[Record], key: str, dimension: Record) -> tuple[dict[int, float], list[str]]:
    """Return each trial's place on the horizontal axis, and the labels where the values are names."""
    values = {int(trial["number"]): trial["params"][key] for trial in trials}
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values())
    if numeric and dimension.get("distribution") != "categorical":
        return {number: float(value) for number, value in values.items()}, []
    choices = [*(dimension.get("choices") or [])]
    choices += [value for value in values.values() if value not in choices]
    labels = list(dict.fromkeys(short_value(choice) for choice in choices))
    return {number: float(labels.index(short_value(value))) for number, value in values.items()}, labels


def draw_points(
    axes: "Axes",
    results: Results,
    trials: list[Record],
    x_of: dict[int, float],
    y_of: dict[int, float] | None = None,
) -> None:
    """Draw trials at their places, by number; without `y_of` at the height of their objective."""
    best = results.best_trial["number"] if results.best_trial else None
    for trial in trials:
        number, is_paper = trial["number"], bool(trial.get("is_paper"))
        color = BEST if number == best else PAPER if is_paper else TRIAL
        marked = number == best or is_paper
        axes.plot(
            [x_of[number]],
            [trial["objective"] if y_of is None else y_of[number]],
            marker="D" if is_paper else "o",
            linestyle="none",
            markersize=8 if marked else 6,
            color=color,
            markerfacecolor=color if trial.get("state") == "complete" else CARD,
            zorder=4 if marked else 3,
            label=("best" if number == best else "paper's") if marked else None,
        )


def _log_axis(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def layers_picture(results: Results) -> Picture | None:
    """Draw the objective by output layer: every trial, and the best and the mean of each layer."""
    trials = scored(results, LAYER)
    by_layer: dict[int, list[Record]] = {}
    for trial in trials:
        by_layer.setdefault(int(trial["params"][LAYER]), []).append(trial)
    if not by_layer:
        return None
    layers = sorted(by_layer)
    complete = {layer: [t for t in by_layer[layer] if t["state"] == "complete"] for layer in layers}
    compared = False
    with drawing("layers", height=SLICE_HEIGHT) as drawn:
        axes = drawn.axes
        tops = [
            (layer, max(float(t["objective"]) for t in complete[layer]))
            for layer in layers
            if complete[layer]
        ]
        if tops:
            axes.plot(
                *zip(*tops, strict=True), color=BEST, alpha=0.5, linewidth=1.4, label="best of each layer"
            )
        draw_points(axes, results, trials, {t["number"]: float(t["params"][LAYER]) for t in trials})
        compared = _draw_final(axes, results, LAYER)
        axes.set_xticks(range(layers[0], layers[-1] + 1))
        axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
        axes.set_xlabel("Output layer r")
        axes.set_ylabel("Objective")
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", labelcolor=INK)
        legend_above(axes)
    rows = []
    for layer in layers:
        values = [float(trial["objective"]) for trial in complete[layer]]
        rows.append(
            (
                str(layer),
                str(len(by_layer[layer])),
                str(len(values)),
                Cell(score(max(values)), repr(max(values))) if values else score(None),
                score(sum(values) / len(values)) if values else score(None),
            )
        )
    return Picture(
        name="layers",
        title="Objective by output layer",
        caption="The layer that is fine-tuned; everything below it is frozen, nothing above it is run. "
        f"Filled: complete; hollow: stopped early. {FINAL_CAPTION if compared else ''}".strip(),
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(("Layer", "Trials", "Complete", "Best", "Mean of complete"), rows),
    )
