"""Pictures of where the time went: by how runs ended, and trial by trial."""

from dataclasses import dataclass

from tune.report.contents import Cell, Picture, table
from tune.report.numbers import duration
from tune.report.pictures_search import whole_numbers
from tune.report.results import Record, Results
from tune.report.svg import BAD, BEST, INK, MUTED, TRIAL, drawing, legend_above

STATES = {"complete": "Search: complete", "pruned": "Search: stopped early", "failed": "Search: failed"}


@dataclass(frozen=True)
class Spent:
    """Training time of a group of runs, in seconds."""

    name: str
    num_runs: int
    seconds: float


def spent(results: Results) -> list[Spent]:
    """Return the training time by how the search's trials ended, and of each configuration's final runs."""
    parts = []
    for state, name in STATES.items():
        trials = results.of_state(state)
        if trials:
            parts.append(Spent(name, len(trials), sum(float(trial.get("seconds") or 0) for trial in trials)))
    for entry in results.final:
        num_runs = len({*(entry.get("seeds") or []), *(f["seed"] for f in entry.get("failed_seeds") or [])})
        parts.append(Spent(f"Final comparison: {entry['name']}", num_runs, float(entry.get("seconds") or 0)))
    return parts


def spent_picture(parts: list[Spent]) -> Picture | None:
    """Draw the share of the training time that each group of runs took."""
    whole = sum(part.seconds for part in parts)
    if not whole:
        return None
    colors = {STATES["pruned"]: TRIAL, STATES["failed"]: BAD}
    with drawing("spent", height=0.7 + 0.42 * len(parts)) as drawn:
        axes = drawn.axes
        for y, part in enumerate(reversed(parts)):
            axes.barh(y, part.seconds, color=colors.get(part.name, BEST), alpha=0.8, height=0.6)
            axes.annotate(
                f"{part.seconds / whole:.0%}",
                (part.seconds, y),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
            )
        axes.set_yticks(range(len(parts)), [part.name for part in reversed(parts)])
        axes.set_xlim(0, 1.14 * max(part.seconds for part in parts))
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        axes.tick_params(axis="y", labelcolor=INK)
    rows = [
        (part.name, Cell(duration(part.seconds), f"{part.seconds} s"), f"{part.seconds / whole:.1%}")
        for part in parts
    ]
    return Picture(
        name="spent",
        title="Training time by how it ended",
        caption="Time inside epochs, over all processes.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(("Spent on", "Time", "Share"), rows),
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
    with drawing("time", height=2.6) as drawn:
        axes = drawn.axes
        pretrain = [seconds[0] / unit for seconds in phases]
        axes.bar(numbers, pretrain, color=MUTED, alpha=0.55, label="pre-training")
        joint = [seconds[1] / unit for seconds in phases]
        axes.bar(numbers, joint, bottom=pretrain, color=BEST, alpha=0.8, label="joint training")
        whole_numbers(axes)
        axes.set_xlabel("Trial")
        axes.set_ylabel(f"Training time, {word}")
        axes.grid(visible=False, axis="x")
        legend_above(axes)
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
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(("Trial", "Pre-training", "Joint", "Sum"), rows),
    )


def _phase_seconds(trial: Record) -> tuple[float, float]:
    rows = trial.get("curve") or []
    pretrain = sum(float(row.get("seconds") or 0) for row in rows if row.get("phase") == "pretrain")
    return pretrain, max(float(trial["seconds"]) - pretrain, 0.0)
