"""The report as Markdown: the same contents, tables instead of pictures."""

import re

import rocore
from tune.report.contents import MISSING, Block, Code, Paragraph, Picture, Pictures, Report, Section, Table

MAX_ROWS = 40


def render_markdown(report: Report) -> str:
    """Return the text; everything that comes from data is escaped."""
    parts = [f"# {escape(report.title)}", f"**{escape(report.verdict)}**", escape(report.subtitle)]
    parts += [f"> **{escape(banner)}**" for banner in report.banners]
    if report.figures:
        rows = [
            f"- {escape(item.label)}: **{escape(item.value)}** ({escape(item.note)})"
            for item in report.figures
        ]
        parts.append("\n".join(rows))
    parts += [escape(note) for note in report.notes]
    for section in report.sections:
        parts += _section(section)
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line, in tables too."""
    text = rocore.shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", text).strip(" ")
    return re.sub(r"^(\d*)([-+=.)])(?=\s|\2|$)", r"\1\\\2", text)  # no item of a list, no rule


def _section(section: Section) -> list[str]:
    parts = [f"## {section.title}"]
    if section.fault:
        parts.append(f"**{escape(MISSING.format(section.fault))}**")
    for block in section.blocks:
        parts += _block(block)
    return parts


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        return [escape(block.text)]
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Code):
        text = rocore.shown(block.text, lines=True)
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
        code = f"{fence}\n{text}\n{fence}"
        return [f"**{escape(block.caption)}**", code] if block.caption else [code]
    if isinstance(block, Pictures):
        return [part for picture in block.pictures for part in _picture(picture)]
    return _picture(block)


def _picture(picture: Picture) -> list[str]:
    title = f"### {escape(picture.title)}"
    if picture.fault:
        return [title, f"**{escape(MISSING.format(picture.fault))}**", *_table(picture.table)]
    if len(picture.table.rows) > MAX_ROWS or len(picture.table.columns) > 12:
        return [title, "The picture is in report.html, its numbers in results.json."]
    return [title, *_table(picture.table)]


def _table(table: Table) -> list[str]:
    rule = ["--:" if table.is_number(index) else ":--" for index in range(len(table.columns))]
    lines = [_row([escape(column) for column in table.columns]), _row(rule)]
    for index, row in enumerate(table.rows):
        mark = "**" if table.tone(index) == "best" else ""
        texts = [" ".join(filter(None, (escape(cell.text), escape(cell.spread)))) for cell in row]
        lines.append(_row([f"{mark}{text}{mark}" if text else "" for text in texts]))
    return [f"**{escape(table.caption)}**", "\n".join(lines)] if table.caption else ["\n".join(lines)]


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"
