"""`rocore experiment`: named settings over several seeds, and how they compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rocore.commands.options import make_set_option
from tune.commands.beside import with_beside
from tune.commands.status import status

if TYPE_CHECKING:
    from tune.experiments.config import Experiment
    from tune.experiments.run import ExperimentResult


@click.command(
    cls=with_beside(status),
    short_help="Compare named settings over several seeds.",
    epilog="Exit codes: 0 done; 1 it failed (every run failed, the disk is full, Ray was lost); 2 a wrong option, "
    "configuration or data; 130 stopped, and to be resumed.",
)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    metavar="DIR",
    help="Directory of the experiment; new or empty.  [default: experiments/<name of FILE>]",
)
@click.option(
    "--resume",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Go on with the experiment in DIR, however it ended; with FILE, which may name more seeds, settings and data "
    "sets by now, run those, too.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything, train a few steps, once for all settings that take as long, and print what the experiment "
    "will take.",
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print JSON instead of a table.")
@make_set_option("tune.experiments.config:ExperimentConfig", "rocore.config:Config")
def experiment(
    file: Path | None,
    out: str | None,
    resume: Path | None,
    dry_run: bool,
    as_json: bool,
    overrides: dict[str, Any],
) -> None:
    """Train named settings of RoCORE over the same seeds, and compare them with one of them.

    FILE names the settings (see configs/experiments/). Every setting is trained with every seed, and on every data set
    where the file names some, several runs at once, and evaluated once, at its end. The report has mean and standard
    deviation of every metric, and a paired test of each setting against the reference, corrected for their number.

    `--set` takes keys of the experiment (seeds.number=8, settings.NAME.KEY=VALUE) and RoCORE keys of every setting
    (train.max_epochs=20).

    Whatever ends an experiment, --resume goes on with it: runs that have ended aren't run again, others go on from
    their checkpoints. With --resume, --set may change `resources`, `cache` and whatever else says where and with what
    runs run, and it may add seeds (seeds.number=8) and settings (settings.NAME='{KEY: VALUE}'), as FILE may. Ctrl-C
    stops it cleanly, a second time at once.

    `rocore experiment status DIR` shows how an experiment stands, from any other terminal.

    \b
    rocore experiment configs/experiments/ablation_quickstart.yaml --dry-run
    rocore experiment configs/experiments/ablation_quickstart.yaml --out experiments/a
    rocore experiment status experiments/a --watch
    rocore experiment --resume experiments/a
    rocore experiment --resume experiments/a --set seeds.number=8
    rocore predict experiments/a/runs/paper-seed0 new.jsonl
    """
    import rocore

    if file is None and resume is None:
        raise click.UsageError("FILE or --resume DIR must be given")
    if resume is not None:
        if out is not None or dry_run:
            raise click.UsageError("--resume goes on in its own directory, without --out or --dry-run")
        from tune.experiments.run import resume_experiment

        rocore.outlive_readers()
        _show(resume_experiment(resume, file=file, overrides=overrides, echo=_echo))
        return
    assert file is not None
    from tune.experiments.checks import check_here
    from tune.experiments.config import load_experiment

    loaded = load_experiment(file, overrides)
    check_here(out or "")
    folder = Path(out or Path("experiments") / file.stem)
    rocore.check_folder(folder)
    if dry_run:
        _show_plan(loaded, folder, as_json=as_json)
        return
    from tune.experiments.run import run_experiment

    rocore.outlive_readers()
    _show(run_experiment(loaded, folder, echo=_echo))


def _show(result: "ExperimentResult") -> None:
    from rocore import shown
    from tune.report.numbers import mean_std

    results = result.results
    for setting in results.settings:
        summary = setting.metrics.get(results.metric)
        figure = mean_std(summary.model_dump() if summary else None)
        click.echo(shown(f"{setting.name}: {results.metric} {figure} ({len(setting.seeds)} seeds)"))
    for sentence in result.verdicts:
        click.echo(shown(sentence))
    click.echo(shown(f"report: {result.directory / 'report.html'}"))


def _show_plan(loaded: "Experiment", out: Path, *, as_json: bool) -> None:
    import json

    from rich.console import Console

    from tune.experiments.plan import plan_experiment, render

    _echo("training a few steps of every setting that takes its own time")
    plan = plan_experiment(loaded, out)
    if as_json:
        click.echo(json.dumps(plan.as_tree(), indent=1))
        return
    Console().print(render(plan))
    click.echo("Nothing was written. Times are of this machine, with nothing else running.")


def _echo(text: str) -> None:
    from rocore import shown

    click.echo(shown(text, lines=True), err=True)
