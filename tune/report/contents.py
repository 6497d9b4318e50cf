"""What a report is made of, whatever it is written as: HTML and Markdown show the same contents."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

TONES = ("", "best", "paper", "bad", "muted")
MISSING = "Missing, by a mistake of this program, which is in its log with a traceback: {}"
"""What stands in the place of a picture or a section that couldn't be made."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Rounded for people.
        exact: The exact number, shown when pointed at.
        tone: One of `TONES`.
        spread: What stands small beside the text: a standard deviation.
    """

    text: str
    exact: str = ""
    tone: str = ""
    spread: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: Headings.
        rows: Cells, a row as long as `columns`.
        num_text: Leading columns that hold text; the others hold numbers.
        caption: What stands above it.
        tones: One a row; "best" and "paper" are marked.
        num_text_last: Last columns that hold text.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    num_text: int = 1
    caption: str = ""
    tones: tuple[str, ...] = ()
    num_text_last: int = 0

    kind: ClassVar[str] = "table"

    def is_number(self, column: int) -> bool:
        """Tell whether a column holds numbers."""
        return self.num_text <= column < len(self.columns) - self.num_text_last

    def tone(self, index: int) -> str:
        """Return the tone of a row."""
        return self.tones[index] if index < len(self.tones) else ""


@dataclass(frozen=True)
class Picture:
    """A picture, as inline SVG, and the numbers that it shows; one that couldn't be drawn has a fault instead."""

    name: str
    title: str
    caption: str
    svg: str
    table: Table
    fault: str = ""

    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room; narrow ones three in a row."""

    pictures: tuple[Picture, ...]
    narrow: bool = False

    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Paragraph:
    """A sentence or two; tone "warning" is framed."""

    text: str
    tone: str = ""

    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Code:
    """Commands or a file, as they are; folded away where it is long."""

    text: str
    caption: str = ""
    folded: bool = False

    kind: ClassVar[str] = "code"


Block = Table | Picture | Pictures | Paragraph | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; nothing but the fault, where it couldn't be built."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    fault: str = ""


@dataclass(frozen=True)
class Figure:
    """One of the few large numbers at the top."""

    label: str
    value: str
    note: str
    tone: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that is shown."""

    title: str
    subtitle: str
    banners: tuple[str, ...]
    verdict: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    kind: str = "sweep"
    files: str = "results.json, results.csv and final.csv"
    """Where the exact numbers stand."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What isn't there, and why."""
        blocks = [block for section in self.sections for block in section.blocks]
        parts: list[Section | Picture] = [*self.sections]
        for block in blocks:
            parts += block.pictures if isinstance(block, Pictures) else ()
            parts += [block] if isinstance(block, Picture) else ()
        return tuple(f"{part.title}: {part.fault}" for part in parts if part.fault)


def cells(texts: Iterable[object]) -> tuple[Cell, ...]:
    """Return a row of plain cells; cells stay as they are."""
    return tuple(text if isinstance(text, Cell) else Cell(str(text)) for text in texts)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    num_text: int = 1,
    *,
    caption: str = "",
    tones: Sequence[str] = (),
    num_text_last: int = 0,
) -> Table:
    """Return a table of cells and plain values."""
    return Table(
        tuple(columns), tuple(cells(row) for row in rows), num_text, caption, tuple(tones), num_text_last
    )
