"""`rocore sweep`: search, re-evaluate and report."""

from pathlib import Path
from typing import Any

import click

from rocore.commands.options import set_option


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Sweep directory; new or empty.  [default: sweeps/<name of CONFIG>]",
)
@set_option
def sweep(config: Path, out: Path | None, overrides: dict[str, Any]) -> None:
    """Search for the best configuration of RoCORE.

    CONFIG is a sweep file (see configs/tune/). Proposes configurations with Optuna, trains them on a Ray of
    its own or on a cluster's, trains the best ones and the paper's again over fresh
    seeds, and writes a report.

    `--set` takes keys of the sweep (search.num_trials=50) and RoCORE keys (train.max_epochs=20).
    """
    from tune.config import load_sweep
    from tune.progress import format_params
    from tune.sweep import run_sweep

    result = run_sweep(
        load_sweep(config, overrides),
        out or Path("sweeps") / config.stem,
        echo=lambda text: click.echo(text, err=True),
    )
    click.echo(f"best by the search's objective ({result.objective:.4f}): {result.best_name}")
    click.echo(f"  {format_params(result.best_params)}")
    click.echo(result.verdict)
    click.echo(f"report: {result.directory / 'report.html'}")
    click.echo(f"train it: rocore train {result.directory / 'best_config.yaml'} --out DIR")
