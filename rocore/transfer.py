"""Folders to and from storage: what differs travels, several files at once, and a manifest of SHA-256 proves the rest.

A push notes what it is about to change before it does, and takes the note back when the manifest is written. So a push
that was cut off costs no more than its own files, and none that it may have changed is trusted by the next one.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from rocore.errors import StorageError
from rocore.storage import MANIFEST, Choice, Storage, is_inside, sha256

PENDING = "manifest.pending.json"
"""What a push that goes on, or was cut off, may have changed."""
NUM_AT_ONCE = 8
SETTLED_NS = 100_000_000
"""A file that changed this shortly before it was hashed isn't known by its times."""
Value = TypeVar("Value")


def push(storage: Storage, folder: Path, skip: Choice) -> list[str]:
    """Do what `Storage.push` says."""
    if not folder.is_dir():
        raise StorageError(
            f"what is pushed to {storage.url} must be a folder, but {folder} isn't; check its name"
        )
    here = {name: path for name, path in _walk(folder) if not skip(name)}
    before, touched = storage.manifest(), _read_pending(storage)
    there = storage.files() if before is not None else {}
    trusted = {
        name: digest for name, digest in (before or {}).items() if name in there and name not in touched
    }
    changed = [name for name, path in here.items() if name not in trusted or digest_of(path) != trusted[name]]
    gone = [name for name in {*(before or {}), *touched} if name not in here and not skip(name)]
    if before is not None and not (changed or gone or touched):
        return []
    # The names alone, and not what they held: after a cut, each is sent again or removed.
    storage.write(PENDING, json.dumps(sorted({*changed, *gone, *touched})).encode())
    sent = _each(changed, lambda name: _upload(storage, here[name], name))
    uploaded = {name: digest for name, digest in sent.items() if digest is not None}
    kept = {name: digest for name, digest in (before or {}).items() if name not in {*gone, *changed}}
    storage.write(MANIFEST, json.dumps(dict(sorted((kept | uploaded).items())), indent=0).encode())
    for name in gone:
        storage.remove(name)
    storage.remove(PENDING)
    return sorted(uploaded)


def pull(storage: Storage, folder: Path, skip: Choice, changed: Choice) -> list[str]:
    """Do what `Storage.pull` says."""
    manifest = storage.manifest()
    if manifest is None:
        raise StorageError(
            f"{storage.url} must be a folder that was pushed whole and holds {MANIFEST}, but it isn't; push it again"
        )
    wanted = {name: digest for name, digest in manifest.items() if not skip(name)}
    differing = [name for name, digest in wanted.items() if not _is_same(folder / name, digest)]
    temporary = {name: _temporary(folder / name) for name in differing}
    try:
        found = _each(differing, lambda name: storage.download(name, temporary[name]))
        for name, digest in found.items():
            if digest != wanted[name] and not changed(name):
                raise StorageError(
                    f"{name} in {storage.url} must have the SHA-256 of the manifest, {wanted[name][:12]}..., but has "
                    f"{digest[:12]}...; it was changed, or is being pushed: try again, or push it again"
                )
        for name in differing:
            temporary[name].replace(folder / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return differing


def fetch(storage: Storage, folder: Path, wanted: Choice) -> list[str]:
    """Do what `Storage.fetch` says."""
    infos = {name: info for name, info in storage.infos().items() if wanted(name)}
    if outside := [name for name in infos if not is_inside(name)]:
        raise StorageError(
            f"names in {storage.url} must stay in their folder, but {outside[0]!r} doesn't; rename it"
        )

    def bring(name: str) -> None:
        path, (size, time_ns) = folder / name, infos[name]
        if path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns) == (size, time_ns):
            return
        temporary = _temporary(path)
        try:
            storage.download(name, temporary)
            os.utime(temporary, ns=(time_ns, time_ns))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    _each(infos, bring)
    return list(infos)


def read_manifest(storage: Storage) -> dict[str, str] | None:
    """Do what `Storage.manifest` says."""
    if not storage.exists(MANIFEST):
        return None
    try:
        tree: dict[str, str] = json.loads(storage.read(MANIFEST))
        unsafe = [name for name in tree if not is_inside(name)]
        if unsafe or not all(isinstance(digest, str) for digest in tree.values()):
            raise ValueError(f"it names {unsafe}")
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{MANIFEST} in {storage.url} must map names in the folder to SHA-256, but {error}; push it again"
        ) from error
    return tree


def _read_pending(storage: Storage) -> list[str]:
    if not storage.exists(PENDING):
        return []
    try:
        names = [str(name) for name in json.loads(storage.read(PENDING))]
        if unsafe := [name for name in names if not is_inside(name)]:
            raise ValueError(f"it names {unsafe}")
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{PENDING} in {storage.url} must list names in the folder, but {error}; remove it and push again"
        ) from error
    return names


def _each(names: Iterable[str], action: Callable[[str], Value]) -> dict[str, Value]:
    """Do something for every name, several at once; after the first error, nothing new begins."""
    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        futures = {name: pool.submit(action, name) for name in names}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        failed = [future for future in futures.values() if not future.cancelled() and future.exception()]
        if failed:
            failed[0].result()
    return {name: future.result() for name, future in futures.items()}


def _upload(storage: Storage, path: Path, name: str) -> str | None:
    """None where the file has gone meanwhile."""
    try:
        return storage.upload(path, name)
    except FileNotFoundError:
        return None


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    # Unlike `rglob`, `walk` passes over what is removed meanwhile.
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(parent) / name for name in sorted(names)):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.endswith(".tmp") and name not in {MANIFEST, PENDING}:
                yield name, path


def _is_same(path: Path, digest: str) -> bool:
    try:
        return digest_of(path) == digest
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False


_DIGESTS: dict[Path, tuple[tuple[int, ...], str]] = {}
"""What was hashed in this process, and the state that the file was in: a folder is pushed many times as it grows."""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file; one that hasn't changed since this process hashed it isn't read."""
    stat = path.stat()
    state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    known = _DIGESTS.get(path)
    if known is not None and known[0] == state:
        return known[1]
    digest = sha256(path)
    if time.time_ns() - stat.st_ctime_ns > SETTLED_NS:
        _DIGESTS[path] = (state, digest)
    return digest


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
