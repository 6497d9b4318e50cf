"""`rocore report`: rebuild the report of a sweep."""

from pathlib import Path

import click

from tune.commands.place import ReadSweep


@click.command()
@click.argument("directory", type=ReadSweep(models=False))
def report(directory: Path) -> None:
    """Rebuild the report of the sweep in DIRECTORY from that directory alone.

    Writes report.html, report.md, results.csv, final.csv and best_config.yaml. Ends with 1 where a picture or a section
    can't be made; the report then says so in its place, and holds the rest.

    \b
    rocore report sweeps/a
    """
    import rocore
    from rocore.errors import ReportError
    from tune.report import write_report

    rocore.outlive_readers()
    rocore.check_folder(directory, "DIRECTORY")
    faults = write_report(directory)
    click.echo(str(directory / "report.html"))
    if faults:
        raise ReportError(
            f"a report must be whole, but this one lacks {'; '.join(faults)}; report this as a bug"
        )
