"""A run directory: everything that a run leaves behind, and everything that it needs to go on.

config.yaml         resolved configuration; `rocore train` takes it as it is
splits.json         rows of the files in each split
run.json            known relation names, C_u, what the data were cut to, fingerprints, versions, precision, whether the
                    data is synthetic
epochs.jsonl        one line an epoch
checkpoints/        the newest two, each whole or absent
tensorboard/        event files
metrics.json        final metrics and timing; written last
predictions.jsonl   a line for each novel test instance, in split order
"""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rocore.config import Config, dump_config, load_config
from rocore.data import save_splits
from rocore.environment import describe_environment
from rocore.errors import CheckpointError, ConfigError, UnreadableError
from rocore.evaluation import Prediction
from rocore.outputs import LOCK, alone_in, check_folder, write_atomically
from rocore.storage import is_temporary
from rocore.training.task import Prepared
from rocore.training.trainer import EpochReport, Trainer

KEPT_CHECKPOINTS = 2
WHERE_ONLY = {
    "train": {"device", "num_threads"},
    "cache": {"root", "max_gib", "store", "layers"},
    "data": {"root", "max_file_mib", "max_sentence_characters"},
}
"""Keys that may differ between a run and its resumption: they say where it runs and where data lie, not what is
computed; that the data are the same is told by their fingerprints."""
MOVED = {**WHERE_ONLY, "encoder": {"name"}}
"""Keys that may differ when a trained run is used: that its encoder is the same is told by its fingerprint."""
SWEEP_FILES = ("journal.jsonl", "results.json")
"""What a sweep directory holds, and a run directory never does."""
log = logging.getLogger(__name__)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _is_leftover(path: Path) -> bool:
    """Tell whether a file is of no use: a kill left it, or it is this process's own lock."""
    return is_temporary(path.name) or path.name == LOCK


class RunDirectory:
    """Paths and files of one run."""

    def __init__(self, folder: Path) -> None:
        """Name a folder; nothing is touched yet."""
        self.folder = folder
        self.config_file = folder / "config.yaml"
        self.splits_file = folder / "splits.json"
        self.run_file = folder / "run.json"
        self.epochs_file = folder / "epochs.jsonl"
        self.metrics_file = folder / "metrics.json"
        self.predictions_file = folder / "predictions.jsonl"
        self.checkpoints = folder / "checkpoints"
        self.tensorboard = folder / "tensorboard"

    @contextmanager
    def opened_for(self, config: Config, *, resume: bool) -> Iterator[None]:
        """Make the folder for a run, or check that an unfinished one belongs to the same run; keep others out of it.

        A folder in which no epoch was trained is as good as a new one, whatever start of a run failed there.

        Raises:
            ConfigError: If the folder can't be written, is in use and `resume` is off, is being trained in by another
                process, or holds a run of another configuration.
        """
        check_folder(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone_in(self.folder):
            if self._is_begun():
                if not resume:
                    raise ConfigError(
                        f"the run directory must be new, but {self.folder} holds a run; "
                        "add --resume to go on with it, or name another with --out"
                    )
                self._check_same(config)
            else:
                self._check_free()
                self.run_file.unlink(missing_ok=True)
                write_atomically(self.config_file, dump_config(config))
            yield

    def load_config(self, overrides: Mapping[str, Any] | None = None) -> Config:
        """Return the run's resolved configuration.

        Args:
            overrides: Dotted keys that say anew where it runs, where data lie, or where its encoder does.

        Raises:
            CheckpointError: If this is no run directory.
            ConfigError: If an override would change what was trained.
        """
        for name in SWEEP_FILES:
            if (self.folder / name).is_file():
                raise CheckpointError(
                    f"{self.folder} must be a run directory, but is a sweep's; `rocore sweep status {self.folder}` "
                    f"shows it, and `rocore export {self.folder} --out DIR` makes a run directory of its best model"
                )
        if not self.config_file.is_file():
            raise CheckpointError(
                f"a run directory must hold config.yaml, but {self.folder} doesn't; give the --out of a `rocore train`"
            )
        trained = load_config(self.config_file)
        if not overrides:
            return trained
        config = load_config(self.config_file, overrides)
        if trained.model_dump(exclude=MOVED) != config.model_dump(exclude=MOVED):
            free = ", ".join(f"{section}.{key}" for section, keys in MOVED.items() for key in sorted(keys))
            raise ConfigError(
                f"a trained run must stay what it is, but --set {', '.join(overrides)} would change it; "
                f"set only where things lie and run: {free}"
            )
        return config

    def describe(self, prepared: Prepared) -> None:
        """Write the splits and what a reader needs to interpret the run."""
        save_splits(prepared.splits, self.splits_file)
        write_json(
            self.run_file,
            {
                "known_relations": list(prepared.corpus.known_relations),
                "num_novel_relations": prepared.corpus.num_novel_relations,
                "synthetic": prepared.corpus.synthetic,
                "cuts": [asdict(cut) for cut in prepared.corpus.cuts],
                "precision": prepared.task.precision,
                "attention": prepared.task.attention,
                "files": prepared.corpus.files,
                "fingerprints": prepared.fingerprints,
                "environment": describe_environment(),
            },
        )

    def read_run(self) -> dict[str, Any]:
        """Return what `describe` wrote.

        Raises:
            CheckpointError: If it is absent or torn.
        """
        try:
            run: dict[str, Any] = json.loads(self.run_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.run_file} must be readable, but {error}") from error
        return run

    def save_checkpoint(self, trainer: Trainer) -> None:
        """Write a checkpoint under a temporary name, rename it, and drop all but the newest two."""
        final = self.checkpoints / f"epoch-{trainer.epoch:04d}"
        temporary = self.checkpoints / f".{final.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        trainer.save(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        for old in self.checkpoint_folders()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)

    def load_checkpoint(self, trainer: Trainer) -> bool:
        """Load the newest whole checkpoint; return whether there was one. A broken one is reported and passed over."""
        for folder in reversed(self.checkpoint_folders()):
            try:
                trainer.load(folder)
            except UnreadableError:
                raise
            except CheckpointError as error:
                log.warning("%s; the one before is taken", error)
                continue
            return True
        return False

    def checkpoint_folders(self) -> list[Path]:
        """Return checkpoints, oldest first."""
        if not self.checkpoints.is_dir():
            return []
        # Unlike `glob`, `iterdir` says that a folder may not be read.
        return sorted(path for path in self.checkpoints.iterdir() if path.name.startswith("epoch-"))

    def append_epoch(self, report: EpochReport, metrics: dict[str, float]) -> None:
        """Add a line to epochs.jsonl."""
        with self.epochs_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(report), "metrics": metrics}) + "\n")

    def keep_epochs(self, num_epochs: int) -> list[dict[str, Any]]:
        """Drop lines after `num_epochs` (and a torn last line) from epochs.jsonl; return those kept."""
        if not self.epochs_file.exists():
            return []
        kept = []
        for line in self.epochs_file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break
            if row["epoch"] > num_epochs:
                break
            kept.append(row)
        write_atomically(self.epochs_file, "".join(json.dumps(row) + "\n" for row in kept))
        return kept

    def write_predictions(self, rows: Iterable[int], prediction: Prediction) -> None:
        """Write predictions.jsonl."""
        lines = (
            json.dumps(
                {"index": int(row), "cluster": int(cluster), "probability": round(float(probability), 6)}
            )
            for row, cluster, probability in zip(
                rows, prediction.classes, prediction.probabilities, strict=True
            )
        )
        write_atomically(self.predictions_file, "".join(line + "\n" for line in lines))

    def _is_begun(self) -> bool:
        """Tell whether an epoch was trained here."""
        has_epochs = self.epochs_file.exists() and self.epochs_file.stat().st_size > 0
        return self.config_file.exists() and (has_epochs or bool(self.checkpoint_folders()))

    def _check_free(self) -> None:
        """Refuse a folder that holds anything but what a start of ours left; its config.yaml may be the user's."""
        ours = {self.run_file, self.splits_file, self.epochs_file, self.checkpoints, self.tensorboard}
        if self._wrote_config():
            ours.add(self.config_file)
        others = [path for path in self.folder.iterdir() if path not in ours and not _is_leftover(path)]
        if others:
            raise ConfigError(
                f"the run directory must be new or empty, but {self.folder} holds {others[0].name}; "
                "name another with --out"
            )

    def _wrote_config(self) -> bool:
        """Tell whether config.yaml is as a start of ours writes it."""
        if not self.config_file.is_file():
            return False
        try:
            begun = self.load_config()
        except ConfigError:
            return False
        return self.config_file.read_text(encoding="utf-8") == dump_config(begun)

    def _check_same(self, config: Config) -> None:
        before, now = self.load_config(), config
        if before.model_dump(exclude=WHERE_ONLY) != now.model_dump(exclude=WHERE_ONLY):
            raise ConfigError(
                f"a run must be resumed with its own configuration, but {self.config_file} differs from the one given; "
                f"run `rocore train {self.config_file} --out {self.folder} --resume`, or name another --out"
            )
