"""Bring a sweep directory from where it ran: only what has changed, and checked."""

import hashlib
import shutil
from pathlib import Path

from rocore.errors import CheckpointError
from tune.journal import FILE
from tune.remote_sweep import LINK, collect_remote
from tune.sweep_directory import RAY

TRIES = 3
"""How often files that change while they are copied are copied again."""


def manifest(directory: Path) -> dict[str, str]:
    """Return SHA-256 by name of everything in a sweep directory but Tune's own files.

    Raises:
        CheckpointError: If it is no sweep directory.
    """
    if not (directory / FILE).is_file():
        raise CheckpointError(
            f"{directory} must be a sweep directory that holds {FILE}, but it doesn't; check the path"
        )
    paths = [
        path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.endswith(".tmp")
    ]
    names = {path.relative_to(directory).as_posix(): path for path in paths}
    return {
        name: _sha256(path) for name, path in names.items() if not name.startswith(f"{RAY}/") and name != LINK
    }


def differing(directory: Path, expected: dict[str, str]) -> list[str]:
    """Return the names whose files here aren't what a manifest says."""
    return [
        name
        for name, digest in expected.items()
        if not (directory / name).is_file() or _sha256(directory / name) != digest
    ]


def collect(place: str | Path, target: Path) -> list[str]:
    """Make `target` a copy of a sweep directory or of one by URL.

    Returns:
        Names of files that kept changing while they were copied; none of a sweep that isn't running.

    Raises:
        RocoreError: If there is no sweep, or what was copied isn't what was read.
    """
    if not isinstance(place, Path):
        return collect_remote(place, target)
    changing: list[str] = []
    for _ in range(TRIES):
        changing = differing(target, manifest(place))
        if not changing:
            break
        for name in changing:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place / name, target / name)
    return differing(target, manifest(place)) if changing else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
