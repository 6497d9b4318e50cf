"""Pictures of the search: the objective over trials, learning curves, and where the time went."""

from typing import TYPE_CHECKING

from tune.names import short_value, symbols
from tune.report.contents import Cell, Picture, table
from tune.report.numbers import duration, score
from tune.report.results import Record, Results
from tune.report.svg import BAD, BEST, CARD, INK, MUTED, PAPER, TRIAL, drawing, legend_above, to_svg

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


def best_so_far(trials: list[Record]) -> list[tuple[int, float]]:
    """Return the highest objective of a complete trial after each trial; trials stopped early don't count."""
    best, line = None, []
    for trial in trials:
        value = trial.get("objective")
        if trial.get("state") == "complete" and value is not None and (best is None or value > best):
            best = value
        if best is not None:
            line.append((int(trial["number"]), float(best)))
    return line


def history_picture(results: Results) -> Picture | None:
    """Draw the objective of every trial, in the order of the trials."""
    trials = results.trials
    if not trials:
        return None
    with drawing() as (figure, axes):
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
        _whole_numbers(axes)
        axes.set_xlabel("Trial")
        axes.set_ylabel("Objective")
        legend_above(axes)
        svg = to_svg(figure, "history")
    rows = [(str(trial["number"]), str(trial.get("state")), objective_cell(trial)) for trial in trials]
    return Picture(
        name="history",
        title="Objective over trials",
        caption="Trials stopped early show the objective that they were stopped at; they don't move the "
        "best-so-far line.",
        svg=svg,
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


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def joint_curve(trial: Record) -> list[tuple[int, float]]:
    """Return (epoch, objective) of the joint phase; before it the objective stands at its floor."""
    rows = trial.get("curve") or []
    return [(int(row["epoch"]), float(row["objective"])) for row in rows if row.get("phase") != "pretrain"]


def curves_picture(results: Results) -> Picture | None:
    """Draw the objective over epochs of every trial."""
    curves = {trial["number"]: joint_curve(trial) for trial in results.trials}
    curves = {number: curve for number, curve in curves.items() if curve}
    if not curves:
        return None
    best, paper = (trial["number"] if trial else None for trial in (results.best_trial, results.paper_trial))
    with drawing() as (figure, axes):
        for number, curve in curves.items():
            if number not in (best, paper):
                axes.plot(*zip(*curve, strict=True), color=TRIAL, alpha=0.45, linewidth=1)
                axes.plot(*curve[-1], "o", color=TRIAL, alpha=0.6, markersize=3)
        if paper in curves and paper != best:
            axes.plot(*zip(*curves[paper], strict=True), color=PAPER, linewidth=2, label="paper's")
        if best in curves:
            label = f"best (trial {best}, the paper's)" if best == paper else f"best (trial {best})"
            axes.plot(*zip(*curves[best], strict=True), color=BEST, linewidth=2.4, label=label)
        _whole_numbers(axes)
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Objective")
        legend_above(axes)
        svg = to_svg(figure, "curves")
    epochs = sorted({epoch for curve in curves.values() for epoch, _ in curve})
    by_epoch = {number: dict(curve) for number, curve in curves.items()}
    rows = [
        (str(epoch), *(Cell(score(value), repr(value)) if value is not None else "" for value in line))
        for epoch in epochs
        for line in [[by_epoch[number].get(epoch) for number in curves]]
    ]
    return Picture(
        name="curves",
        title="Learning curves",
        caption="Joint epochs of every trial; before them, in pre-training, there is nothing to score. "
        "A dot is where a trial ended or was stopped.",
        svg=svg,
        table=table(("Epoch", *(f"trial {number}" for number in curves)), rows),
    )


def time_picture(results: Results) -> Picture | None:
    """Draw the training time of every trial, by phase."""
    trials = [trial for trial in results.trials if trial.get("seconds")]
    if not trials:
        return None
    numbers = [trial["number"] for trial in trials]
    phases = [_phase_seconds(trial) for trial in trials]
    longest = max(trial["seconds"] for trial in trials)
    unit, word = (60.0, "minutes") if longest > 300 else (1.0, "seconds")
    with drawing(height=2.6) as (figure, axes):
        pretrain = [seconds[0] / unit for seconds in phases]
        axes.bar(numbers, pretrain, color=MUTED, alpha=0.55, label="pre-training")
        joint = [seconds[1] / unit for seconds in phases]
        axes.bar(numbers, joint, bottom=pretrain, color=BEST, alpha=0.8, label="joint training")
        _whole_numbers(axes)
        axes.set_xlabel("Trial")
        axes.set_ylabel(f"Training time, {word}")
        axes.grid(visible=False, axis="x")
        legend_above(axes)
        svg = to_svg(figure, "time")
    rows = [
        (
            str(trial["number"]),
            duration(seconds[0]),
            duration(seconds[1]),
            Cell(duration(trial["seconds"]), repr(trial["seconds"])),
        )
        for trial, seconds in zip(trials, phases, strict=True)
    ]
    return Picture(
        name="time",
        title="Training time of every trial",
        caption="Time inside epochs; starting processes and building the cache are not in it.",
        svg=svg,
        table=table(("Trial", "Pre-training", "Joint", "Sum"), rows),
    )


def _phase_seconds(trial: Record) -> tuple[float, float]:
    rows = trial.get("curve") or []
    pretrain = sum(float(row.get("seconds") or 0) for row in rows if row.get("phase") == "pretrain")
    return pretrain, max(float(trial["seconds"]) - pretrain, 0.0)


def importances_picture(results: Results, importances: dict[str, float]) -> Picture:
    """Draw how much of the objective's variance each searched parameter accounts for."""
    names = symbols(results.keys)
    ranked = sorted(importances.items(), key=lambda item: item[1])
    num_complete = len(results.of_state("complete"))
    with drawing(height=1.0 + 0.42 * len(ranked)) as (figure, axes):
        bars = axes.barh(
            [names.get(key, key) for key, _ in ranked],
            [value for _, value in ranked],
            color=TRIAL,
            height=0.6,
        )
        axes.bar_label(bars, [f"{value:.0%}" for _, value in ranked], padding=4, color=INK, fontsize=9.5)
        axes.set_xlim(0, max(1e-9, 1.15 * max(importances.values())))
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        svg = to_svg(figure, "importances")
    rows = [(names.get(key, key), key, Cell(f"{value:.1%}", repr(value))) for key, value in reversed(ranked)]
    return Picture(
        name="importances",
        title="Importance of each parameter",
        caption=f"Share of the objective's variance (fANOVA) over the {num_complete} complete trials"
        f"{'; with so few trials only a rough hint' if num_complete < 30 else ''}.",
        svg=svg,
        table=table(("Parameter", "Key", "Share"), rows, 2),
    )


def params_text(results: Results, params: Record) -> str:
    """Return parameters in one line, by their short names."""
    names = symbols(results.keys)
    return ", ".join(f"{names.get(key, key)} {short_value(value)}" for key, value in params.items())
