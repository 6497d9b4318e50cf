"""Pictures of what mattered: the importance of each parameter, and the objective over two of them."""

import itertools
import math
from typing import Any

import numpy as np

from tune.names import short_value, symbols
from tune.report.contents import Cell, Picture, table
from tune.report.importances_optuna import Importances
from tune.report.numbers import score
from tune.report.pictures_slices import draw_points, scored
from tune.report.results import Record, Results
from tune.report.svg import BEST, INK, MUTED, TRIAL, drawing, legend_above

NUM_LEVELS = 8


def importances_picture(results: Results, found: Importances) -> Picture:
    """Draw the share of each searched parameter, its spread, and what chance gives."""
    names = symbols(results.keys)
    ranked = sorted(found.by_key.items(), key=lambda item: item[1].share)
    with drawing("importances", height=1.3 + 0.42 * len(ranked)) as drawn:
        axes = drawn.axes
        for y, (_, importance) in enumerate(ranked):
            above = importance.above_chance
            axes.barh(y, importance.share, color=BEST if above else TRIAL, alpha=0.8, height=0.6)
            axes.plot([importance.low, importance.high], [y, y], color=INK, linewidth=1.4)
            label = "90% of shuffled scores stay left of it" if y == 0 else None
            axes.plot(
                [importance.chance] * 2, [y - 0.38, y + 0.38], color=MUTED, dashes=(2, 1.5), label=label
            )
            axes.annotate(
                f"{importance.share:.0%}",
                (max(importance.high, importance.chance), y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
            )
        axes.set_yticks(range(len(ranked)), [names.get(key, key) for key, _ in ranked])
        reach = max(max(importance.high, importance.chance) for _, importance in ranked)
        axes.set_xlim(0, max(1e-9, 1.12 * reach))
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        legend_above(axes)
    rows = [
        (
            names.get(key, key),
            key,
            Cell(f"{one.share:.1%}", repr(one.share)),
            Cell(f"{one.low:.0%} … {one.high:.0%}", f"{one.low!r} {one.high!r}"),
            Cell(f"{one.chance:.1%}", repr(one.chance)),
            "yes" if one.above_chance else "no",
        )
        for key, one in reversed(ranked)
    ]
    return Picture(
        name="importances",
        title="Importance of each parameter",
        caption=f"Share of the objective's variance (fANOVA) over {found.trials_used}. Lines: the middle 80% over "
        "trials drawn anew with replacement. A grey bar is no more than shuffled scores give"
        f"{'; with so few trials only a rough hint' if len(found.rows) < 30 else ''}.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(
            ("Parameter", "Key", "Share", "80% interval", "By chance", "More than chance"),
            rows,
            2,
            num_text_last=1,
        ),
    )


def contour_picture(results: Results, found: Importances) -> Picture | None:
    """Draw the objective over the two most important numeric parameters, inside the trials' hull alone."""
    ranked = sorted(found.by_key, key=lambda key: -found.by_key[key].share)
    keys = [key for key in ranked if results.space[key]["distribution"] != "categorical"][:2]
    if len(keys) < 2:
        return None
    trials = [trial for trial in scored(results, keys[0]) if keys[1] in trial["params"]]
    x_of, y_of = (
        {t["number"]: _position(results.space[key], t["params"][key]) for t in trials} for key in keys
    )
    surface = _surface(
        np.array([[_position(results.space[key], params[key]) for key in keys] for params, _ in found.rows]),
        np.array([value for _, value in found.rows]),
    )
    if surface is None:
        return None
    from matplotlib.patches import Polygon

    names = symbols(results.keys)
    levels = np.linspace(surface.values.min(), surface.values.max(), NUM_LEVELS + 1)
    with drawing("contour") as drawn:
        axes = drawn.axes
        axes.use_sticky_edges = False  # points on the edge are whole
        axes.margins(0.05)
        for index, (low, high) in enumerate(itertools.pairwise(levels)):
            shade = 0.06 + 0.6 * index / (NUM_LEVELS - 1)
            band = axes.contourf(
                surface.x, surface.y, surface.values, levels=[low, high], colors=[BEST], alpha=shade
            )
            band.set_clip_path(Polygon(surface.hull, transform=axes.transData))
        draw_points(axes, results, trials, x_of, y_of)
        for key, axis in zip(keys, (axes.xaxis, axes.yaxis), strict=True):
            _ticks(axis, results.space[key])
        axes.set_xlabel(names[keys[0]])
        axes.set_ylabel(names[keys[1]])
        axes.grid(visible=False)
        legend_above(axes)
    rows = [
        (
            str(trial["number"]),
            str(trial["state"]),
            *(Cell(short_value(trial["params"][key]), repr(trial["params"][key])) for key in keys),
            Cell(score(trial["objective"]), repr(trial["objective"])),
        )
        for trial in sorted(trials, key=lambda trial: -trial["objective"])
    ]
    span = f"{score(float(levels[0]))} (pale) to {score(float(levels[-1]))} (strong)"
    return Picture(
        name="contour",
        title=f"Objective over {names[keys[0]]} and {names[keys[1]]}",
        caption=f"Smoothed over {found.trials_used}: {NUM_LEVELS} bands from {span}. The other parameters "
        "vary too. Blank: outside the trials. Filled: complete; hollow: stopped early.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(("Trial", "State", *(names[key] for key in keys), "Objective"), rows, 2),
    )


class _Surface:
    """A grid, the objective smoothed onto it, and the hull of the points, outside of which nothing is known.

    A Gaussian kernel of 0.15 of each axis' extent: as smooth as a few dozen trials allow.
    """

    def __init__(self, points: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], num: int = 60) -> None:
        from scipy.spatial import ConvexHull

        low, high = points.min(0), points.max(0)
        self.x, self.y = (np.linspace(low[axis], high[axis], num) for axis in (0, 1))
        grid = np.stack(np.meshgrid(self.x, self.y), axis=-1).reshape(-1, 2)
        distances = ((grid[:, None] - points[None]) / (0.15 * (high - low))) ** 2
        weights = np.exp(-0.5 * distances.sum(-1)) + 1e-12
        self.values = ((weights * scores).sum(1) / weights.sum(1)).reshape(num, num)
        self.hull = points[ConvexHull((points - low) / (high - low)).vertices]


def _surface(points: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> _Surface | None:
    if np.linalg.matrix_rank(points - points.mean(0)) < 2:
        return None
    return _Surface(points, scores)


def _position(dimension: Record, value: float) -> float:
    return math.log10(value) if _is_log(dimension) else float(value)


def _is_log(dimension: Record) -> bool:
    return bool(dimension.get("distribution") == "log_uniform")


def _ticks(axis: Any, dimension: Record) -> None:
    """Label the axis by the values; where it is logarithmic, positions are exponents."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    if dimension["distribution"] == "integer":
        axis.set_major_locator(MaxNLocator(integer=True))
    if not _is_log(dimension):
        return
    low, high = math.floor(math.log10(dimension["low"])), math.ceil(math.log10(dimension["high"]))
    steps = (1, 2, 5) if high - low <= 2 else (1, 3) if high - low <= 3 else (1,)
    axis.set_major_locator(
        FixedLocator([math.log10(step) + power for power in range(low, high + 1) for step in steps])
    )
    axis.set_major_formatter(FuncFormatter(lambda position, _: f"{10**position:.2g}"))
