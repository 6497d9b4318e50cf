"""Folders that are named by URL, brought to this machine once and used from there."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from rocore.errors import StorageError
from rocore.storage import MANIFEST, Storage

log = logging.getLogger(__name__)


def cache_root(root: str | None) -> Path:
    """Return the cache folder: as given, else $ROCORE_CACHE, else ~/.cache/rocore."""
    return Path(root or os.environ.get("ROCORE_CACHE") or "~/.cache/rocore").expanduser().absolute()


def fetch_folder(url: str, wanted: Callable[[str], bool] = lambda _name: True) -> Path:
    """Return a local copy of a folder, `<cache>/downloads/<digest of the URL>`, brought up to date.

    What `rocore data push` has written is checked against its checksums; of what somebody else has put there, only
    sizes are compared, and a warning says so. Of several processes of this machine, one downloads and the others wait.

    Args:
        url: Of the folder.
        wanted: Told a file's name in it; other files stay where they are.

    Raises:
        StorageError: If there is nothing, or what is there can't be read or isn't what it should be.
    """
    storage = Storage.at(url)
    folder = cache_root(None) / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if storage.exists(MANIFEST):
            storage.pull(folder, skip=lambda name: not wanted(name))
        else:
            _copy(storage, folder, wanted)
    return folder


def _copy(storage: Storage, folder: Path, wanted: Callable[[str], bool]) -> None:
    if not storage.fetch(folder, wanted=wanted):
        raise StorageError(
            f"{storage.url} must be a folder with files in it, but holds none that are wanted; "
            "put them there with `rocore data push FOLDER URL`"
        )
    log.warning("%s was not put there by `rocore data push`: its files aren't checked", storage.url)
