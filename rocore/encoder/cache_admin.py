"""Looking after the trunk cache: what it holds, removing what was not used for longest, checking it whole."""

import shutil
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from rocore.encoder.cache_entry import (
    Description,
    last_use,
    read_description,
    remove_entry,
    try_lock,
    unused,
    verify_entry,
)
from rocore.errors import BrokenEntryError

WRITERS_LOCK = "writers.lock"
"""Writers share it while they build; who gets it alone knows that what lies half written has no writer."""
DAY_S = 86400.0


@dataclass(frozen=True)
class EntryInfo:
    """An entry as it lies there.

    Attributes:
        folder: Its place; the folder's name is its key.
        description: What it is; None where `entry.json` can't be read.
        num_bytes: Of all its files.
        last_use: When it was last opened, else made, in seconds since the epoch.
        in_use: Whether a process maps it (or this user may not write it).
    """

    folder: Path
    description: Description | None
    num_bytes: int
    last_use: float
    in_use: bool


def list_entries(folder: Path) -> list[EntryInfo]:
    """Return all entries of `<root>/trunk`, the least recently used first."""
    paths = [path for path in folder.glob("[!.]*") if path.is_dir()]
    infos = [info for path in paths if (info := _describe(path)) is not None]
    return sorted(infos, key=lambda info: info.last_use)


def _describe(folder: Path) -> EntryInfo | None:
    """None where it has just been removed."""
    try:
        description = read_description(folder)
    except BrokenEntryError:
        description = None
    try:
        with unused(folder) as free:
            num_bytes = sum(path.stat().st_size for path in folder.iterdir())
            return EntryInfo(folder, description, num_bytes, last_use(folder), not free)
    except FileNotFoundError:
        return None


def prune(
    folder: Path, *, max_bytes: float | None = None, unused_since: float | None = None, dry_run: bool = False
) -> list[EntryInfo]:
    """Remove entries that nobody maps, the least recently used first.

    Args:
        folder: `<root>/trunk`.
        max_bytes: Remove until all that is left is no larger.
        unused_since: Remove what was last used before, in seconds since the epoch.
        dry_run: Remove nothing.

    Returns:
        What was removed, or would be.
    """
    entries = list_entries(folder)
    total = sum(entry.num_bytes for entry in entries)
    removed = []
    for entry in entries:
        too_much = max_bytes is not None and total > max_bytes
        too_old = unused_since is not None and entry.last_use < unused_since
        if (too_much or too_old) and (_removable(entry) if dry_run else _remove(entry)):
            removed.append(entry)
            total -= entry.num_bytes
    return removed


def _removable(entry: EntryInfo) -> bool:
    return not entry.in_use


def _remove(entry: EntryInfo) -> bool:
    """Remove an entry, unless it has come into use since it was listed or can't be removed by this user."""
    try:
        with unused(entry.folder) as free:
            if free:
                remove_entry(entry.folder)
            return free
    except OSError:
        return not entry.folder.exists()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written or half removed; nothing while a process writes.

    What another machine left on shared storage is removed when it is a day old: not every shared file system
    carries locks from one machine to the other.
    """
    with (folder / WRITERS_LOCK).open("w") as file:
        if not try_lock(file):
            return
        own = set(folder.glob(f".*.{escape(socket.gethostname())}.*.tmp"))
        for leftover in folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):  # another machine has just published or removed it
                if leftover in own or time.time() - leftover.stat().st_mtime > DAY_S:
                    shutil.rmtree(leftover)


def verify(folder: Path) -> dict[str, str]:
    """Hash every entry, whether or not it seems unchanged.

    Returns:
        What is wrong, by key; empty where all entries are whole.
    """
    faults = {}
    for entry in list_entries(folder):
        try:
            verify_entry(entry.folder)
        except BrokenEntryError as error:
            if entry.folder.exists():
                faults[entry.folder.name] = str(error)
    return faults


def remove_broken(folder: Path, keys: list[str]) -> list[str]:
    """Remove broken entries that nobody maps; return the keys of those that are gone."""
    return [
        entry.folder.name for entry in list_entries(folder) if entry.folder.name in keys and _remove(entry)
    ]
