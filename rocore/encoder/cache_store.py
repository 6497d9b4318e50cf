"""Trunk cache entries on an object store: computed once in a cluster, fetched by its other machines.

An entry is pushed with a manifest, written last, so that what is fetched is whole, or isn't taken. A store that fails
is no reason to stop: entries can always be built.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from rocore.encoder.cache_entry import DESCRIPTION, HIDDEN, INDEX, TrunkKey
from rocore.errors import StorageAwayError, StorageError
from rocore.storage import Storage

FILES = (HIDDEN, INDEX, DESCRIPTION)
Value = TypeVar("Value")
log = logging.getLogger(__name__)


class EntryStore:
    """Entries below a URL, each in a folder that is named by its key."""

    def __init__(self, url: str) -> None:
        """Raise a ConfigError if the URL can't be used."""
        self._storage = Storage.at(url)
        self._is_away = False

    def num_bytes(self, key: TrunkKey) -> int | None:
        """Return the size of an entry; None where there is none, or the store can't be reached."""
        entry = self._storage.below(key.digest)
        return self._try(lambda: sum(entry.files().values()) if entry.manifest() is not None else None)

    def fetch(self, key: TrunkKey, folder: Path) -> bool:
        """Download an entry into a folder; tell whether it is there, checked."""
        entry = self._storage.below(key.digest)
        if self._try(lambda: entry.pull(folder, skip=_is_foreign)) is None:
            return False
        return all((folder / name).is_file() for name in FILES)

    def push(self, folders: Mapping[TrunkKey, Path]) -> None:
        """Upload entries, instead of broken ones that may be there."""
        self._is_away = False  # building took its time

        def replace(key: TrunkKey, folder: Path) -> list[str]:
            # What is there isn't whole, or this machine would have taken it; its manifest may say otherwise.
            self._storage.remove(key.digest)
            return self._storage.below(key.digest).push(folder, skip=_is_foreign)

        for key, folder in folders.items():
            self._try(partial(replace, key, folder))

    def _try(self, action: Callable[[], Value]) -> Value | None:
        """Do something; None, and a warning, where that fails. A store that was away isn't waited for again."""
        if self._is_away:
            return None
        try:
            return action()
        except StorageError as error:
            self._is_away = isinstance(error, StorageAwayError)
            log.warning("the trunk cache goes on without its store: %s", error)
            return None


def _is_foreign(name: str) -> bool:
    """Tell what concerns one machine alone: the time of use, the stamp of verification."""
    return name not in FILES
