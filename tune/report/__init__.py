"""The report of a sweep, rebuilt from its directory alone."""

from pathlib import Path
from typing import TYPE_CHECKING

import rocore
from tune.report.results import Results, read_results

if TYPE_CHECKING:
    from tune.report.contents import Report


def write_report(directory: Path) -> None:
    """Write report.html, report.md, report.tex, results.csv, final.csv and best_config.yaml.

    Without a finished trial there is no best_config.yaml; without a final comparison, no final.csv and no report.tex.

    Args:
        directory: Sweep directory that holds results.json; config.yaml and environment.json are optional.

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
    _write(directory / "best_config.yaml", config)
    _write(directory / "results.csv", trials_csv(results))
    _write(directory / "final.csv", final_csv(results) if results.final else None)
    _write(directory / "report.md", render_markdown(report))
    _write(directory / "report.tex", latex_table(results))
    _write(directory / "report.html", render_html(report))


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

    representations, race = representations_section(results), racing.race_section(results)
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
        sections=(
            final.final_section(results),
            *([representations] if representations is not None else []),
            search.search_section(results),
            *([race] if race is not None else []),
            parameters.parameters_section(results),
            time.stopping_section(results),
            time.time_section(results),
            provenance.data_section(results),
            provenance.environment_section(results),
            provenance.use_section(results, has_config),
            provenance.cite_section(),
        ),
    )


def _write(path: Path, text: str | None) -> None:
    """Write in one step, so that readers see a whole file; None removes what an older report left."""
    if text is None:
        path.unlink(missing_ok=True)
        return
    rocore.write_atomically(path, text)
