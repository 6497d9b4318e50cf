"""Folders that are named by URL, brought to this machine once and used from there."""

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rocore.errors import StorageAwayError, StorageError
from rocore.outputs import check_folder, write_atomically
from rocore.storage import Choice, Storage, every, sha256
from rocore.text import listed

SHOWN = 10

log = logging.getLogger(__name__)


def cache_root(root: str | None) -> Path:
    """Return the cache folder: as given, else $ROCORE_CACHE, else ~/.cache/rocore."""
    return Path(root or os.environ.get("ROCORE_CACHE") or "~/.cache/rocore").expanduser().absolute()


def fetch_folder(url: str, wanted: Choice = every) -> Path:
    """Return a local copy of a folder, `<cache>/downloads/<digest of the URL>`, brought up to date.

    What `rocore data push` has written is checked against its checksums; where it can't be reached, the copy serves if
    it is still what was checked. Of what somebody else has put there, only sizes and times are compared, and a warning
    says so. Of several processes of this machine, one downloads and the others wait.

    Args:
        url: Of the folder.
        wanted: Told a file's name in it; other files stay where they are.

    Raises:
        ConfigError: If the cache can't be written.
        StorageError: If there is nothing, or what is there can't be read or isn't what it should be.
    """
    storage = Storage.at(url)
    folder = cache_root(None) / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:24]
    check_folder(folder, "the cache (ROCORE_CACHE)")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        manifest = storage.manifest()  # before the lock: while the store is away, all wait at once
        with _alone(folder):
            _bring(storage, manifest, folder, wanted)
    except StorageAwayError as error:
        with _alone(folder):
            if not _was_checked(folder, wanted):
                raise
        log.warning("%s; the copy of it on this machine is used", error)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bring(storage: Storage, manifest: dict[str, str] | None, folder: Path, wanted: Choice) -> None:
    names = list(storage.files() if manifest is None else manifest)
    if not any(map(wanted, names)):
        raise StorageError(
            f"{storage.url} must hold the files that are wanted, but holds {_listed(names) or 'none'}; correct the "
            "names, or put files there with `rocore data push FOLDER URL`"
        )
    if manifest is None:
        storage.fetch(folder, wanted=wanted)
        log.warning("%s was not put there by `rocore data push`: its files aren't checked", storage.url)
        return
    storage.pull(folder, skip=lambda name: not wanted(name))
    write_atomically(folder.with_suffix(".json"), json.dumps(manifest))


def _was_checked(folder: Path, wanted: Choice) -> bool:
    """Tell whether the copy holds, as they were checked, all that is wanted of the folder as it was seen last."""
    try:
        manifest = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
        files = {name: digest for name, digest in manifest.items() if wanted(name)}
        return bool(files) and all(sha256(folder / name) == digest for name, digest in files.items())
    except FileNotFoundError:
        return False


def _listed(names: Sequence[str]) -> str:
    return listed(names, SHOWN)
