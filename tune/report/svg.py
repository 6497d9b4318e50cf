"""Pictures as inline SVG whose colours are the page's: readable on light, dark and paper."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rocore
from tune.faults import attempted

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, BEST, PAPER, TRIAL, BAD, CARD = (f"#0a0b{number:02x}" for number in range(8))
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BEST: "best",
    PAPER: "paper",
    TRIAL: "trial",
    BAD: "bad",
    CARD: "card",
}
"""Stand-ins that `to_svg` replaces by CSS variables."""
WIDTH, HEIGHT = 5.8, 3.4
USES = re.compile(
    r'(?:<use xlink:href="([^"]*)"([^>]*) style="([^"]*)"/>\s*)(?:<use xlink:href="\1"[^>]* style="\3"/>\s*)+'
)
"""Markers in a row that look the same."""
PLAIN_TEXT = {"text.parse_math": False}
"""For any picture: names come from users and may hold dollar signs."""
MAX_LABEL, LEGEND_CHARACTERS = 26, 60
"""Characters of a name in a picture; of a row of a legend above one."""
STYLE = {
    **PLAIN_TEXT,
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 1.3,
}


@dataclass
class Drawing:
    """A picture that is being drawn.

    Attributes:
        figure: Of the house style.
        axes: Its only axes.
        svg: The picture as inline SVG, once it is done; empty where it couldn't be drawn.
        fault: Why it couldn't.
    """

    figure: "Figure"
    axes: "Axes"
    svg: str = ""
    fault: str = ""


@contextmanager
def drawing(name: str, height: float = HEIGHT, width: float = WIDTH) -> Iterator[Drawing]:
    """Yield a drawing, which holds its SVG afterwards; no global state of matplotlib changes.

    A picture that can't be drawn has a fault instead, so that its numbers and all else are still reported.

    Args:
        name: As for `to_svg`.
        height: Inches.
        width: Inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The page's reader has fonts of its own.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        drawn = Drawing(figure, figure.add_subplot())
        with attempted(f"the report's picture {name}") as attempt:
            yield drawn
            drawn.svg = to_svg(figure, name)
        drawn.fault = attempt.fault


def label(text: str, width: int = MAX_LABEL) -> str:
    """Return a name for a picture: shown as it is, and no wider than there is room for; tables hold the whole of it."""
    return rocore.shown(rocore.shortened(text, width))


def to_svg(figure: "Figure", name: str) -> str:
    """Return an `<svg>` element.

    Args:
        figure: Drawn inside `drawing`.
        name: Unique on the page; ids start with it, so that pictures don't share clip paths.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        metadata: dict[str, Any] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL
    )  # would style the whole page
    text = re.sub(r"<[^>]+>", lambda tag: _restyled(tag[0], name), text)
    return USES.sub(_hoisted, text).strip()


def _restyled(tag: str, name: str) -> str:
    """Make a tag shorter and the page's; what stands between tags are names, and stays as it is."""
    tag = re.sub(r"font-family: [^;\"]*; ", "", tag)
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = tag.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    tag = re.sub(r'\b(?:d|x|y|transform)="[^"]*"', _rounded, tag)
    for stand_in, variable in VARIABLES.items():
        tag = tag.replace(stand_in, f"var(--{variable})")
    return tag


def _rounded(attribute: "re.Match[str]") -> str:
    """Two decimals of a point are more than a screen shows, and half the bytes."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", attribute[0])


def _hoisted(uses: "re.Match[str]") -> str:
    """Say the style of equal markers once: a cloud of points is a third as long."""
    style = f' style="{uses[3]}"'
    return f"<g{style}>{uses[0].replace(style, '')}</g>"


def legend_above(axes: "Axes", handles: "Sequence[Artist] | None" = None) -> None:
    """Draw the legend above the axes, where it hides no point.

    Args:
        axes: What is drawn.
        handles: What is named there by users, whose names may begin with `_`, as Matplotlib's own do; None: all that
            has a name of ours.
    """
    if handles is None:
        handles, _ = axes.get_legend_handles_labels()
    if handles:
        names = [str(handle.get_label()) for handle in handles]
        axes.legend(
            handles,
            names,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=min(len(handles), max(1, LEGEND_CHARACTERS // max(map(len, names))), 5),
            borderaxespad=0.2,
            handletextpad=0.4,
            columnspacing=0.9,
        )
