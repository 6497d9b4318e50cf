"""Trunk cache entries on an object store: computed once in a cluster, fetched by its other machines.

An entry is pushed with a manifest, written last, so that what is fetched is whole, or isn't taken. A store that fails
is no reason to stop: entries can always be built.
"""

import logging
from pathlib import Path

from rocore.encoder.cache_entry import DESCRIPTION, HIDDEN, INDEX, TrunkKey
from rocore.errors import StorageError
from rocore.storage import Storage

FILES = (HIDDEN, INDEX, DESCRIPTION)
log = logging.getLogger(__name__)


class EntryStore:
    """Entries below a URL, each in a folder that is named by its key."""

    def __init__(self, url: str) -> None:
        """Raise a ConfigError if the URL can't be used."""
        self._storage = Storage.at(url)

    def num_bytes(self, key: TrunkKey) -> int | None:
        """Return the size of an entry; None where there is none, or the store can't be reached."""
        entry = self._storage.below(key.digest)
        try:
            return sum(entry.files().values()) if entry.manifest() is not None else None
        except StorageError as error:
            log.warning("the trunk cache's store can't be used: %s", error)
            return None

    def fetch(self, key: TrunkKey, folder: Path) -> bool:
        """Download an entry into a folder; tell whether it is there, checked."""
        try:
            self._storage.below(key.digest).pull(folder, skip=_is_foreign)
        except StorageError as error:
            log.warning("the trunk cache entry %s can't be taken from its store: %s", key.digest, error)
            return False
        return all((folder / name).is_file() for name in FILES)

    def push(self, key: TrunkKey, folder: Path) -> None:
        """Upload an entry, instead of a broken one that may be there."""
        try:
            # What is there isn't whole, or this machine would have taken it; its manifest may say otherwise.
            self._storage.remove(key.digest)
            self._storage.below(key.digest).push(folder, skip=_is_foreign)
        except StorageError as error:
            log.warning("the trunk cache entry %s can't be put into its store: %s", key.digest, error)


def _is_foreign(name: str) -> bool:
    """Tell what concerns one machine alone: the time of use, the stamp of verification."""
    return name not in FILES
