"""`rocore export`: trained models to take away."""

from pathlib import Path

import click

from tune.commands.place import ReadSweep


@click.command(short_help="Copy a sweep's best models, or a run's, with a model card.")
@click.argument("directory", type=ReadSweep(models=True))
@click.option(
    "--best",
    "num_best",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many configurations of a sweep, best first.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder; new or empty.")
def export(directory: Path, num_best: int, out: Path) -> None:
    """Copy configuration, weights (safetensors) and a model card of the best models of the sweep in DIRECTORY.

    Best is what the search (and its race) chose, never the best final figure; of its seeds the first that finished is
    taken. DIRECTORY may also be that of a run. Each model is a run directory: `rocore predict` and `rocore evaluate`
    take it. With --best above 1, each lies in a folder of its own below --out.

    \b
    rocore export sweeps/a --out models/a
    rocore export sweeps/a --best 3 --out models/a3
    rocore predict models/a new.jsonl
    """
    import rocore
    from tune.export import export as copy

    rocore.outlive_readers()
    for folder in copy(directory, out, num_best):
        click.echo(str(folder))
