"""`rocore sweep status` and `rocore experiment status`: how one stands, from any process."""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tune.commands.place import SweepPlace

if TYPE_CHECKING:
    from tune.status import Status

WATCH_S = 5.0
QUIET_S = 600.0
"""A sweep that has written nothing for as long is probably not running any more."""


@click.command(short_help="Show how a sweep or an experiment stands.")
@click.argument("directory", type=SweepPlace(path_type=Path, file_okay=False))
@click.option(
    "--watch", is_flag=True, help=f"Show it again every {WATCH_S:.0f} seconds, until all is complete."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line each time.")
def status(directory: Path | str, watch: bool, as_json: bool) -> None:
    """Show how the sweep or the experiment in DIRECTORY stands.

    The best so far, what runs, what failed and why, and the time left. Reads the directory alone, so that it works from
    another process and while the sweep runs.

    \b
    rocore sweep status sweeps/a
    rocore sweep status sweeps/a --watch
    rocore sweep status sweeps/a --json | jq .complete
    rocore experiment status experiments/a
    """
    from tune.remote.copy import is_no_summary, snapshot
    from tune.status import as_tree, read_status

    while True:
        now = read_status(snapshot(directory, skip=is_no_summary))
        if watch and not as_json:
            click.clear()
        click.echo(json.dumps(as_tree(now)) if as_json else describe(now, directory))
        if now.is_complete or not watch:
            return
        time.sleep(WATCH_S)


def describe(status: "Status", directory: Path | str) -> str:
    """Return a status for reading."""
    from rocore import shown
    from tune.limits import describe as describe_limit
    from tune.plan_table import hours_text
    from tune.progress import format_params

    lines = [f"{status.name}: {'complete' if status.is_complete else 'not complete'}"]
    for phase in status.phases:
        counts = ", ".join(
            f"{phase.count(state)} {state}"
            for state in ("complete", "pruned", "failed", "running")
            if phase.count(state)
        )
        lines.append(f"{phase.title}: {counts or 'not begun'}, of at most {phase.most}")
    if status.ended_by is not None:
        lines.append(f"the search has ended: {describe_limit(status.ended_by)}")
    if status.best is not None:
        best = status.best
        lines.append(
            f"best so far: trial {best.name} with {best.objective:.4f}  {format_params(best.params)}"
        )
    for record in status.in_state("running"):
        score = "" if not record.objective else f", {record.objective:.4f}"
        running = f"running: {record.name}, {record.epochs} epochs{score}  {format_params(record.params)}"
        lines.append(running.rstrip())
    for record in status.in_state("failed"):
        lines.append(f"failed: {record.name} after {record.epochs} epochs: {_first_line(record.error)}")
    if status.is_complete:
        lines += [] if status.verdict is None else [status.verdict]
        return "\n".join(map(shown, lines))
    lines.append(
        f"time left: {'not known yet' if status.left_s is None else f'at most about {hours_text(status.left_s)}'}"
    )
    if status.idle_s > QUIET_S:
        lines.append(
            f"nothing was written for {hours_text(status.idle_s)}; if it isn't running any more, go on with: "
            f"{status.command} --resume {shlex.quote(str(directory))}"
        )
    return "\n".join(map(shown, lines))


def _first_line(error: str | None) -> str:
    return (error or "no cause is known").splitlines()[0]
