"""The folder that a sweep or an experiment leaves behind, and where the trials of any node leave theirs."""

import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import rocore
from rocore.errors import CheckpointError, ConfigError
from tune.checkpoints import Checkpoints, LocalCheckpoints, StoredCheckpoints
from tune.journal import FILE, Journal, has_trials

if TYPE_CHECKING:
    from tune.records import TrialRecord

FOLDERS = {"search": "trials", "race": "race", "final": "final"}
"""Folder of the sweep directory, by role."""
RAY = "ray"
"""Tune's own folder in it."""
MODEL = "checkpoints"
"""A model's folder in that of its run."""
STUDY = "study.db"
CONFIG = "config.yaml"
LINK = "remote.json"
"""In the driver's copy of a sweep on an object store: which URL it is the copy of."""
LEFT_BEFORE_TRIALS = {FILE, "config.yaml", "environment.json", RAY, STUDY, LINK}
"""What a sweep may have left that ended before it tried anything."""


def check_is_no_run(directory: Path) -> None:
    """Refuse a run directory where a sweep's is wanted.

    Raises:
        CheckpointError: If it is one.
    """
    if (directory / "run.json").is_file() or (directory / "epochs.jsonl").is_file():
        raise CheckpointError(
            f"{directory} must be a sweep directory, but is a run's; `rocore evaluate {directory}` shows its figures, "
            f"and `rocore compare {directory} OTHER` sets it beside others"
        )


def is_experiment(directory: Path) -> bool:
    """Tell whether a folder is an experiment's, by its resolved configuration."""
    config = directory / "config.yaml"
    return config.is_file() and bool(
        re.search("^settings:", config.read_text(encoding="utf-8"), re.MULTILINE)
    )


def check_is_sweep(directory: Path) -> None:
    """Refuse a run's or an experiment's directory where a sweep's is wanted.

    Raises:
        CheckpointError: If it is one.
    """
    check_is_no_run(directory)
    if is_experiment(directory):
        raise CheckpointError(
            f"{directory} must be a sweep directory, but is an experiment's; `rocore report {directory}` builds its "
            f"report, `rocore experiment --resume {directory}` goes on with it, and the folders in "
            f"{directory / 'runs'} are run directories, for predict, evaluate, export and compare"
        )


class SweepDirectory:
    """A folder of this machine; where it is the copy of one on an object store, trials leave their files there.

    Attributes:
        what: What runs in it, for messages.
        command: What starts and resumes that.
        folders: Folder of the trials, by role.
    """

    what: ClassVar[str] = "sweep"
    command: ClassVar[str] = "rocore sweep"
    folders: ClassVar[Mapping[str, str]] = FOLDERS

    def __init__(self, root: Path, storage: "rocore.Storage | None" = None) -> None:
        self.root, self.storage = root, storage

    @property
    def place(self) -> str:
        """How users name it: a path or a URL."""
        return str(self.root) if self.storage is None else self.storage.url

    @property
    def resume_command(self) -> str:
        """What goes on with it."""
        return f"{self.command} --resume {shlex.quote(self.place)}"

    def checkpoints(self, role: str) -> Checkpoints:
        """Return where Tune keeps the checkpoints of a role's trials."""
        if self.storage is None:
            return LocalCheckpoints(self.root / RAY / role)
        return StoredCheckpoints(self.storage.below(f"{RAY}/{role}"))

    def place_of(self, record: "TrialRecord") -> str:
        """Return where a trial, on any node, leaves what is of use after its end: a path or a URL."""
        folder = self.folder(record)
        return str(folder) if self.storage is None else self.storage.below(self.name_of(record)).url

    def remove_model(self, record: "TrialRecord") -> None:
        """Remove the model of a run that ended."""
        shutil.rmtree(self.folder(record) / MODEL, ignore_errors=True)
        if self.storage is not None:
            self.storage.remove(f"{self.name_of(record)}/{MODEL}")

    def check_free(self) -> None:
        """Refuse a folder that can't be written or holds something; what a sweep that tried nothing left is nothing.

        Raises:
            ConfigError: If it does, or if another process runs a sweep there.
        """
        rocore.check_folder(self.root)
        if not self.root.is_dir():
            return
        journal = self.root / FILE
        is_begun, ours = False, set()
        if journal.is_file():
            with Journal(journal) as opened:
                is_begun, ours = has_trials(opened.events), LEFT_BEFORE_TRIALS
        if is_begun or any(path.name not in ours for path in self.root.iterdir()):
            raise ConfigError(
                f"the {self.what} directory must be new or empty, but {self.place} isn't; choose another with --out, "
                f"or go on with the {self.what} there: {self.resume_command}"
            )

    def create(self) -> None:
        """Make the folder."""
        self.root.mkdir(parents=True, exist_ok=True)

    def folder(self, record: "TrialRecord") -> Path:
        """Return the folder of a trial on this machine, made on the first call."""
        path = self.root / self.name_of(record)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write_text(self, name: str, text: str) -> None:
        """Write a file in one step: readers see the old or the new one, never a part."""
        rocore.write_atomically(self.root / name, text)

    def write_json(self, name: str, tree: Mapping[str, Any]) -> None:
        """Write a JSON file in one step; NaN is refused, as JSON has none."""
        self.write_text(name, json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def name_of(self, record: "TrialRecord") -> str:
        """Return the folder of a trial, relative to this one."""
        return f"{self.folders[record.role]}/{record.name}"
