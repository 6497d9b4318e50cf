"""The frozen-trunk cache: content-addressed, memory-mapped, checksummed, built once.

An entry is a folder `<root>/trunk/<key>/` with `hidden.bin` (raw tokens, (T, H)), `index.safetensors` (sentence offsets
and entity spans) and `entry.json` (what it is, shapes, SHA-256 of both files). It is written under a temporary name and
renamed, so an entry is whole or absent; a torn or corrupt one is noticed by its checksums and rebuilt. What a killed
writer left behind is removed by the next one on its machine.
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from rocore.data.instance import Source
from rocore.data.tokenization import TokenizedSource, tokenize
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import TokenStore
from rocore.encoder.trunk import DTYPES, Advance, run_trunk
from rocore.errors import CacheError

FORMAT = 1
log = logging.getLogger(__name__)
Progress = Callable[[str, int], Advance]
"""Given a title and a total, returns the function that is told of each step."""


@dataclass(frozen=True)
class TrunkKey:
    """Everything that layer r-1's hidden states depend on."""

    source: str
    encoder: str
    output_layer: int
    precision: str
    max_pieces: int

    @property
    def digest(self) -> str:
        """Name of the entry."""
        text = json.dumps([FORMAT, *vars(self).values()])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def cache_root(root: str | None) -> Path:
    """Return the cache folder: as given, else $ROCORE_CACHE, else ~/.cache/rocore."""
    return Path(root or os.environ.get("ROCORE_CACHE") or "~/.cache/rocore").expanduser().absolute()


class TrunkCache:
    """Entries under one root folder."""

    def __init__(self, root: Path) -> None:
        """Use (and create when needed) `<root>/trunk`."""
        self.folder = root / "trunk"

    def attach(self, key: TrunkKey) -> TokenStore | None:
        """Map an entry; None where it is absent or not whole (a broken entry is reported)."""
        folder = self.folder / key.digest
        if not folder.is_dir():
            return None
        fault = entry_fault(folder)
        if fault is not None:
            log.warning("trunk cache entry %s is broken (%s); it is built anew", folder.name, fault)
            return None
        return _map_entry(folder)

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
    ) -> dict[int, TokenStore]:
        """Attach the entries of a pool for several output layers, building those that are missing in one trunk pass.

        Raises:
            CacheError: If an entry can't be written.
        """
        keys = {
            r: TrunkKey(source.fingerprint, encoder.fingerprint, r, precision, max_pieces)
            for r in output_layers
        }
        stores = {r: store for r, key in keys.items() if (store := self.attach(key)) is not None}
        if len(stores) == len(keys):
            return stores
        try:
            with self._lock(f"{source.fingerprint[:16]}-{encoder.fingerprint[:16]}"):
                missing = {r: key for r, key in keys.items() if r not in stores and self._fault(key)}
                if missing:
                    tokenized = tokenize(source, encoder.tokenizer, max_pieces)
                    advance = progress(f"frozen trunk of {source.name}", len(source.sentences))
                    self._build(missing, tokenized, encoder, precision, device, advance)
        except OSError as error:
            raise CacheError(
                f"the trunk cache must be writable, but {self.folder}: {error}; "
                "free some space or set `cache.root` (or ROCORE_CACHE) to another folder"
            ) from error
        return {r: stores.get(r) or _map_entry(self.folder / key.digest) for r, key in keys.items()}

    def _build(
        self,
        keys: Mapping[int, TrunkKey],
        tokenized: TokenizedSource,
        encoder: Encoder,
        precision: str,
        device: torch.device,
        advance: Advance,
    ) -> None:
        """Write entries for several output layers in one pass over the sentences."""
        writer = f"{socket.gethostname()}.{os.getpid()}"
        folders = {r: self.folder / f".{key.digest}.{writer}.tmp" for r, key in keys.items()}
        try:
            for r, folder in folders.items():
                self._remove_leftovers(keys[r])
                folder.mkdir(parents=True)
            outputs = {r: folder / "hidden.bin" for r, folder in folders.items()}
            self._check_space(tokenized, encoder, precision, len(keys))
            run_trunk(encoder, tokenized, outputs, precision=precision, device=device, advance=advance)
            for r, folder in folders.items():
                _finish_entry(folder, keys[r], tokenized, encoder.hidden_size)
                self._publish(folder, keys[r])
        finally:
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)

    def _fault(self, key: TrunkKey) -> str | None:
        return entry_fault(self.folder / key.digest)

    def _remove_leftovers(self, key: TrunkKey) -> None:
        """Remove what killed writers left; the lock is held, so no other writer of this machine is at work."""
        for folder in self.folder.glob(f".{key.digest}.{socket.gethostname()}.*.tmp"):
            shutil.rmtree(folder)

    def _publish(self, folder: Path, key: TrunkKey) -> None:
        """Rename a finished entry into place, where a broken one may stand or another machine's whole one."""
        final = self.folder / key.digest
        if self._fault(key) is not None:
            shutil.rmtree(final, ignore_errors=True)
        try:
            folder.rename(final)
        except OSError:
            if self._fault(key) is not None:
                raise

    def _check_space(
        self, tokenized: TokenizedSource, encoder: Encoder, precision: str, num_entries: int
    ) -> None:
        """A full disk under a memory map is a bus error, so it is asked before."""
        needed = int(tokenized.offsets[-1]) * encoder.hidden_size * DTYPES[precision].itemsize * num_entries
        free = shutil.disk_usage(self.folder).free
        if free < needed * 1.05:
            raise OSError(f"{needed / 2**30:.2f} GiB are needed, {free / 2**30:.2f} GiB are free")

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Hold an exclusive lock between processes of this node; it ends with the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def entry_fault(folder: Path) -> str | None:
    """Return what is wrong with an entry, or None."""
    try:
        entry = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        num_bytes = math.prod(entry["shape"]) * DTYPES[entry["key"]["precision"]].itemsize
        size = (folder / "hidden.bin").stat().st_size
        if size != num_bytes:
            return f"hidden.bin must hold {num_bytes} bytes, but holds {size}"
        for name in ("hidden.bin", "index.safetensors"):
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"][name]:
                    return f"{name} doesn't have its checksum"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _finish_entry(folder: Path, key: TrunkKey, tokenized: TokenizedSource, hidden_size: int) -> None:
    """Write index and description beside `hidden.bin`."""
    spans = np.stack(
        [tokenized.head_start, tokenized.head_end, tokenized.tail_start, tokenized.tail_end], axis=1
    )
    index = {"offsets": tokenized.offsets.astype(np.int64), "spans": spans.astype(np.int64)}
    save_file(index, folder / "index.safetensors")
    digests = {}
    for name in ("hidden.bin", "index.safetensors"):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    entry = {
        "format": FORMAT,
        "key": vars(key),
        "shape": [int(tokenized.offsets[-1]), hidden_size],
        "num_windowed": tokenized.num_windowed,
        "sha256": digests,
    }
    (folder / "entry.json").write_text(json.dumps(entry, indent=1), encoding="utf-8")


def _map_entry(folder: Path) -> TokenStore:
    """Map an entry that is known to be whole; a private mapping, so that a write can't reach the file."""
    entry = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
    num_tokens, hidden_size = entry["shape"]
    dtype = DTYPES[entry["key"]["precision"]]
    flat = torch.from_file(
        str(folder / "hidden.bin"), shared=False, size=num_tokens * hidden_size, dtype=dtype
    )
    index = load_file(folder / "index.safetensors")
    return TokenStore(
        hidden=flat.view(num_tokens, hidden_size), offsets=index["offsets"], spans=index["spans"]
    )
