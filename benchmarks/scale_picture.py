"""The picture of `python -m benchmarks.scale`: what a trial costs the control loop as trials add up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

WINDOW = 3
"""Samples that a rate is taken over."""
STEPS = {
    "resume": ("journal_s", "study_s", "rungs_s"),
    "one proposal": ("proposal_s",),
    "report": ("report_s",),
}
"""What grows with a directory, and which of `rebuild`'s figures it is made of."""
Sweeps = Sequence[dict[str, Any]]


def draw(sweeps: Sweeps, path: Path) -> None:
    """Write CPU time a trial, memory, and the seconds that a directory takes, by number of trials."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    cpu, memory, directory = figure.subplots(1, 3)
    for searcher in ("tpe", "random"):
        mine = [sweep for sweep in sweeps if is_plain(sweep) and sweep["searcher"] == searcher]
        if mine:
            longest = max(mine, key=lambda sweep: sweep["num_trials"])
            samples = [each for each in longest["samples"] if 0 < each["ended"] < longest["num_trials"]]
            ended, costs = costs_of(samples)
            cpu.plot(ended, costs, label=searcher)
            memory.plot(
                [each["ended"] for each in samples], [each["driver_mib"] for each in samples], label=searcher
            )
    plain = sorted((sweep for sweep in sweeps if is_plain(sweep)), key=lambda sweep: sweep["num_trials"])
    for what, names in STEPS.items():
        seconds = [sum(sweep["rebuild"][name] for name in names) for sweep in plain]
        directory.plot([sweep["num_trials"] for sweep in plain], seconds, "o-", label=what)
    cpu.set(xlabel="trials ended", ylabel="ms", title="Driver's CPU time a trial", ylim=(0, None))
    memory.set(xlabel="trials ended", ylabel="MiB", title="Driver's memory", ylim=(0, None))
    directory.set(
        xlabel="trials", ylabel="CPU seconds", title="From the directory", xscale="log", yscale="log"
    )
    for axes in (cpu, memory, directory):
        axes.legend(frameon=False, fontsize="small")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def is_plain(sweep: dict[str, Any]) -> bool:
    """Tell whether a sweep differs from the usual one in searcher and size alone."""
    return bool(sweep["scheduler"] == "asha" and sweep["at_once"] == 2)


def costs_of(samples: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return trials ended, and milliseconds of the driver a trial about there."""
    pairs = [
        (first, last)
        for first, last in zip(samples, samples[WINDOW:], strict=False)
        if last["ended"] > first["ended"]
    ]
    ended = [(first["ended"] + last["ended"]) / 2 for first, last in pairs]
    costs = [
        1000 * (last["driver_cpu_s"] - first["driver_cpu_s"]) / (last["ended"] - first["ended"])
        for first, last in pairs
    ]
    return ended, costs
