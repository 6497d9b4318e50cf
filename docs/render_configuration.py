"""Rewrites the tables of keys in docs/configuration.md from rocore/config.py, their only source."""

import json
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from rocore.config import Config

PAGE = Path(__file__).parent / "configuration.md"
START = "<!-- keys: written by `make docs` -->"
END = "<!-- /keys -->"


def render_page(text: str) -> str:
    """Return the page with the part between its markers written anew.

    Raises:
        ValueError: If the page has no pair of markers.
    """
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page must hold {START} and then {END}, but doesn't; put them back")
    return f"{before}{START}\n{render_keys(Config)}{END}{after}"


def render_keys(model: type[BaseModel], prefix: str = "") -> str:
    """Return a table of a section's own keys, then the tables of the sections in it."""
    rows: list[str] = []
    sections: list[str] = []
    for name, info in model.model_fields.items():
        key = prefix + name
        section = _section_of(info.annotation)
        if section is not None:
            title = f"\n### `{key}`\n{section.__doc__}\n"
            if info.default is None:
                title += "\nNull (the default) leaves the whole section out.\n"
            sections.append(title + render_keys(section, f"{key}."))
        else:
            default = _default(info.default)
            rows.append(f"| `{key}` | {default} | {' '.join((info.description or '').split())} |\n")
    head = "\n| key | default | meaning |\n| --- | --- | --- |\n" if rows else ""
    return head + "".join(rows) + "".join(sections)


def _section_of(annotation: object) -> type[BaseModel] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(render_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
