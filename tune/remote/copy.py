"""Copies on this machine of a sweep on an object store. Nothing here writes to the store: readers never do."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import rocore
from rocore.errors import CheckpointError, ConfigError
from tune.journal import FILE, has_trials, parse_events
from tune.remote.journal import has_journal, read_journal
from tune.sweep_directory import FOLDERS, LINK, MODEL

Choice = Callable[[str], bool]
"""Told a file's name in the sweep directory, with slashes."""
log = logging.getLogger(__name__)


def copy_root(url: str) -> Path:
    """Return the folder of the driver's copy on this machine."""
    return rocore.cache_root(None) / "sweeps" / hashlib.sha256(url.encode()).hexdigest()[:24]


def place_of(directory: str | Path) -> str | Path:
    """Return the URL that a local folder is the copy of, else what is given."""
    link = Path(directory) / LINK
    if rocore.is_url(directory) or not link.is_file():
        return directory
    return str(json.loads(link.read_text(encoding="utf-8"))["url"])


def has_begun(place: str | Path) -> bool:
    """Tell whether a sweep directory holds a sweep."""
    if not rocore.is_url(place):
        return (Path(place) / FILE).is_file()
    return has_journal(rocore.Storage.at(str(place)))


def has_tried(place: str | Path) -> bool:
    """Tell whether a sweep directory holds a sweep that has tried something.

    Raises:
        CheckpointError: If its journal is corrupt.
    """
    is_stored = rocore.is_url(place)
    content = read_journal(rocore.Storage.at(str(place))) if is_stored else local_journal(Path(place))
    return has_trials(parse_events(content, str(place))[0])


def snapshot(place: str | Path, skip: Choice = lambda _name: False) -> Path:
    """Return a folder with what a sweep directory holds now, to be read; of a local one, itself.

    Args:
        place: A path or a URL.
        skip: Such files aren't copied.

    Raises:
        CheckpointError: If the URL holds no sweep.
    """
    place = place_of(place)
    if not rocore.is_url(place):
        return Path(place)
    url = str(place)
    root = copy_root(url).with_name(f"{copy_root(url).name}-read")
    stored = _stored(url)
    if not stored.startswith(local_journal(root)):
        # Of another sweep that was there before.
        shutil.rmtree(root)
    _read_into(url, root, stored, skip)
    return root


def collect(url: str, target: Path) -> list[str]:
    """Make `target` a copy of a sweep on a store, or bring an earlier copy up to date.

    Returns:
        Names of files that were being written meanwhile: they are there as they were at some moment.

    Raises:
        CheckpointError: If the URL holds no sweep.
        ConfigError: If the target holds something else.
    """
    rocore.check_folder(target, "--to")
    stored = _stored(url)
    is_free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not is_free and not ((target / FILE).is_file() and stored.startswith(local_journal(target))):
        raise ConfigError(
            f"--to must be a new or empty folder, or an earlier copy of {url}, but {target} holds something else; "
            "name another one"
        )
    return _read_into(url, target, stored, lambda _name: False)


def has_models(name: str) -> bool:
    """Tell whether a file belongs to a model."""
    return f"/{MODEL}/" in name


def is_no_summary(name: str) -> bool:
    """Tell whether a file lies in a folder of the sweep directory: its status needs none of these."""
    return "/" in name


def local_journal(root: Path) -> bytes:
    """Return the journal of a copy, as far as it goes."""
    path = root / FILE
    return path.read_bytes() if path.is_file() else b""


def write_journal(root: Path, content: bytes) -> None:
    """Write the journal of a copy in one step."""
    root.mkdir(parents=True, exist_ok=True)
    rocore.write_atomically(root / FILE, content.decode())


class Copy:
    """A folder of this machine, and what a sweep on a store holds beside its journal.

    Attributes:
        changed: Names of files that were being written when they were copied.
    """

    def __init__(self, storage: rocore.Storage, root: Path) -> None:
        self.storage, self.root = storage, root
        self.changed: list[str] = []

    def bring(self, skip: Choice = lambda _name: False) -> list[str]:
        """Copy what differs, but for files that are skipped.

        What was being written when the driver was lost is taken as it is: the journal says what counts.

        Returns:
            Folders of final runs that no driver has copied yet.
        """
        if self.storage.manifest() is not None:
            self.storage.pull(
                self.root, skip=lambda name: name == FILE or skip(name), changed=self._take_changed
            )
        suffix = f"/{rocore.Storage.manifest_name}"
        names = [name for name in self.storage.files(FOLDERS["final"]) if name.endswith(suffix)]
        folders = [name.removesuffix(suffix) for name in names]
        for folder in folders:
            self.bring_folder(folder, skip)
        return folders

    def bring_folder(self, folder: str, skip: Choice = lambda _name: False) -> None:
        """Copy the folder of a final run as its trial left it; its model may have been removed since."""
        storage = self.storage.below(folder)
        there = storage.files()
        storage.pull(
            self.root / folder,
            skip=lambda name: name not in there or skip(f"{folder}/{name}"),
            changed=self._take_changed,
        )

    def _take_changed(self, name: str) -> bool:
        log.warning(
            "%s is being written, or was when the sweep's process was lost; it is taken as it is", name
        )
        self.changed.append(name)
        return True


def _stored(url: str) -> bytes:
    stored = read_journal(rocore.Storage.at(url))
    if not stored:
        raise CheckpointError(f"{url} must be a sweep directory, but it holds no journal; check the URL")
    return stored


def _read_into(url: str, root: Path, stored: bytes, skip: Choice) -> list[str]:
    # First of all: a copy that is cut off is known for what it is.
    write_journal(root, stored)
    copy = Copy(rocore.Storage.at(url), root)
    copy.bring(skip)
    return copy.changed
