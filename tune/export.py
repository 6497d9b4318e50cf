"""Trained models with all that is needed to use and to judge them: run directories with a model card."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rocore
from rocore.errors import CheckpointError, ConfigError, UnreadableError
from tune.journal import FILE
from tune.model_card import render_card
from tune.sweep_directory import check_is_sweep

COPIED = ("config.yaml", "run.json", "splits.json", "metrics.json", "predictions.jsonl")


@dataclass(frozen=True)
class Model:
    """A run directory and what a sweep found out about its configuration.

    Attributes:
        name: `paper`, `trial-3`, or the name of a single run's folder.
        folder: The run directory that holds the model.
        entry: The configuration's entry in the `final` list of results.json; empty for a single run.
        results: The whole of results.json; empty for a single run.
    """

    name: str
    folder: Path
    entry: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)


def export(directory: Path, out: Path, num_best: int = 1) -> list[Path]:
    """Copy the best models of a sweep, or the model of a run, with a model card each.

    Args:
        directory: A sweep directory or a run directory.
        out: A new or empty folder; one model lies in it, several lie in folders below it, by their names.
        num_best: Configurations of the sweep's final comparison, best first by search and race, never by the final
            figures.

    Returns:
        The run directories that were written; `rocore predict` and `rocore evaluate` take them.

    Raises:
        ConfigError: If `out` is in use, or the sweep compared fewer configurations.
        CheckpointError: If a model isn't there.
    """
    rocore.check_folder(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out must be new or empty, but {out} isn't; choose another")
    is_sweep = any((directory / name).is_file() for name in (FILE, "results.json"))
    if is_sweep:
        check_is_sweep(directory)
    models = (
        _models_of_sweep(directory, num_best) if is_sweep else [Model(directory.resolve().name, directory)]
    )
    checkpoints = [_newest_checkpoint(model.folder) for model in models]
    targets = [out / model.name if len(models) > 1 else out for model in models]
    for model, checkpoint, target in zip(models, checkpoints, targets, strict=True):
        target.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            if (model.folder / name).is_file():
                shutil.copyfile(model.folder / name, target / name)
        shutil.copytree(checkpoint, target / "checkpoints" / checkpoint.name)
        rocore.write_atomically(
            target / "README.md", render_card(model.name, target, model.entry, model.results)
        )
    return targets


def _models_of_sweep(directory: Path, num_best: int) -> list[Model]:
    path = directory / "results.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if results.get("status") != "complete":
        raise CheckpointError(
            f"a sweep must be complete to be exported, but {directory} isn't; see `rocore sweep status {directory}`, "
            f"and go on with `rocore sweep --resume {directory}`"
        )
    final = results["final"]
    if num_best > len(final):
        raise ConfigError(
            f"--best must be at most {len(final)}, the configurations of the final comparison, but is {num_best}; "
            "lower it"
        )
    return [
        Model(entry["name"], _kept_run(directory, entry["name"]), entry, results)
        for entry in final[:num_best]
    ]


def _kept_run(directory: Path, name: str) -> Path:
    """Return the run directory of a configuration whose model is still there."""
    kept = [path.parent for path in sorted((directory / "final").glob(f"{name}-seed*/checkpoints"))]
    if not kept:
        raise CheckpointError(
            f"the model of {name} must be in {directory / 'final'}, but isn't: `retention.keep_best` says how many are "
            f"kept; set it higher in the next sweep, or train this one: `rocore report {directory}` names its keys"
        )
    return kept[0]


def _newest_checkpoint(folder: Path) -> Path:
    found = sorted((folder / "checkpoints").glob("epoch-*"))
    if not found or not (folder / "run.json").is_file():
        raise CheckpointError(
            f"{folder} must be a sweep directory, or a run directory with a checkpoint, but is neither; "
            "give the --out of a `rocore sweep` or `rocore train`"
        )
    for file in found[-1].iterdir():
        if not os.access(file, os.R_OK):
            raise UnreadableError(f"{file} must be readable, but: Permission denied; have its owner allow it")
    return found[-1]
