"""Pictures of the search: the objective over trials, and learning curves."""

from typing import TYPE_CHECKING

from tune.report.contents import Cell, Picture, Table, table
from tune.report.learning_curves import best_so_far, joint_curve, median_trial
from tune.report.numbers import score
from tune.report.results import Record, Results
from tune.report.svg import BAD, BEST, CARD, INK, PAPER, TRIAL, drawing, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def objective_cell(trial: Record) -> Cell:
    """Return a trial's objective; a failed one has none."""
    value = trial.get("objective")
    return Cell(score(value), "" if value is None else repr(value))


def trial_tone(results: Results, trial: Record) -> str:
    """Return the tone of a trial's row."""
    if results.best_trial is not None and trial["number"] == results.best_trial["number"]:
        return "best"
    return "bad" if trial.get("state") == "failed" else "paper" if trial.get("is_paper") else ""


def history_picture(results: Results) -> Picture | None:
    """Draw the objective of every trial, in the order of the trials."""
    trials = results.trials
    if not trials:
        return None
    with drawing("history") as drawn:
        axes = drawn.axes
        line = best_so_far(trials)
        if line:
            axes.step(*zip(*line, strict=True), where="post", color=BEST, linewidth=1.6, label="best so far")
        for state, fill, label in (("complete", TRIAL, "complete"), ("pruned", CARD, "stopped early")):
            chosen = [trial for trial in results.of_state(state) if trial.get("objective") is not None]
            if chosen:
                axes.plot(
                    [trial["number"] for trial in chosen],
                    [trial["objective"] for trial in chosen],
                    "o",
                    color=TRIAL,
                    markerfacecolor=fill,
                    markersize=6,
                    label=label,
                )
        failed = results.of_state("failed")
        if failed:
            axes.plot(
                [trial["number"] for trial in failed],
                [0.03] * len(failed),
                "x",
                color=BAD,
                transform=axes.get_xaxis_transform(),
                label="failed",
            )
        _mark_paper(axes, results.paper_trial)
        whole_numbers(axes)
        axes.set_xlabel("Trial")
        axes.set_ylabel("Objective")
        legend_above(axes)
    rows = [(str(trial["number"]), str(trial.get("state")), objective_cell(trial)) for trial in trials]
    return Picture(
        name="history",
        title="Objective over trials",
        caption="Trials stopped early show the objective that they were stopped at; they don't move the "
        "best-so-far line.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(
            ("Trial", "State", "Objective"), rows, 2, tones=[trial_tone(results, trial) for trial in trials]
        ),
    )


def _mark_paper(axes: "Axes", trial: Record | None) -> None:
    if trial is not None and trial.get("objective") is not None:
        axes.plot(
            [trial["number"]],
            [trial["objective"]],
            "D",
            color=PAPER,
            markersize=8,
            markeredgecolor=CARD,
            linestyle="none",
            label="paper's",
            zorder=4,
        )


def whole_numbers(axes: "Axes") -> None:
    """Label the horizontal axis by whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def curves_picture(results: Results) -> Picture | None:
    """Draw the objective over epochs of every trial; the best, the median and the paper's stand out."""
    curves = {trial["number"]: joint_curve(trial) for trial in results.trials}
    curves = {number: curve for number, curve in curves.items() if curve}
    if not curves:
        return None
    marked = _marked_curves(results)
    with drawing("curves") as drawn:
        axes = drawn.axes
        for number, curve in curves.items():
            if number not in marked:
                axes.plot(*zip(*curve, strict=True), color=TRIAL, alpha=0.45, linewidth=1)
                axes.plot(*curve[-1], "o", color=TRIAL, alpha=0.6, markersize=3)
        for number, (label, color, style) in marked.items():
            if number in curves:
                line = zip(*curves[number], strict=True)
                axes.plot(*line, color=color, linewidth=2.2, linestyle=style, label=label)
        whole_numbers(axes)
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Objective")
        legend_above(axes)
    return Picture(
        name="curves",
        title="Learning curves",
        caption="Joint epochs of every trial; before them, in pre-training, there is nothing to score. "
        "A dot is where a trial ended or was stopped. The median is that of the complete trials.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=_curves_table(curves),
    )


def _marked_curves(results: Results) -> dict[int, tuple[str, str, str]]:
    """Return label, colour and line style of the trials that stand out; the best is drawn last."""
    median, paper, best = median_trial(results), results.paper_trial, results.best_trial
    roles: dict[int, list[str]] = {}
    looks: dict[int, tuple[str, str]] = {}
    for trial, role, look in (
        (median, "median", (INK, "--")),
        (paper, "paper's", (PAPER, "-")),
        (best, "best", (BEST, "-")),
    ):
        if trial is not None:
            roles.setdefault(trial["number"], []).append(role)
            looks[trial["number"]] = look
    return {
        number: (f"{' and '.join(reversed(names))} (trial {number})", *looks[number])
        for number, names in roles.items()
    }


def _curves_table(curves: dict[int, list[tuple[int, float]]]) -> Table:
    epochs = sorted({epoch for curve in curves.values() for epoch, _ in curve})
    by_epoch = {number: dict(curve) for number, curve in curves.items()}
    rows = [
        (str(epoch), *(Cell(score(value), repr(value)) if value is not None else "" for value in line))
        for epoch in epochs
        for line in [[by_epoch[number].get(epoch) for number in curves]]
    ]
    return table(("Epoch", *(f"trial {number}" for number in curves)), rows)
