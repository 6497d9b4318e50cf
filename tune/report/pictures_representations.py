"""The paper's Figure 6: novel instances in the plane, at the start, after pre-training and after training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tune.report.contents import Block, Cell, Paragraph, Picture, Pictures, Section, table
from tune.report.numbers import NO_NUMBER, score
from tune.report.results import Results
from tune.report.svg import drawing, label
from tune.representations import FILE, STAGES, Representations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#3b82d0", "#e08a1e", "#2f9e6e", "#d0529b", "#8b6fd8", "#8a7a4a")
"""Told apart on light and on dark, and by the marker where colors aren't seen."""
MARKERS = "os^Dvp"
TITLE = "How the representations change"


def representations_section(results: Results) -> Section | None:
    """Build the picture of h'; None where no run left it."""
    found = results.representations
    if found is not None and found.fault:
        return Section("representations", TITLE, (), found.fault)
    if found is None or not found.maps:
        return None
    groups = "their gold relations, which training never saw" if found.gold else "the model's clusters"
    text = (
        f"h' of {len(found.shown)} novel test instances of the {_num_groups(found)} largest groups, laid out in the "
        f"plane by t-SNE; the colors are {groups}. They come from one run, {found.run}. "
        "Distances between groups in such a picture mean little; the silhouette is measured on h' itself."
    )
    pictures = [_picture(found, stage) for stage in STAGES if stage in found.maps]
    blocks: tuple[Block, ...] = (Paragraph(text), Pictures(tuple(pictures), narrow=True))
    return Section("representations", TITLE, blocks)


def draw_stage(axes: "Axes", found: Representations, stage: str, named: Callable[[str], str] = label) -> None:
    """Draw the shown instances of one stage, a color and a marker a group.

    Args:
        axes: Where.
        found: What the run left.
        stage: One of `STAGES`.
        named: Makes a group's name one for the picture.
    """
    labels, points = found.labels[found.shown], found.maps[stage]
    look: dict[str, Any] = {
        "markersize": 3.6 if len(labels) > 200 else 5.5,
        "markeredgewidth": 0,
        "alpha": 0.75,
    }
    handles, names = [], []
    for name, color, marker in zip(_groups(found), COLORS, MARKERS, strict=False):
        handles += axes.plot(*points[labels == name].T, marker, color=color, **look)
        names.append(named(name))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    # Named here, as Matplotlib leaves out curves whose name begins with "_".
    axes.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=2,
        markerscale=1.6,
        handletextpad=0.2,
    )


def _picture(found: Representations, stage: str) -> Picture:
    with drawing(f"tsne-{stage}", height=4.6, width=4.2) as drawn:
        axes = drawn.axes
        draw_stage(axes, found, stage)
    labels, places = found.labels[found.shown], found.maps[stage]
    rows: list[tuple[object, ...]] = []
    for name in _groups(found):
        center = np.median(places[labels == name], axis=0)
        rows.append((name, str(int((labels == name).sum())), f"{center[0]:.1f}", f"{center[1]:.1f}"))
    silhouette = found.silhouettes.get(stage)
    rows.append(("All: silhouette in h'", Cell(score(silhouette), repr(silhouette)), "", ""))
    return Picture(
        name=f"tsne-{stage}",
        title=STAGES[stage],
        caption=f"Silhouette of the groups in h': {NO_NUMBER if silhouette is None else score(silhouette)}. "
        f"Every point stands in {FILE}.",
        svg=drawn.svg,
        fault=drawn.fault,
        table=table(("Group", "Instances", "Median x", "Median y"), rows),
    )


def _groups(found: Representations) -> list[str]:
    return list(dict.fromkeys(found.labels[found.shown].tolist()))


def _num_groups(found: Representations) -> int:
    return len(_groups(found))
