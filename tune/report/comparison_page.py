"""`rocore compare` as a page: what differs, what came out, and how it got there."""

from collections.abc import Sequence
from itertools import cycle
from statistics import fmean
from typing import TYPE_CHECKING

from tune.comparison import CURVES, Side, differing_keys, pair, share_data, summaries, verdicts
from tune.report.contents import Block, Cell, Paragraph, Picture, Pictures, Report, Section, Table, table
from tune.report.numbers import NO_NUMBER, interval, p_value, score, signed
from tune.report.pictures_final import title_of
from tune.report.pictures_search import whole_numbers
from tune.report.svg import BAD, BEST, INK, PAPER, TRIAL, drawing, label, legend_above
from tune.statistics import Comparison, Summary

if TYPE_CHECKING:
    from matplotlib.artist import Artist

COLORS = (BEST, PAPER, INK, BAD, TRIAL)


def comparison_report(sides: Sequence[Side], metric: str) -> Report:
    """Return the contents of the page; `metric` is the one that is tested."""
    pictures = [picture for name in CURVES if (picture := _curves_picture(sides, name)) is not None]
    sections = [
        Section("metrics", "What came out", (_metrics_table(sides), *_tests(sides, metric))),
        Section("keys", "Where the configurations differ", (_keys(sides),)),
    ]
    if pictures:
        sections.insert(1, Section("curves", "Learning curves", (Pictures(tuple(pictures)),)))
    return Report(
        title=" against ".join(side.label for side in sides),
        subtitle="a comparison of finished sweeps or runs",
        banners=(),
        verdict=" ".join(verdicts(sides, metric)),
        figures=(),
        notes=("Seeds that only one side has count for its mean, and not for the test.",),
        sections=tuple(sections),
    )


def _metrics_table(sides: Sequence[Side]) -> Table:
    rows = [
        (title_of(metric), metric, *(_summary(found) for found in by_side))
        for metric, by_side in summaries(sides).items()
    ]
    labels = [side.label for side in sides]
    return table(("Metric", "Name", *labels), rows, 2, caption="Mean and standard deviation over seeds")


def _summary(found: Summary | None) -> Cell:
    if found is None:
        return Cell(NO_NUMBER)
    seeds = f"{found.n} seed" + "s" * (found.n != 1)
    return Cell(
        score(found.mean),
        repr(found.mean),
        spread=f"± {score(found.std)}, {seeds}" if found.std is not None else seeds,
    )


def _tests(sides: Sequence[Side], metric: str) -> list[Block]:
    first = sides[0]
    rows = [
        (other.label, *_test(pair(first, other, metric))) for other in sides[1:] if share_data(first, other)
    ]
    if not rows:
        return []
    caption = f"{title_of(metric)}: difference to {first.label} over shared seeds, two-sided paired t-test"
    return [table(("Configuration", "Difference", "95% interval", "p", "Pairs"), rows, caption=caption)]


def _test(comparison: Comparison) -> tuple[object, ...]:
    bounds = list(comparison.ci95) if comparison.ci95 else None
    difference = Cell(signed(comparison.difference), repr(comparison.difference))
    return difference, interval(bounds, plus=True), p_value(comparison.p_value), str(comparison.num_pairs)


def _keys(sides: Sequence[Side]) -> Block:
    rows = [(key, *map(str, values)) for key, values in differing_keys(sides).items()]
    if not rows:
        return Paragraph("The configurations don't differ.")
    return table(("Key", *(side.label for side in sides)), rows, 1 + len(sides))


def _curves_picture(sides: Sequence[Side], name: str) -> Picture | None:
    """Draw the mean over seeds of each side by joint epoch, and the range of its seeds."""
    curves = [(side.label, side.curves[name]) for side in sides if side.curves[name]]
    if not curves:
        return None
    with drawing(name) as drawn:
        axes = drawn.axes
        handles: list[Artist] = []
        for (name_of_side, curve), color in zip(curves, cycle(COLORS)):
            epochs = sorted(curve)
            means = [fmean(curve[epoch]) for epoch in epochs]
            handles += axes.plot(epochs, means, color=color, label=label(name_of_side))
            low, high = ([limit(curve[epoch]) for epoch in epochs] for limit in (min, max))
            axes.fill_between(epochs, low, high, color=color, alpha=0.15, linewidth=0)
        whole_numbers(axes)
        axes.set_xlabel("Joint epoch")
        axes.set_ylabel(title_of(name))
        legend_above(axes, handles)
    epochs = sorted({epoch for _, curve in curves for epoch in curve})
    rows = [
        (
            str(epoch),
            *(Cell(score(fmean(curve[epoch]))) if epoch in curve else NO_NUMBER for _, curve in curves),
        )
        for epoch in epochs
    ]
    return Picture(
        name=name,
        title=f"{title_of(name)} by joint epoch",
        caption="Mean over seeds, and their range. It needs no gold labels.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(("Joint epoch", *(label for label, _ in curves)), rows),
    )
