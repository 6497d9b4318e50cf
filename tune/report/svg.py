"""Pictures as inline SVG whose colours are the page's: readable on light, dark and paper."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names come from users and may hold dollar signs
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


@contextmanager
def drawing(height: float = HEIGHT, width: float = WIDTH) -> "Iterator[tuple[Figure, Axes]]":
    """Yield a figure of the house style and its axes; no global state of matplotlib changes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


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
    text = re.sub(r"font-family: [^;\"]*; ", "", text)
    text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    text = re.sub(r'\b(?:d|x|y|transform)="[^"]*"', _rounded, text)
    text = USES.sub(_hoisted, text)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, f"var(--{variable})")
    return text.strip()


def _rounded(attribute: "re.Match[str]") -> str:
    """Two decimals of a point are more than a screen shows, and half the bytes."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", attribute[0])


def _hoisted(uses: "re.Match[str]") -> str:
    """Say the style of equal markers once: a cloud of points is a third as long."""
    style = f' style="{uses[3]}"'
    return f"<g{style}>{uses[0].replace(style, '')}</g>"


def legend_above(axes: "Axes") -> None:
    """Draw the legend above the axes, where it hides no point."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=min(len(handles), 5),
            borderaxespad=0.2,
            handletextpad=0.4,
            columnspacing=0.9,
        )
