"""`rocore sweep add`: a trial of the user's own."""

import shlex
from pathlib import Path
from typing import Any

import click

from rocore.commands.options import make_set_option
from tune.commands.place import OLD_PLACE


@click.command(short_help="Add a trial of your own to a sweep.")
@click.argument("directory", type=OLD_PLACE)
@make_set_option("rocore.config:Config")
def add(directory: Path | str, overrides: dict[str, Any]) -> None:
    """Add a trial of your own to the sweep in DIRECTORY, which has ended or was stopped.

    --set gives values of searched keys; the others have the paper's. The next --resume runs the trial before any new
    one, whatever limit has ended the search, and the searcher learns from it. It comes on top of search.num_trials.

    \b
    rocore sweep add sweeps/a --set loss.pair_margin=1.5 --set encoder.output_layer=7
    rocore sweep --resume sweeps/a
    """
    from rocore import shown
    from tune.own_trials import add_trial
    from tune.progress import format_params

    params = add_trial(directory, overrides)
    click.echo(shown(f"added: {format_params(params)}"))
    click.echo(shown(f"run it: rocore sweep --resume {shlex.quote(str(directory))}"))
