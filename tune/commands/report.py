"""`rocore report`: rebuild the report of a sweep."""

from pathlib import Path

import click

from tune.commands.place import ReadSweep


@click.command()
@click.argument("directory", type=ReadSweep(models=False))
def report(directory: Path) -> None:
    """Rebuild the report of the sweep in DIRECTORY from that directory alone.

    Writes report.html, report.md, results.csv, final.csv and best_config.yaml.

    \b
    rocore report sweeps/a
    """
    import rocore
    from tune.report import write_report

    rocore.outlive_readers()
    rocore.check_folder(directory, "DIRECTORY")
    write_report(directory)
    click.echo(str(directory / "report.html"))
