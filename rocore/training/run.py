"""One whole run in a run directory: train, checkpoint every epoch, evaluate, write what was found."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rocore.config import Config, dump_config, with_absolute_paths
from rocore.encoder.cache import Progress
from rocore.errors import CheckpointError
from rocore.outputs import write_atomically
from rocore.progress import silent
from rocore.run_directory import RunDirectory, write_json
from rocore.scalars import TensorBoardLogger
from rocore.training.task import Prepared, prepare
from rocore.training.trainer import EpochReport, Trainer

OnStart = Callable[[Prepared, int], None]
OnEpoch = Callable[[EpochReport, dict[str, float]], None]


@dataclass(frozen=True)
class RunResult:
    """What a run ended with; `metrics` is the content of metrics.json."""

    metrics: dict[str, Any]
    stop_reason: str


def set_threads(num_threads: int) -> None:
    """Set torch's threads on the CPU."""
    torch.set_num_threads(num_threads)


def train_run(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    on_start: OnStart = lambda _prepared, _epoch: None,
    on_epoch: OnEpoch = lambda _report, _metrics: None,
) -> RunResult:
    """Train in a run directory; a killed run goes on with `resume` and ends with the same numbers.

    Args:
        config: The run.
        folder: The run directory; new, or with `resume` that of the same run.
        resume: Go on from the newest whole checkpoint, if there is one.
        progress: Shows long work.
        on_start: Told of the prepared data and of the epochs that were already done.
        on_epoch: Told of each epoch, with its metrics where gold is there (for display; nothing is chosen by them).

    Raises:
        RocoreError: If configuration, data, encoder, cache or checkpoint can't be used, or training diverges.
    """
    config, directory = with_absolute_paths(config), RunDirectory(folder)
    with directory.opened_for(config, resume=resume):
        return _train_in(directory, config, progress, on_start, on_epoch)


def _train_in(
    directory: RunDirectory, config: Config, progress: Progress, on_start: OnStart, on_epoch: OnEpoch
) -> RunResult:
    start = time.perf_counter()
    if config.train.num_threads is not None:
        set_threads(config.train.num_threads)
    prepared = prepare(config, progress)
    if directory.run_file.exists():
        _check_unchanged(directory, prepared.fingerprints | prepared.corpus.files)
    directory.describe(prepared)
    trainer = Trainer(config, prepared.task)
    directory.load_checkpoint(trainer)
    directory.keep_epochs(trainer.epoch)
    on_start(prepared, trainer.epoch)
    prepared_s = time.perf_counter() - start
    _train(trainer, prepared, directory, progress, on_epoch)
    stop_reason = trainer.stop_reason
    assert stop_reason is not None
    metrics = finish(trainer, prepared, directory)
    trainer.close()
    metrics["timing"]["prepare"] = prepared_s
    write_json(directory.metrics_file, metrics)
    return RunResult(metrics, stop_reason)


def finish(trainer: Trainer, prepared: Prepared, directory: RunDirectory) -> dict[str, Any]:
    """Write predictions.jsonl and return the content of metrics.json.

    Timing is in seconds, summed over the epochs of this run, whichever process ran them.
    """
    rows = directory.keep_epochs(trainer.epoch)
    timing: dict[str, float] = {}
    for phase in ("pretrain", "joint"):
        seconds = [sum(row["seconds"].values()) for row in rows if row["phase"] == phase]
        timing[f"{phase}_epochs"] = sum(seconds)
        timing[f"{phase}_epoch_mean"] = sum(seconds) / len(seconds) if seconds else 0.0
    return {
        **_evaluate(trainer, prepared, directory),
        "pseudo_label_change": rows[-1]["pseudo_label_change"] if rows else None,
        "silhouette": rows[-1]["silhouette"] if rows else None,
        "timing": timing,
    }


def save_run(folder: Path, trainer: Trainer, prepared: Prepared) -> None:
    """Write the run directory of a training that was done elsewhere, so that it can be evaluated and applied.

    It has no epochs.jsonl and no timing; what stands in the folder under other names stays.
    """
    directory = RunDirectory(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(directory.config_file, dump_config(trainer.config))
    directory.describe(prepared)
    directory.save_checkpoint(trainer)
    write_json(directory.metrics_file, _evaluate(trainer, prepared, directory))


def _evaluate(trainer: Trainer, prepared: Prepared, directory: RunDirectory) -> dict[str, Any]:
    """Write predictions.jsonl and return the figures of the last epoch."""
    directory.write_predictions(prepared.splits.novel_test, trainer.predict_novel("test"))
    flat = prepared.evaluator.evaluate(trainer) if prepared.evaluator is not None else {}
    return {
        **nested(flat),
        "gold": prepared.evaluator is not None,
        "synthetic": prepared.corpus.synthetic,
        "epochs": trainer.epoch,
        "stop_reason": trainer.stop_reason,
    }


def nested(flat: dict[str, float]) -> dict[str, Any]:
    """Turn dotted names into one level of nesting."""
    result: dict[str, Any] = {}
    for name, value in flat.items():
        group, _, leaf = name.rpartition(".")
        (result.setdefault(group, {}) if group else result)[leaf] = value
    return result


def _train(
    trainer: Trainer, prepared: Prepared, directory: RunDirectory, progress: Progress, on_epoch: OnEpoch
) -> None:
    logger = TensorBoardLogger(directory.tensorboard, trainer.epoch + 1)
    advance = progress("epochs", trainer.total_epochs)
    advance(trainer.epoch)
    try:
        while not trainer.finished:
            report = trainer.run_epoch()
            with_gold = report.phase == "joint" and prepared.evaluator is not None
            metrics = prepared.evaluator.evaluate(trainer) if with_gold and prepared.evaluator else {}
            directory.append_epoch(report, metrics)
            logger.log(report.epoch, scalars_of(report) | metrics)
            directory.save_checkpoint(trainer)
            on_epoch(report, metrics)
            advance(1)
    finally:
        logger.close()


def scalars_of(report: EpochReport) -> dict[str, float]:
    """Return an epoch's label-free scalars by short names."""
    scalars = {f"loss/{name}": value for name, value in report.losses.items()}
    if report.pseudo_label_change is not None:
        scalars["pseudo_label_change"] = report.pseudo_label_change
    if report.silhouette is not None:
        scalars["silhouette"] = report.silhouette
    return scalars | {f"seconds/{part}": seconds for part, seconds in report.seconds.items()}


def evaluate_run(
    folder: Path, progress: Progress = silent, overrides: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, float]]:
    """Return the epoch of a run's newest whole checkpoint and its metrics by dotted name (empty without gold).

    Args:
        folder: The run directory.
        progress: Shows long work.
        overrides: As of `RunDirectory.load_config`: data may have moved.

    Raises:
        CheckpointError: If the folder is no run directory, holds no whole checkpoint, or its data have changed.
    """
    directory = RunDirectory(folder)
    config = directory.load_config(overrides)
    prepared = prepare(config, progress)
    _check_unchanged(directory, prepared.fingerprints)
    trainer = Trainer(config, prepared.task)
    if not directory.load_checkpoint(trainer):
        raise CheckpointError(
            f"{folder} must hold a whole checkpoint, but holds none; train it with `rocore train`"
        )
    return trainer.epoch, prepared.evaluator.evaluate(trainer) if prepared.evaluator is not None else {}


def _check_unchanged(directory: RunDirectory, now: dict[str, str]) -> None:
    """Compare fingerprints by name with those that the run began with."""
    run = directory.read_run()
    before = run["fingerprints"] | run["files"]
    changed = [name for name, value in now.items() if before.get(name) != value]
    if changed:
        raise CheckpointError(
            f"data and encoder must be those that {directory.folder} was trained on, "
            f"but changed: {', '.join(changed)}; restore them, or train in another folder"
        )
