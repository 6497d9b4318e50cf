"""`rocore report`: rebuild the report of a sweep or an experiment."""

from pathlib import Path

import click

from tune.commands.place import ReadSweep


@click.command()
@click.argument("directory", type=ReadSweep(models=False))
def report(directory: Path) -> None:
    """Rebuild the report of the sweep or experiment in DIRECTORY from that directory alone.

    Writes report.html, report.md, report.tex and results.csv; of a sweep also final.csv and best_config.yaml. Ends
    with 1 where a picture or a section can't be made; the report then says so in its place, and holds the rest.

    \b
    rocore report sweeps/a
    """
    import rocore
    from rocore.errors import ReportError
    from tune.experiments.report import write_experiment_report
    from tune.report import write_report
    from tune.sweep_directory import is_experiment

    rocore.outlive_readers()
    rocore.check_folder(directory, "DIRECTORY")
    faults = write_experiment_report(directory) if is_experiment(directory) else write_report(directory)
    click.echo(str(directory / "report.html"))
    if faults:
        raise ReportError(
            f"a report must be whole, but this one lacks {'; '.join(faults)}; report this as a bug"
        )
