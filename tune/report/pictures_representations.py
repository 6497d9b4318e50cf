"""The paper's Figure 6: novel instances in the plane, at the start, after pre-training and after training."""

from typing import TYPE_CHECKING

import numpy as np

from tune.report.contents import Block, Cell, Paragraph, Picture, Pictures, Section, table
from tune.report.numbers import NO_NUMBER, score
from tune.report.results import Results
from tune.report.svg import drawing, to_svg
from tune.representations import FILE, STAGES, Representations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#3b82d0", "#e08a1e", "#2f9e6e", "#d0529b", "#8b6fd8", "#8a7a4a")
"""Told apart on light and on dark, and by the marker where colors aren't seen."""
MARKERS = "os^Dvp"


def representations_section(results: Results) -> Section | None:
    """Build the picture of h'; None where no run left it."""
    found = results.representations
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
    return Section("representations", "How the representations change", blocks)


def draw_stage(axes: "Axes", found: Representations, stage: str) -> None:
    """Draw the shown instances of one stage, a color and a marker a group."""
    labels, points = found.labels[found.shown], found.maps[stage]
    size = 3.6 if len(labels) > 200 else 5.5
    for name, color, marker in zip(_groups(found), COLORS, MARKERS, strict=False):
        chosen = points[labels == name]
        axes.plot(
            *chosen.T, marker, color=color, markersize=size, markeredgewidth=0, alpha=0.75, label=_short(name)
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, markerscale=1.6, handletextpad=0.2)


def _picture(found: Representations, stage: str) -> Picture:
    with drawing(height=4.6, width=4.2) as (figure, axes):
        draw_stage(axes, found, stage)
        svg = to_svg(figure, f"tsne-{stage}")
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
        svg=svg,
        table=table(("Group", "Instances", "Median x", "Median y"), rows),
    )


def _groups(found: Representations) -> list[str]:
    return list(dict.fromkeys(found.labels[found.shown].tolist()))


def _num_groups(found: Representations) -> int:
    return len(_groups(found))


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"{name[:25]}…"
