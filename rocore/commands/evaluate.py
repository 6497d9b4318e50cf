"""`rocore evaluate`: the metrics of a finished or unfinished run, computed anew from its newest checkpoint."""

import json
from pathlib import Path
from typing import Any

import click

from rocore.commands.options import set_option


@click.command(short_help="Compute a run's metrics anew from its newest checkpoint.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@set_option
def evaluate(directory: Path, as_json: bool, overrides: dict[str, Any]) -> None:
    """Evaluate the newest whole checkpoint of run DIRECTORY on the saved splits and print the metrics.

    Nothing is written. The novel test split is the run's own; gold relations are read from the data files. --set says
    where data or encoder lie now, and that they are the same is checked.

    \b
    rocore evaluate runs/a
    rocore evaluate runs/a --set data.root=FOLDER
    rocore evaluate runs/a --json | jq .novel_test.b3_f1
    """
    from rocore.progress import progress_bars
    from rocore.training.run import evaluate_run, nested

    with progress_bars() as progress:
        epoch, metrics = evaluate_run(directory, progress, overrides)
    if as_json:
        click.echo(json.dumps({"epoch": epoch, **nested(metrics)}, indent=1))
        return
    click.echo(f"{directory}, epoch {epoch}")
    if not metrics:
        click.echo("no gold relations in the novel file: there is nothing to score")
    for name, value in metrics.items():
        click.echo(f"{name:32s} {value:.4f}")
