"""The picture of a search with two objectives: which trials no other one beats in both."""

from typing import TYPE_CHECKING

from tune.report.contents import Cell, Picture, table
from tune.report.numbers import score
from tune.report.results import Record, Results
from tune.report.svg import BEST, CARD, PAPER, TRIAL, drawing, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pareto_picture(results: Results) -> Picture | None:
    """Draw the complete trials by two objectives, and the front of those that no other trial dominates.

    Entry `trade_off` of results.json holds their titles in `objectives`, their `directions` ("maximize" or
    "minimize") and, by number, the `values` of the trials.

    Returns:
        None where there aren't two objectives, or no trial has both values.
    """
    tree = results.tree.get("trade_off") or {}
    trials = [
        {**trial, "values": found}
        for trial in results.of_state("complete")
        if (found := tree.get("values", {}).get(str(trial["number"])))
    ]
    if not trials:
        return None
    names, directions = tree["objectives"], tree["directions"]
    front = pareto_front(trials, directions)
    with drawing("pareto") as drawn:
        axes = drawn.axes
        line = sorted(tuple(map(float, trial["values"])) for trial in front)
        axes.plot(*zip(*line, strict=True), color=BEST, linewidth=1.4, alpha=0.5, label="front")
        for trial in trials:
            _draw(axes, trial, on_front=trial in front)
        axes.set_xlabel(_axis(names[0], directions[0]))
        axes.set_ylabel(_axis(names[1], directions[1]))
        legend_above(axes)
    rows = [
        (
            str(trial["number"]),
            "yes" if trial in front else "no",
            *(Cell(score(float(value)), repr(value)) for value in trial["values"]),
        )
        for trial in trials
    ]
    return Picture(
        name="pareto",
        title=f"{names[0]} against {names[1]}",
        caption="Complete trials. No other trial is better than one on the front in one objective without being worse "
        "in the other: which of them is best depends on what is wanted. Early stopping, the race and the final "
        f"comparison go by {names[0]} alone.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(
            ("Trial", "On the front", *names), rows, 2, tones=["best" if t in front else "" for t in trials]
        ),
    )


def pareto_front(trials: list[Record], directions: list[str]) -> list[Record]:
    """Return the trials that no other one dominates: as good in every objective and better in one."""
    signs = [-1.0 if direction == "minimize" else 1.0 for direction in directions]
    points = [tuple(sign * float(v) for sign, v in zip(signs, t["values"], strict=True)) for t in trials]
    return [
        trial
        for trial, own in zip(trials, points, strict=True)
        if not any(
            other != own and all(theirs >= ours for theirs, ours in zip(other, own, strict=True))
            for other in points
        )
    ]


def _draw(axes: "Axes", trial: Record, *, on_front: bool) -> None:
    is_paper = bool(trial.get("is_paper"))
    color = PAPER if is_paper else BEST if on_front else TRIAL
    axes.plot(
        *([float(value)] for value in trial["values"]),
        marker="D" if is_paper else "o",
        markersize=8 if is_paper else 6,
        linestyle="none",
        color=color,
        markeredgecolor=CARD if on_front else color,
        label="paper's" if is_paper else None,
        zorder=4 if is_paper else 3,
    )
    axes.annotate(
        str(trial["number"]),
        trial["values"],
        xytext=(5, 4),
        textcoords="offset points",
        fontsize=8,
        alpha=1.0 if on_front else 0.5,
    )


def _axis(name: str, direction: str) -> str:
    return f"{name} ({'lower' if direction == 'minimize' else 'higher'} is better)"
