"""The frozen-trunk cache: content-addressed, memory-mapped, checksummed, built once, bounded in size.

An entry is a folder `<root>/trunk/<key>/`. It is written under a temporary name and renamed, so an entry is whole or
absent; a torn or corrupt one is noticed when it is opened and built anew (cache_entry.py says what is noticed, and
when). Of several processes that want an entry at once, one builds it and the others wait for it. Before it does,
entries that nobody maps make room for it, the least recently used first. What a killed writer left behind is removed
by the next one.
"""

import fcntl
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from rocore.data.instance import Source
from rocore.data.tokenization import TokenizedSource, tokenize
from rocore.encoder.cache_admin import WRITERS_LOCK, list_entries, prune, remove_leftovers
from rocore.encoder.cache_entry import (
    HIDDEN,
    TrunkKey,
    aside,
    is_whole,
    open_entry,
    remove_entry,
    write_entry,
)
from rocore.encoder.cache_store import EntryStore
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import TokenStore
from rocore.encoder.trunk import DTYPES, Advance, run_trunk
from rocore.errors import BrokenEntryError, CacheError

SPARE = 1.05
"""Free space that a build needs, times the size of what it writes."""
log = logging.getLogger(__name__)
Progress = Callable[[str, int], Advance]
"""Given a title and a total, returns the function that is told of each step."""


class TrunkCache:
    """Entries under one root folder."""

    def __init__(self, root: Path, max_gib: float | None = None, store: str | None = None) -> None:
        """Use (and create when needed) `<root>/trunk`, below `max_gib` and beside a `store`, where these are given."""
        self.folder = root / "trunk"
        self.store = None if store is None else EntryStore(store)
        self.max_bytes = None if max_gib is None else max_gib * 2**30

    def get(
        self,
        source: Source,
        encoder: Encoder,
        *,
        output_layers: tuple[int, ...],
        precision: str,
        max_pieces: int,
        device: torch.device,
        progress: Progress,
        others: tuple[int, ...] = (),
        share: bool = False,
    ) -> dict[int, TokenStore]:
        """Attach the entries of a pool for several output layers, building those that are missing in one trunk pass.

        `others` are output layers that are built in the same pass, if there is one, and not attached. What is built
        goes to the store; with `share` that is given what was here before, too, where it lacks it.

        Raises:
            CacheError: If an entry can't be written.
        """

        def key(r: int) -> TrunkKey:
            return TrunkKey(source.fingerprint, encoder.fingerprint, r, precision, max_pieces)

        keys = {r: key(r) for r in output_layers}
        warm = keys.values() if share else ()
        stores, faults = self._attach(keys)
        if not faults:
            self._push((), warm)
            return stores
        built: dict[int, TrunkKey] = {}
        try:
            with self._lock(f"{source.fingerprint[:16]}-{encoder.fingerprint[:16]}.lock", fcntl.LOCK_EX):
                stores, faults = self._attach(keys)  # another process may have built them meanwhile
                self._report(keys, faults)
                if faults and self.store is not None:
                    for r in faults:
                        self._fetch(self.store, keys[r])
                    stores, faults = self._attach(keys)
                if faults:
                    tokenized = tokenize(source, encoder.tokenizer, max_pieces)
                    advance = progress(f"frozen trunk of {source.name}", len(source.sentences))
                    absent = {r: key(r) for r in others if not is_whole(self.folder / key(r).digest)}
                    built = dict(sorted(({r: keys[r] for r in faults} | absent).items()))
                    self._build(built, source, encoder, tokenized, device, advance)
                    stores, faults = self._attach(keys)
        except OSError as error:
            raise CacheError(
                f"the trunk cache must be writable, but {self.folder}: {error}; free some space "
                "(`rocore cache prune` helps) or set `cache.root` (or ROCORE_CACHE) to another folder"
            ) from error
        if faults:
            raise CacheError(
                f"the trunk cache must give back what was written, but {self.folder}: {next(iter(faults.values()))}; "
                "check the disk or set `cache.root` (or ROCORE_CACHE) to another folder"
            )
        self._push(built.values(), warm)  # without the lock: who waits for it needs no upload
        return stores

    def _push(self, built: Iterable[TrunkKey], warm: Iterable[TrunkKey]) -> None:
        """Upload what was built, and of what was here before, what the store lacks."""
        if self.store is None:
            return
        keys = dict.fromkeys(built)
        keys |= dict.fromkeys(key for key in warm if key not in keys and self.store.num_bytes(key) is None)
        if keys:
            self.store.push({key: self.folder / key.digest for key in keys})

    def _attach(self, keys: Mapping[int, TrunkKey]) -> tuple[dict[int, TokenStore], dict[int, str]]:
        """Map the entries that are whole; return, for the others, what is wrong."""
        stores: dict[int, TokenStore] = {}
        faults: dict[int, str] = {}
        for r, key in keys.items():
            try:
                stores[r] = open_entry(self.folder / key.digest)
            except BrokenEntryError as error:
                faults[r] = str(error)  # the error itself would keep frames, and so mappings, alive
        return stores, faults

    def _report(self, keys: Mapping[int, TrunkKey], faults: Mapping[int, str]) -> None:
        for r, fault in faults.items():
            if (self.folder / keys[r].digest).is_dir():
                log.warning("trunk cache entry %s is broken (%s); it is built anew", keys[r].digest, fault)

    def _fetch(self, store: EntryStore, key: TrunkKey) -> None:
        """Take an entry from the store, if it has it."""
        num_bytes = store.num_bytes(key)
        if num_bytes is None:
            return
        remove_leftovers(self.folder)
        self._make_room(num_bytes)
        folder = aside(self.folder / key.digest, "new")
        with self._lock(WRITERS_LOCK, fcntl.LOCK_SH):
            try:
                folder.mkdir()
                if store.fetch(key, folder):
                    self._publish(folder, key)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _build(
        self,
        keys: Mapping[int, TrunkKey],
        source: Source,
        encoder: Encoder,
        tokenized: TokenizedSource,
        device: torch.device,
        advance: Advance,
    ) -> None:
        """Write entries for several output layers, of one precision, in one pass over the sentences."""
        precision = next(iter(keys.values())).precision
        num_bytes = len(tokenized.piece_ids) * encoder.hidden_size * DTYPES[precision].itemsize
        folders = {r: aside(self.folder / key.digest, "new") for r, key in keys.items()}
        remove_leftovers(self.folder)
        self._make_room(num_bytes * len(keys))
        with self._lock(WRITERS_LOCK, fcntl.LOCK_SH):
            try:
                for folder in folders.values():
                    folder.mkdir()
                outputs = {r: folder / HIDDEN for r, folder in folders.items()}
                run_trunk(encoder, tokenized, outputs, precision=precision, device=device, advance=advance)
                for r, folder in folders.items():
                    write_entry(
                        folder,
                        keys[r],
                        names=(source.name, encoder.name),
                        tokenized=tokenized,
                        hidden_size=encoder.hidden_size,
                    )
                    self._publish(folder, keys[r])
            finally:
                for folder in folders.values():
                    shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, folder: Path, key: TrunkKey) -> None:
        """Rename a finished entry into place, where a broken one may stand or another machine's whole one."""
        final = self.folder / key.digest
        if final.exists() and not is_whole(final):
            remove_entry(final)
        try:
            folder.rename(final)
        except OSError:
            if not is_whole(final):
                raise

    def _make_room(self, num_bytes: int) -> None:
        """Remove what was not used for longest, as far as the bound or the disk asks for it.

        A full disk under a memory map is a bus error, so the disk is asked before.
        """
        if self.max_bytes is not None:
            held = sum(entry.num_bytes for entry in list_entries(self.folder))
            lacking = num_bytes * SPARE - shutil.disk_usage(self.folder).free
            prune(self.folder, max_bytes=min(self.max_bytes - num_bytes, held - lacking))
            held = sum(entry.num_bytes for entry in list_entries(self.folder))
            if held + num_bytes > self.max_bytes:
                log.warning(
                    "the trunk cache grows to %.1f GiB, above `cache.max_gib`: nothing else in it may be removed",
                    (held + num_bytes) / 2**30,
                )
        free = shutil.disk_usage(self.folder).free
        if free < num_bytes * SPARE:
            raise OSError(f"{num_bytes / 2**30:.2f} GiB are needed, {free / 2**30:.2f} GiB are free")

    @contextmanager
    def _lock(self, name: str, operation: int) -> Iterator[None]:
        """Wait for a lock between processes of this machine and hold it; it ends with the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("w") as file:
            fcntl.flock(file, operation)
            yield
