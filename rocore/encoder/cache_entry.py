"""One entry of the trunk cache: what it is, what proves it whole, and the lock of whoever maps it.

An entry is a folder with `hidden.bin` (raw tokens, (T, H)), `index.safetensors` (sentence offsets and entity spans) and
`entry.json` (what it is, its shape, SHA-256 of the other two).

Whether it is whole: opening an entry hashes it once a boot of the machine and notes sizes, times of change and inodes
in a stamp, `verified.<boot>`; while they stay, opening it again costs a few `stat` calls. Noticed when it is next
opened: whatever is written through the file system (it moves the time of change, which a program can't set back), a
shorter file, a file that was replaced, an entry that was copied from elsewhere. Noticed after the next boot, or at once
by `rocore cache verify`: bytes that change below the file system, such as a failing disk's. Not noticed: bytes that
change while an entry is mapped, by whoever maps it. Where the entry can't be written, it is hashed each time.

Who uses it: a mapping holds a shared lock on `hidden.bin` until the last tensor on it is gone or the process ends,
however it ends. Whoever removes an entry needs the exclusive lock.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import mmap
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from rocore.data.tokenization import TokenizedSource
from rocore.encoder.tokens import TokenStore
from rocore.encoder.trunk import DTYPES
from rocore.errors import BrokenEntryError
from rocore.outputs import write_as_usual
from rocore.storage import sha256

FORMAT = 2
HIDDEN, INDEX, DESCRIPTION = "hidden.bin", "index.safetensors", "entry.json"
USED = "used"
"""An empty file; its time says when the entry was last opened."""
SETTLED_NS = 100_000_000
"""A file that changed this shortly before it was looked at isn't trusted by its times: a second change within the
clock's tick would leave them as they are."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrunkKey:
    """Everything that layer r-1's hidden states depend on; source and encoder by their fingerprints."""

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


@dataclass(frozen=True)
class Description:
    """What `entry.json` says.

    Attributes:
        key: What the entry holds.
        source_name: Name of the pool of sentences, for people.
        encoder_name: Name of the encoder, for people.
        shape: (T, H).
        sha256: Checksums by file name.
    """

    key: TrunkKey
    source_name: str
    encoder_name: str
    shape: tuple[int, int]
    sha256: dict[str, str]

    @property
    def num_bytes(self) -> int:
        """Size of `hidden.bin`."""
        return math.prod(self.shape) * DTYPES[self.key.precision].itemsize


def read_description(folder: Path) -> Description:
    """Read `entry.json`.

    Raises:
        BrokenEntryError: If it is absent or isn't what `write_entry` writes.
    """
    with _faults():
        tree: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        tokens, width = tree["shape"]
        fields = tree | {"key": TrunkKey(**tree["key"]), "shape": (int(tokens), int(width))}
        description = Description(**fields)
        if description.key.digest != folder.name or set(description.sha256) != {HIDDEN, INDEX}:
            raise ValueError(f"{DESCRIPTION} describes another entry")
        return description


def write_entry(
    folder: Path,
    key: TrunkKey,
    *,
    names: tuple[str, str],
    tokenized: TokenizedSource,
    hidden_size: int,
) -> None:
    """Write index and description beside a finished `hidden.bin`.

    Args:
        folder: Where.
        key: What the entry holds.
        names: Of the source and of the encoder.
        tokenized: The sentences, T pieces in all.
        hidden_size: H.
    """
    index = {"offsets": tokenized.offsets.astype(np.int64), "spans": tokenized.spans}
    write_as_usual(folder / INDEX, partial(save_file, index))
    for name in (HIDDEN, INDEX):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    shape = (int(tokenized.offsets[-1]), hidden_size)
    checksums = {name: sha256(folder / name) for name in (HIDDEN, INDEX)}
    description = Description(key, *names, shape, checksums)
    (folder / DESCRIPTION).write_text(json.dumps(asdict(description), indent=1), encoding="utf-8")


def open_entry(folder: Path) -> TokenStore:
    """Map an entry and hold its lock for as long as the mapping lives.

    The mapping is private: writing into it reaches neither the file nor other processes.

    Raises:
        BrokenEntryError: If it isn't there or isn't whole.
    """
    with _faults(), (folder / HIDDEN).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        description = read_description(folder)
        state = _state_of(folder)
        if not _is_verified(folder, state):
            _verify(folder, description, state)
        with contextlib.suppress(OSError):  # a cache that can only be read keeps no order of use
            (folder / USED).touch()
        # The mapping keeps a duplicate of the descriptor, and the lock is theirs together.
        mapped = mmap.mmap(file.fileno(), description.num_bytes, access=mmap.ACCESS_COPY)
        index = load_file(folder / INDEX)
        if not os.path.samestat(os.fstat(file.fileno()), (folder / HIDDEN).stat()):
            raise ValueError("it was replaced while it was opened")
    hidden = torch.frombuffer(mapped, dtype=DTYPES[description.key.precision])
    return TokenStore(hidden.view(description.shape), index["offsets"], index["spans"])


def verify_entry(folder: Path) -> None:
    """Hash an entry, whether or not it changed since it was last hashed.

    Raises:
        BrokenEntryError: If it isn't there or isn't whole.
    """
    with _faults(), (folder / HIDDEN).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        _verify(folder, read_description(folder), _state_of(folder))


def is_whole(folder: Path) -> bool:
    """Whether an entry is there and can be opened."""
    try:
        open_entry(folder)
    except BrokenEntryError:
        return False
    return True


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Yield whether nobody maps the entry; meanwhile nobody can begin to.

    An entry that this user may not write counts as used.
    """
    try:
        file = (folder / HIDDEN).open("r+b")
    except FileNotFoundError:
        yield True  # broken: there is nothing to map
        return
    except OSError:
        yield False
        return
    with file:
        yield try_lock(file)


def try_lock(file: IO[Any]) -> bool:
    """Take the exclusive lock of an open file; False where another holds it or the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def aside(folder: Path, purpose: str) -> Path:
    """Return this process's name for an entry that isn't there yet, or no longer."""
    return folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}.{purpose}.tmp")


def remove_entry(folder: Path) -> None:
    """Remove an entry: at once for whoever looks for it; whoever has mapped it keeps its memory."""
    trash = aside(folder, "old")
    folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def last_use(folder: Path) -> float:
    """Return when an entry was last opened, else made, in seconds since the epoch."""
    used = folder / USED
    return (used if used.exists() else folder).stat().st_mtime


def _verify(folder: Path, description: Description, state: dict[str, tuple[int, ...]]) -> None:
    """Check size and checksums, and stamp the state, which was taken before, as that of whole files."""
    size = (folder / HIDDEN).stat().st_size
    if size != description.num_bytes:
        raise ValueError(f"{HIDDEN} must hold {description.num_bytes} bytes, but holds {size}")
    for name, digest in description.sha256.items():
        if sha256(folder / name) != digest:
            raise ValueError(f"{name} doesn't have its checksum")
    changed = max(change for _, _, change, _ in state.values())
    if time.time_ns() - changed < SETTLED_NS:
        return
    try:
        _stamp_path(folder).write_text(json.dumps(state), encoding="utf-8")
    except OSError as error:
        log.debug("trunk cache entry %s is hashed each time it is opened: %s", folder.name, error)


def _state_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file does."""
    stats = {name: (folder / name).stat() for name in (HIDDEN, INDEX, DESCRIPTION)}
    return {name: (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in stats.items()}


def _stamp_path(folder: Path) -> Path:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        boot = socket.gethostname()
    return folder / f"verified.{boot}"


def _is_verified(folder: Path, state: dict[str, tuple[int, ...]]) -> bool:
    try:
        return _stamp_path(folder).read_text(encoding="utf-8") == json.dumps(state)
    except (OSError, UnicodeDecodeError):
        return False


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Turn whatever a damaged file can raise into one error."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        name = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise BrokenEntryError(f"{name}{error}") from error
