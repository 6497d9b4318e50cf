"""`rocore train`: one run in a run directory."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rocore.commands.options import set_option

if TYPE_CHECKING:
    from rocore.training.run import RunResult
    from rocore.training.task import Prepared
    from rocore.training.trainer import EpochReport


@click.command(short_help="Train RoCORE and write a run directory.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run directory. Default: runs/<config>-seed<seed>."
)
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of the same run.")
@set_option
def train(config: Path, out: Path | None, resume: bool, overrides: dict[str, Any]) -> None:
    """Train RoCORE as CONFIG says: pre-training, then joint epochs until pseudo labels stand still or a maximum.

    The run directory holds config.yaml, splits.json, epochs.jsonl, metrics.json, predictions.jsonl, TensorBoard events
    and checkpoints. A killed run goes on with the same command and --resume, and ends with the same numbers.

    \b
    rocore train configs/rocore/quickstart.yaml
    rocore train configs/rocore/fewrel_minilm.yaml --set seed=1 --set loss.center_weight=0.001
    """
    from rocore.config import load_config
    from rocore.progress import progress_bars
    from rocore.streams import outlive_readers
    from rocore.training.run import train_run

    outlive_readers()
    resolved = load_config(config, overrides)
    folder = out or Path("runs") / f"{config.stem}-seed{resolved.seed}"
    with progress_bars() as progress:
        result = train_run(
            resolved, folder, resume=resume, progress=progress, on_start=_show_start, on_epoch=_show_epoch
        )
    _show_result(result, folder)


def _show_start(prepared: "Prepared", epochs_done: int) -> None:
    from rocore.text import shown

    task = prepared.task
    for warning in prepared.warnings:
        click.echo(shown(f"warning: {warning}", lines=True), err=True)
    if prepared.corpus.synthetic:
        click.echo("data: built-in synthetic corpus; its figures say nothing about real text", err=True)
    click.echo(
        f"{len(task.known_train)} labeled instances of {task.num_known_relations} known relations, "
        f"{len(task.novel_train)} unlabeled for {task.num_novel_relations} novel relations, "
        f"{len(task.novel_test)} for testing; {task.device}, {task.precision}, "
        f"attention by {task.attention}",
        err=True,
    )
    if epochs_done:
        click.echo(f"resumed after epoch {epochs_done}", err=True)


def _show_epoch(report: "EpochReport", metrics: dict[str, float]) -> None:
    losses = "  ".join(f"{name} {value:.4f}" for name, value in report.losses.items())
    change = (
        ""
        if report.pseudo_label_change is None
        else f"  pseudo labels changed {report.pseudo_label_change:.1%}"
    )
    score = f"  novel test B3 F1 {metrics['novel_test.b3_f1']:.3f}" if metrics else ""
    seconds = sum(report.seconds.values())
    click.echo(
        f"epoch {report.epoch:3d} {report.phase:8s} {seconds:6.1f} s  {losses}{change}{score}", err=True
    )
    sys.stderr.flush()


def _show_result(result: "RunResult", folder: Path) -> None:
    metrics = result.metrics
    click.echo(f"{metrics['epochs']} epochs, stopped: {result.stop_reason}; {folder}")
    if not metrics["gold"]:
        click.echo(
            "no gold relations in the novel file: clusters are in predictions.jsonl, there is nothing to score"
        )
    for group in ("novel_test", "all_test"):
        if group in metrics:
            click.echo(
                f"{group}: " + "  ".join(f"{name} {value:.3f}" for name, value in metrics[group].items())
            )
    for name in ("known_accuracy", "novel_accuracy_hungarian"):
        if name in metrics:
            click.echo(f"{name}: {metrics[name]:.3f}")
