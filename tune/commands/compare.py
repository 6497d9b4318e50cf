"""`rocore compare`: sweeps or runs side by side."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tune.commands.place import ReadSweep

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tune.comparison import Side

METRIC = "novel_test.b3_f1"


@click.command(short_help="Compare sweeps or runs: configurations, figures, paired test.")
@click.argument(
    "directories",
    metavar="DIR DIR ...",
    nargs=-1,
    required=True,
    type=ReadSweep(models=False),
)
@click.option("--metric", default=METRIC, show_default=True, help="Of the paired test.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Also write every value here.")
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    help="Also write a page with tables and learning curves here.",
)
def compare(
    directories: tuple[Path, ...], metric: str, csv_file: Path | None, html_file: Path | None
) -> None:
    """Compare the sweeps or runs in two or more directories.

    Shows the keys in which their configurations differ, mean and standard deviation of every metric, and a paired test
    of each against the first over the seeds that they share. Runs that differ in their seed alone count as one
    configuration over several seeds; of a sweep, the configuration that it chose is compared.

    \b
    rocore compare sweeps/a sweeps/b
    rocore compare runs/a-seed0 runs/a-seed1 runs/b-seed0 runs/b-seed1 --csv values.csv
    rocore compare sweeps/a sweeps/b --html comparison.html
    """
    from rich.console import Console

    import rocore
    from tune.comparison import csv_rows, read_sides, verdicts

    for file, name in ((csv_file, "--csv"), (html_file, "--html")):
        if file is not None:
            rocore.check_file(file, name)
    sides = read_sides(directories)
    for table in _tables(sides):
        Console().print(table)
    for sentence in verdicts(sides, metric):
        click.echo(rocore.shown(sentence))
    if csv_file is not None:
        text = io.StringIO()
        csv.writer(text).writerows(csv_rows(sides))
        rocore.write_atomically(csv_file, text.getvalue())
    if html_file is not None:
        from tune.report.comparison_page import comparison_report
        from tune.report.html import render_html

        rocore.write_atomically(html_file, render_html(comparison_report(sides, metric)))


def _tables(sides: "list[Side]") -> "list[RenderableType]":
    from rich.table import Table
    from rich.text import Text

    from rocore import shown
    from tune.comparison import differing_keys, summaries

    keys = Table(title="keys that differ", title_justify="left")
    figures = Table(title="mean +- standard deviation (number of seeds)", title_justify="left")
    for table in (keys, figures):
        table.add_column("")
        for side in sides:
            table.add_column(Text(shown(side.label)), justify="right")
    for key, row in differing_keys(sides).items():
        keys.add_row(key, *(Text(shown(str(value))) for value in row))
    for metric, found in summaries(sides).items():
        cells = [
            ""
            if each is None
            else f"{each.mean:.4f}" + (f" +- {each.std:.4f}" if each.std is not None else "") + f" ({each.n})"
            for each in found
        ]
        figures.add_row(metric, *cells)
    return [keys, figures] if keys.row_count else ["The configurations don't differ.", figures]
