"""Bringing a sweep directory back: only what has changed is copied, and every file is compared by its SHA-256."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.address import ClusterError

ROUNDS = 3
PART = ".collecting-"
"""Begins the name of a file that is being copied."""
LIST = ".collected.sha256"
"""What was brought here, in the form of sha256sum: `sha256sum --check .collected.sha256` compares again."""


class Source(Protocol):
    """Where a sweep directory is."""

    def manifest(self) -> dict[str, str]:
        """Return the SHA-256 of every file there, by its path in the directory."""

    def fetch(self, names: Sequence[str], target: Path) -> str:
        """Copy files into a folder; one that is gone by now is left out.

        Returns:
            What went wrong, in words; nothing if nothing did.
        """


@dataclass(frozen=True)
class Collected:
    """What was brought back.

    Attributes:
        num_files: Files that are the same on both sides.
        num_copied: Files that were copied for it.
        num_removed: Files that an earlier collect had brought and the source has no more: they are gone here, too.
        busy: Files that changed while they were copied, each time: they are older here.
        only_here: Files of the target that nobody brought; they stay.
    """

    num_files: int
    num_copied: int
    num_removed: int
    busy: tuple[str, ...]
    only_here: tuple[str, ...]


def manifest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of files in a folder by their path in it; links and what is being copied don't count."""
    return {
        path.relative_to(folder).as_posix(): digest
        for path in sorted(folder.rglob("*"))
        if not path.name.startswith((PART, LIST)) and path.is_file() and not path.is_symlink()
        if (digest := _digest(path)) is not None
    }


def collect(source: Source, target: Path) -> Collected:
    """Make the target equal to the source, in as many rounds as it takes, up to three.

    Raises:
        ClusterError: If a file that didn't change over there is another one here.
    """
    ours, theirs = manifest(target), source.manifest()
    copied: set[str] = set()
    damaged: list[str] = []
    trouble = ""
    for _ in range(ROUNDS):
        wanted = _differing(theirs, ours)
        if not wanted:
            break
        for name in () if trouble else damaged:
            # A tool that goes by size and time would leave it.
            (target / name).unlink(missing_ok=True)
        trouble = source.fetch(wanted, target)
        copied.update(wanted)
        before, theirs = theirs, source.manifest()
        ours = manifest(target)
        damaged = [name for name in _differing(theirs, ours) if theirs[name] == before.get(name)]
    if damaged:
        raise ClusterError(
            f"a copy must have the SHA-256 of its source, but {len(damaged)} of {len(theirs)} files don't, the first "
            f"is {damaged[0]}{f' ({trouble})' if trouble else ''}; is there room in {target}? Collect again"
        )
    busy = tuple(_differing(theirs, ours))
    removed = _remove(target, {name: ours[name] for name in ours.keys() - theirs.keys()})
    _write_list(target, {name: ours[name] for name in sorted(ours.keys() & theirs.keys())})
    return Collected(
        num_files=len(theirs) - len(busy),
        num_copied=len(copied & theirs.keys()),
        num_removed=len(removed),
        busy=busy,
        only_here=tuple(sorted(ours.keys() - theirs.keys() - removed)),
    )


def _remove(target: Path, extra: Mapping[str, str]) -> set[str]:
    """Remove what an earlier collect brought and nobody has changed since; return the names."""
    brought = read_list(target)
    removed = {name for name, digest in extra.items() if brought.get(name) == digest}
    for name in removed:
        (target / name).unlink()
    return removed


def read_list(target: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that was brought into a folder, by its path in it."""
    path = target / LIST
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _write_list(target: Path, files: Mapping[str, str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    # A name with a line's end in it can't be listed: such a file is never taken for one that was brought.
    lines = [f"{digest}  {name}\n" for name, digest in files.items() if name.isprintable()]
    (target / LIST).write_text("".join(lines), encoding="utf-8")


def _differing(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    return sorted(name for name, digest in theirs.items() if ours.get(name) != digest)


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
