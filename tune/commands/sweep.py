"""`rocore sweep`: plan, search, re-evaluate and report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rocore.commands.options import make_set_option
from tune.commands.add import add
from tune.commands.beside import with_beside
from tune.commands.collect import collect
from tune.commands.place import NEW_PLACE, OLD_PLACE, ReadSweep
from tune.commands.status import status

if TYPE_CHECKING:
    from tune.config import Sweep
    from tune.sweep import SweepResult


@click.command(
    cls=with_beside(status, collect, add),
    epilog="Exit codes: 0 done; 1 it failed (every trial failed, the disk is full, Ray was lost); 2 a wrong option, "
    "configuration or data; 4 an object store was away for too long; 130 stopped, and to be resumed.",
)
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=NEW_PLACE,
    help="Sweep directory, or its URL (s3://BUCKET/FOLDER); new or empty.  [default: sweeps/<name of CONFIG>]",
)
@click.option(
    "--continue",
    "go_on",
    is_flag=True,
    help="Where --out holds a sweep already, go on with that, as --resume does.",
)
@click.option(
    "--resume",
    metavar="DIR",
    type=OLD_PLACE,
    help="Go on with the sweep in DIR, however it ended; instead of CONFIG.",
)
@click.option(
    "--extend",
    metavar="N DIR",
    type=(click.IntRange(min=1), OLD_PLACE),
    help="Add N trials to the sweep in DIR and bring its final comparison up to date; instead of CONFIG.",
)
@click.option(
    "--space",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --extend: YAML with other bounds or choices by searched key, as under `search.space`, which the new "
    "trials are drawn from; for a single bound, --set search.space.KEY.high=... does.",
)
@click.option(
    "--replay",
    metavar="DIR",
    type=ReadSweep(models=False),
    help="Search again on the recorded curves of the sweep in DIR, with no training: do proposals and early stops come "
    "out the same, and how would other searchers have done? Instead of CONFIG.",
)
@click.option(
    "--sequential",
    is_flag=True,
    help="One trial at a time: the same seed gives the same trials and numbers, resumed or not.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, train for a few steps, and print what the sweep will take; ends with 2 if it can't fit.",
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print JSON instead of tables.")
@make_set_option("tune.config:SweepConfig", "rocore.config:Config")
def sweep(
    config: Path | None,
    out: Path | str | None,
    go_on: bool,
    resume: Path | str | None,
    extend: tuple[int, Path | str] | None,
    space: Path | None,
    replay: Path | None,
    sequential: bool,
    dry_run: bool,
    as_json: bool,
    overrides: dict[str, Any],
) -> None:
    """Search for the best configuration of RoCORE.

    CONFIG is a sweep file (see configs/tune/). Proposes configurations with Optuna, trains them on a Ray of
    its own or on a cluster's, trains the best ones and the paper's again over fresh
    seeds, and writes a report.

    `--set` takes keys of the sweep (search.num_trials=50) and RoCORE keys (train.max_epochs=20).

    Whatever ends a sweep (a kill, a lost node, a full disk), --resume goes on with it; trials that have ended aren't
    run again. With --resume, --set may change `resources`, `cache`, `trial.checkpoint_share` and whatever else says
    where and with what trials run, not what they compute; and search.max_hours, search.max_gpu_hours and
    search.stop_after, which say how long the search may be. Ctrl-C stops it cleanly, a second time at once.

    `rocore sweep status DIR` shows how a sweep stands, from any other terminal. `rocore sweep add DIR` adds a trial of
    your own to one that doesn't run.

    \b
    rocore sweep configs/tune/quickstart.yaml --dry-run
    rocore sweep configs/tune/quickstart.yaml --out sweeps/a
    rocore sweep status sweeps/a --watch
    rocore sweep --resume sweeps/a
    rocore sweep --extend 8 sweeps/a
    rocore sweep --extend 8 sweeps/a --set search.space.loss.pair_margin.high=2
    rocore sweep add sweeps/a --set loss.pair_margin=1.5
    rocore sweep --replay sweeps/a
    rocore sweep configs/tune/main.yaml --out s3://bucket/sweeps/a
    """
    from rocore.config import read_yaml
    from tune.remote.copy import has_tried

    begins = out is not None or sequential or dry_run or go_on
    _check_source(
        config, resume, extend, replay, begins=begins, sets=bool(overrides), space=space is not None
    )
    if config is not None:
        out = out or Path("sweeps") / config.stem
        if go_on and has_tried(out):
            _go_on(out, overrides)
        else:
            _begin(config, out, overrides, sequential=sequential, dry_run=dry_run, as_json=as_json)
    elif replay is not None:
        _replay(replay)
    else:
        num_more, directory = extend or (0, resume)
        assert directory is not None
        _go_on(directory, overrides, num_more, None if space is None else read_yaml(space))


def _check_source(
    config: Path | None,
    resume: Path | str | None,
    extend: tuple[int, Path | str] | None,
    replay: Path | None,
    *,
    begins: bool,
    sets: bool,
    space: bool,
) -> None:
    """Refuse no sweep or several, and options that belong to another one's start."""
    if sum(source is not None for source in (config, resume, extend, replay)) != 1:
        raise click.UsageError("one of CONFIG, --resume DIR, --extend N DIR and --replay DIR must be given")
    if config is None and (begins or (sets and replay)):
        raise click.UsageError(
            "--resume, --extend and --replay take a sweep as it is, without --out, --sequential, --continue or "
            "--dry-run, and --replay without --set"
        )
    if space and extend is None:
        raise click.UsageError(
            "--space says what the trials of --extend N DIR are drawn from, and needs that"
        )


def _begin(
    config: Path,
    out: Path | str,
    overrides: dict[str, Any],
    *,
    sequential: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    import rocore
    from tune.config import load_sweep
    from tune.sweep import run_sweep

    if sequential:
        overrides = {**overrides, "resources.max_concurrent_trials": 1}
    loaded = load_sweep(config, overrides)
    _warn(loaded)
    if not isinstance(out, str):
        rocore.check_folder(out)
    if dry_run:
        _show_plan(loaded, Path("sweeps") if isinstance(out, str) else out, as_json=as_json)
    else:
        rocore.outlive_readers()
        _show_result(run_sweep(loaded, out, echo=_echo))


def _go_on(
    place: Path | str, overrides: dict[str, Any], num_more: int = 0, space: dict[str, Any] | None = None
) -> None:
    import rocore
    from tune.sweep import resume_sweep

    rocore.outlive_readers()
    _show_result(resume_sweep(place, num_more=num_more, space=space, overrides=overrides, echo=_echo))


def _warn(loaded: "Sweep") -> None:
    from tune.advice import advise

    for warning in advise(loaded):
        _echo(f"warning: {warning}")


def _show_result(result: "SweepResult") -> None:
    from shlex import quote

    from rocore import shown
    from tune.progress import format_params

    for line in (
        f"the choice: {result.best_name} (objective in the search: {result.objective:.4f})",
        f"  {format_params(result.best_params)}",
        result.verdict,
        f"report: {result.directory / 'report.html'}",
        f"take its model: rocore export {quote(result.place)} --out DIR",
        f"train it again: rocore train {quote(str(result.directory / 'best_config.yaml'))} --out DIR",
    ):
        click.echo(shown(line))


def _replay(directory: Path) -> None:
    from tune.replay import replay_sweep

    for line in replay_sweep(directory, echo=_echo):
        click.echo(line)


def _show_plan(loaded: "Sweep", out: Path, *, as_json: bool) -> None:
    import json

    from rich.console import Console

    from tune.plan_table import as_tree, render
    from tune.smoke import plan_sweep

    _echo("training for a few steps at every output layer")
    plan = plan_sweep(loaded, out)
    if as_json:
        click.echo(json.dumps(as_tree(plan), indent=1))
        return
    Console().print(render(plan))
    click.echo("Nothing was written. Times are of this machine, with nothing else running.")


def _echo(text: str) -> None:
    from rocore import shown

    click.echo(shown(text, lines=True), err=True)
