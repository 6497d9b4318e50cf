"""The report as one HTML file that needs nothing else."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

import rocore
from tune.report.contents import MISSING, Report


def render_html(report: Report) -> str:
    """Return the page; everything that comes from data is escaped."""
    folder = files("tune.report")
    # Whatever the template's name is, it writes HTML.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.filters["block"] = lambda text: escape(rocore.shown(text, lines=True))
    template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
    css = Markup((folder / "report.css").read_text(encoding="utf-8"))  # noqa: S704 (a file of ours)
    return template.render(report=report, css=css, markup=Markup, missing=MISSING)


def _shown(value: object) -> object:
    """Take the last step before escaping, for every value of the template."""
    return rocore.shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value
