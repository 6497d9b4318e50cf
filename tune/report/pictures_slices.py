"""One picture a searched parameter: the objective against its value."""

from typing import TYPE_CHECKING

from tune.names import short_value, symbols
from tune.report.contents import Cell, Picture, Table, table
from tune.report.numbers import score
from tune.report.pictures_search import objective_cell, trial_tone
from tune.report.results import Record, Results
from tune.report.svg import BEST, CARD, INK, PAPER, TRIAL, drawing, legend_above, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYER = "encoder.output_layer"
SLICE_HEIGHT = 2.8


def slice_pictures(results: Results) -> tuple[Picture, ...]:
    """Draw every searched parameter that any scored trial sets."""
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
    with drawing(height=SLICE_HEIGHT) as (figure, axes):
        _draw_points(axes, results, trials, positions)
        if labels:
            axes.set_xticks(range(len(labels)), labels)
            axes.grid(visible=False, axis="x")
        elif dimension.get("distribution") == "log_uniform":
            _log_axis(axes)
        axes.set_xlabel(name if name == key else f"{name}   ({key})")
        axes.set_ylabel("Objective")
        legend_above(axes)
        svg = to_svg(figure, f"slice-{index}")
    return Picture(
        name=f"slice-{index}",
        title=f"Objective against {name}",
        caption="Filled: complete; hollow: stopped early.",
        svg=svg,
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


def _draw_points(axes: "Axes", results: Results, trials: list[Record], positions: dict[int, float]) -> None:
    best = results.best_trial["number"] if results.best_trial else None
    for trial in trials:
        number, is_paper = trial["number"], bool(trial.get("is_paper"))
        color = BEST if number == best else PAPER if is_paper else TRIAL
        marked = number == best or is_paper
        axes.plot(
            [positions[number]],
            [trial["objective"]],
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
    with drawing(height=SLICE_HEIGHT) as (figure, axes):
        tops = [
            (layer, max(float(t["objective"]) for t in complete[layer]))
            for layer in layers
            if complete[layer]
        ]
        if tops:
            axes.plot(
                *zip(*tops, strict=True), color=BEST, alpha=0.5, linewidth=1.4, label="best of each layer"
            )
        _draw_points(axes, results, trials, {t["number"]: float(t["params"][LAYER]) for t in trials})
        axes.set_xticks(range(layers[0], layers[-1] + 1))
        axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
        axes.set_xlabel("Output layer r")
        axes.set_ylabel("Objective")
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", labelcolor=INK)
        legend_above(axes)
        svg = to_svg(figure, "layers")
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
        "Filled: complete; hollow: stopped early.",
        svg=svg,
        table=table(("Layer", "Trials", "Complete", "Best", "Mean of complete"), rows),
    )
