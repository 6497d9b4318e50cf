"""Folders by URL: on an object store (s3://, gs://), or on a file system (file://).

A folder that `push` has written carries a manifest with the SHA-256 of every file, written last, and `pull` takes
nothing that doesn't agree with it. Objects are written whole or not at all; a store that is away for a while is asked
again for `PATIENCE_S`. Who may read and write is said by the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, a machine's
own role, ...), never by a URL; AWS_ENDPOINT_URL names another S3-compatible server.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from rocore.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SCHEMES = ("s3", "gs", "file")
MANIFEST = "manifest.json"
PATIENCE_S = 180.0
"""How long a store may be away."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0
CHUNK = 1 << 22
TRANSIENT = (
    "NETWORK_CONNECTION",
    "SLOW_DOWN",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_FAILURE",
    "REQUEST_TIMEOUT",
    "THROTTLING",
    "HTTP status 5",
    "Timeout",
    "timed out",
    "Connection re",
)
"""What pyarrow's messages hold where asking again may help."""
Value = TypeVar("Value")


def is_url(place: str | Path) -> bool:
    """Tell whether a place is named by a URL and not by a path."""
    return "://" in str(place)


class Storage:
    """A folder by URL.

    Attributes:
        url: Without credentials; opens the same folder anywhere.
        filesystem: pyarrow's.
        path: Of the folder in it.
    """

    manifest_name = MANIFEST

    def __init__(self, url: str, filesystem: "FileSystem", path: str) -> None:
        self.url, self.filesystem, self.path = url, filesystem, path

    @classmethod
    def at(cls, url: str) -> Self:
        """Open a folder; nothing is asked of the store yet, but for its region where the environment doesn't say it.

        Raises:
            ConfigError: If the URL can't be used.
            StorageError: If the region can't be found out.
        """
        from pyarrow.fs import FileSystem

        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or (parts.scheme != "file" and not parts.netloc):
            raise ConfigError(
                f"a URL must look like s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER, but got "
                f"{_without_credentials(url)!r}; correct it"
            )
        if "@" in parts.netloc or "secret" in parts.query.lower():
            raise ConfigError(
                f"a URL must not hold credentials, but {_without_credentials(url)} does: URLs are written into "
                "configurations and reports; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, instead"
            )
        try:
            filesystem, path = FileSystem.from_uri(url)
        except ValueError as error:
            raise ConfigError(f"{url} must be a URL that can be opened, but {error}; correct it") from error
        except OSError as error:
            raise StorageError(
                f"{url} must be a URL that can be opened, but {error}; check the network, or set AWS_DEFAULT_REGION"
            ) from error
        return cls(url, filesystem, path.rstrip("/"))

    def below(self, name: str) -> "Storage":
        """Return a folder in this one."""
        folder, question, query = self.url.partition("?")
        return Storage(
            f"{folder.rstrip('/')}/{name}{question}{query}", self.filesystem, f"{self.path}/{name}"
        )

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self._ask(f"look for {name}", lambda: bool(self._info(name).is_file))

    def read(self, name: str) -> bytes:
        """Return a file.

        Raises:
            StorageError: If it isn't there or can't be read.
        """

        def read() -> bytes:
            with self.filesystem.open_input_stream(self._at(name)) as stream:
                content: bytes = stream.read()
                return content

        return self._ask(f"read {name}", read)

    def write(self, name: str, content: bytes) -> None:
        """Write a file in one step: readers see the old or the new one."""
        self._ask(f"write {name}", lambda: self._put(name, iter([content])))

    def files(self, name: str = "") -> dict[str, int]:
        """Return the files below a folder by their names in this one, with their sizes in bytes; none if it isn't."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._at(name), recursive=True, allow_not_found=True)
        found = self._ask(f"list {name or 'it'}", lambda: self.filesystem.get_file_info(selector))
        prefix = len(self.path) + 1
        return {info.path[prefix:]: info.size for info in sorted(found, key=lambda i: i.path) if info.is_file}

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; what isn't there is removed already."""

        def remove() -> None:
            info = self._info(name)
            if info.is_file:
                self.filesystem.delete_file(self._at(name))
            elif self.files(name):
                self.filesystem.delete_dir(self._at(name))

        self._ask(f"remove {name}", remove)

    def push(self, folder: Path, *, skip: Callable[[str], bool] = lambda _name: False) -> None:
        """Make this folder like a local one: upload what differs, write the manifest, remove what is no longer there.

        Args:
            folder: On this machine.
            skip: Told a file's name in it; such files stay here, and there, as they are.

        Raises:
            StorageError: If the store can't be written.
        """
        before = self.manifest() or {}
        manifest: dict[str, str] = {}
        for name, path in _walk(folder):
            if not skip(name) and name != MANIFEST:
                known = before.get(name)
                # What was really sent counts: a file may grow meanwhile.
                manifest[name] = known if known == sha256(path) else self.upload(path, name)
        if manifest != before:
            self.write(MANIFEST, json.dumps(manifest, indent=0).encode())
        for name in before.keys() - manifest.keys():
            self.remove(name)

    def pull(
        self,
        folder: Path,
        *,
        skip: Callable[[str], bool] = lambda _name: False,
        changed: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        """Make a local folder like this one, as far as the manifest goes: download what differs, and check it.

        Args:
            folder: On this machine.
            skip: Told a file's name; such files aren't looked at.
            changed: Told the name of a file that isn't what the manifest says; whether it is taken all the same.

        Raises:
            StorageError: If there is no manifest, or a file isn't what it says.
        """
        manifest = self.manifest()
        if manifest is None:
            raise StorageError(
                f"{self.url} must be a folder that was pushed whole and holds {MANIFEST}, but it isn't; push it again"
            )
        for name, digest in manifest.items():
            path = folder / name
            if skip(name) or (path.is_file() and sha256(path) == digest):
                continue
            found = self.download(name, path, expected=digest)
            if found != digest and changed(name):
                self.download(name, path)
            elif found != digest:
                raise StorageError(
                    f"{name} in {self.url} must have the SHA-256 of the manifest, {digest[:12]}..., but has "
                    f"{found[:12]}...; it was changed, or is being pushed: try again, or push it again"
                )

    def manifest(self) -> dict[str, str] | None:
        """Return SHA-256 by name; None where nothing was pushed.

        Raises:
            StorageError: If it isn't what `push` writes.
        """
        if not self.exists(MANIFEST):
            return None
        try:
            tree: dict[str, str] = json.loads(self.read(MANIFEST))
            unsafe = [name for name in tree if not _is_inside(name)]
            if unsafe or not all(isinstance(digest, str) for digest in tree.values()):
                raise ValueError(f"it names {unsafe}")
        except (ValueError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{MANIFEST} in {self.url} must map names in the folder to SHA-256, but {error}; push it again"
            ) from error
        return tree

    def fetch(self, folder: Path, *, wanted: Callable[[str], bool] = lambda _name: True) -> list[str]:
        """Download what isn't here or has another size, manifest or none; return the names of all that was wanted."""
        sizes = {name: size for name, size in self.files().items() if wanted(name)}
        for name, size in sizes.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                self.download(name, path)
        return list(sizes)

    def upload(self, path: Path, name: str) -> str:
        """Copy a file to the store and return the SHA-256 of what was sent."""

        def put() -> str:
            digest = hashlib.sha256()
            self._put(name, _chunks(path, digest.update))
            return digest.hexdigest()

        return self._ask(f"write {name}", put)

    def download(self, name: str, path: Path, expected: str | None = None) -> str:
        """Copy a file from the store, by way of a temporary name, and return its SHA-256.

        Where another checksum is expected, the file isn't put in place.
        """

        def fetch() -> str:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            digest = hashlib.sha256()
            try:
                with (
                    self.filesystem.open_input_stream(self._at(name)) as source,
                    temporary.open("wb") as file,
                ):
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
                if expected in (None, digest.hexdigest()):
                    temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            return digest.hexdigest()

        return self._ask(f"read {name}", fetch)

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    def _info(self, name: str) -> Any:
        return self.filesystem.get_file_info(self._at(name))

    def _put(self, name: str, chunks: Iterator[bytes]) -> None:
        from pyarrow.fs import LocalFileSystem

        target = self._at(name)
        if not isinstance(self.filesystem, LocalFileSystem):
            with self.filesystem.open_output_stream(target) as stream:
                for chunk in chunks:
                    stream.write(chunk)
            return
        self.filesystem.create_dir(str(PurePosixPath(target).parent), recursive=True)
        temporary = f"{target}.{os.getpid()}.tmp"
        with self.filesystem.open_output_stream(temporary) as stream:
            for chunk in chunks:
                stream.write(chunk)
        self.filesystem.move(temporary, target)

    def _ask(self, what: str, action: Callable[[], Value]) -> Value:
        """Do it, again and again where the store is away.

        Raises:
            StorageError: If it can't be done.
        """
        end, pause = time.monotonic() + PATIENCE_S, FIRST_PAUSE_S
        while True:
            try:
                return action()
            except OSError as error:
                away = any(word in str(error) for word in TRANSIENT)
                if not away or time.monotonic() + pause > end:
                    raise self._error(what, error, away=away) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _error(self, what: str, error: OSError, *, away: bool) -> StorageError:
        todo = f"it was asked for {PATIENCE_S:g} s" if away else "check the name, and the credentials in use"
        return StorageError(f"it must be possible to {what} in {self.url}, but {error}; {todo}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(".tmp"):
            yield str(path.relative_to(folder).as_posix()), path


def _chunks(path: Path, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            seen(chunk)
            yield chunk


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
