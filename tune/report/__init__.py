"""The report of a sweep, rebuilt from its directory alone."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import rocore
from tune.faults import attempted
from tune.report.results import Results, read_results

if TYPE_CHECKING:
    from tune.report.contents import Report, Section


def write_report(directory: Path) -> tuple[str, ...]:
    """Write report.html, report.md, report.tex, results.csv, final.csv and best_config.yaml.

    Without a finished trial there is no best_config.yaml; without a final comparison, no final.csv and no report.tex.

    Args:
        directory: Sweep directory that holds results.json; config.yaml and environment.json are optional.

    Returns:
        What the report lacks by a mistake of this program, and why; it says so itself, in its place.

    Raises:
        CheckpointError: If results.json is absent, torn or of another version.
        ConfigError: If results.json holds a configuration that RoCORE refuses.
    """
    from tune.report.exports import best_config, final_csv, trials_csv
    from tune.report.html import render_html
    from tune.report.latex import latex_table
    from tune.report.markdown import render_markdown

    results = read_results(directory)
    config = best_config(results)
    report = build(results, has_config=config is not None)
    write_or_remove(directory / "best_config.yaml", config)
    write_or_remove(directory / "results.csv", trials_csv(results))
    write_or_remove(directory / "final.csv", final_csv(results) if results.final else None)
    write_or_remove(directory / "report.md", render_markdown(report))
    write_or_remove(directory / "report.tex", latex_table(results))
    write_or_remove(directory / "report.html", render_html(report))
    return report.faults


def build(results: Results, has_config: bool) -> "Report":
    """Return the contents of the report."""
    from tune.report import sections_final as final
    from tune.report import sections_parameters as parameters
    from tune.report import sections_provenance as provenance
    from tune.report import sections_race as racing
    from tune.report import sections_search as search
    from tune.report import sections_time as time
    from tune.report.contents import Report
    from tune.report.pictures_representations import representations_section

    data = results.tree.get("data") or {}
    subtitle = [str(results.tree.get("created") or ""), str(data.get("format") or "")]
    subtitle.append(str((results.tree.get("encoder") or {}).get("name") or ""))
    return Report(
        title=results.name,
        subtitle=" · ".join(part for part in subtitle if part),
        banners=final.banners(results),
        verdict=final.verdict(results),
        figures=final.figures(results),
        notes=final.notes(results),
        sections=build_sections(
            (
                ("Final comparison", partial(final.final_section, results)),
                ("How the representations change", partial(representations_section, results)),
                ("The search", partial(search.search_section, results)),
                ("The race", partial(racing.race_section, results)),
                ("What mattered", partial(parameters.parameters_section, results)),
                ("Early stopping", partial(time.stopping_section, results)),
                ("Where the time went", partial(time.time_section, results)),
                ("Data and encoder", partial(provenance.data_section, results)),
                ("Environment", partial(provenance.environment_section, results)),
                ("How to use it", partial(provenance.use_section, results, has_config)),
                ("How to cite the method", provenance.cite_section),
            )
        ),
    )


def build_sections(sections: "Iterable[tuple[str, Callable[[], Section | None]]]") -> "tuple[Section, ...]":
    """Build what there is; a section that can't be built says so in its place."""
    from tune.report.contents import Section

    found = []
    for number, (title, build_one) in enumerate(sections):
        section = None
        with attempted(f"the report's section {title}") as attempt:
            section = build_one()
        if attempt.fault:
            section = Section(f"missing-{number}", title, (), attempt.fault)
        if section is not None:
            found.append(section)
    return tuple(found)


def write_or_remove(path: Path, text: str | None) -> None:
    """Write in one step, so that readers see a whole file; None removes what an older report left."""
    if text is None:
        path.unlink(missing_ok=True)
        return
    rocore.write_atomically(path, text)
