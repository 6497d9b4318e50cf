"""Folders by URL: on an object store (s3://, gs://), or on a file system (file://).

A folder that `push` has written carries a manifest with the SHA-256 of every file, written last, and `pull` takes
nothing that doesn't agree with it. Objects are written whole or not at all; a store that is away for a while is asked
again (`rocore/patience.py`). Who may read and write is said by the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, a
machine's own role, ...), never by a URL; AWS_ENDPOINT_URL, or `?endpoint_override=http://HOST:PORT` in the URL, names
another S3-compatible server.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from rocore.errors import ConfigError, StorageError
from rocore.patience import patiently, without_secrets

OPTIONS = {"s3": ("endpoint_override", "region", "scheme"), "gs": ("endpoint_override", "scheme"), "file": ()}
"""What may stand after a URL's `?`, by scheme."""
MANIFEST = "manifest.json"
CHUNK = 1 << 22
READ_TRIES = 10
Value = TypeVar("Value")
Choice = Callable[[str], bool]
"""Told a file's name in its folder, with slashes."""


def none(_name: str) -> bool:
    """Choose no file."""
    return False


def every(_name: str) -> bool:
    """Choose all files."""
    return True


def is_url(place: str | Path) -> bool:
    """Tell whether a place is named by a URL and not by a path."""
    return "://" in str(place)


class Storage:
    """A folder by URL.

    Attributes:
        url: Without credentials; opens the same folder anywhere.
        path: Of the folder in `filesystem`: bucket and key, or a path.
    """

    manifest_name = MANIFEST

    def __init__(self, url: str, path: str) -> None:
        self.url, self.path = url, path

    @classmethod
    def at(cls, url: str) -> Self:
        """Name a folder; nothing is asked of the store yet, and it needn't be there.

        Raises:
            ConfigError: If the URL can't be used.
        """
        parts, shown = urlsplit(url), without_secrets(url)
        bucketless = not parts.netloc if parts.scheme != "file" else parts.netloc not in ("", "localhost")
        if parts.scheme not in OPTIONS or bucketless or not is_url(url):
            raise ConfigError(
                f"a URL must look like s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER, but got {shown!r}; "
                "correct it"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        secret = any(
            word in key.lower() for key in options for word in ("key", "secret", "token", "signature")
        )
        if "@" in parts.netloc or "@" in options.get("endpoint_override", "") or secret:
            raise ConfigError(
                f"a URL must not hold credentials, but {shown!r} does: URLs are written into configurations and "
                "reports; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, instead"
            )
        unknown = sorted(set(options) - set(OPTIONS[parts.scheme]))
        if unknown or parts.fragment or ".." in parts.path.split("/"):
            raise ConfigError(
                f"a URL must hold no `..` and no `#`, and after its `?` only {_listed(OPTIONS[parts.scheme])}, but got "
                f"{shown!r}; correct it"
            )
        bucket = parts.netloc if parts.scheme != "file" else ""
        return cls(url, unquote(f"{bucket}{parts.path}").rstrip("/"))

    @cached_property
    def filesystem(self) -> Any:
        """The `pyarrow.fs.FileSystem` that holds `path`; S3 is asked for the region that the URL leaves out.

        Raises:
            StorageError: If that can't be found out.
        """
        from pyarrow import fs

        parts = urlsplit(self.url)
        if parts.scheme == "file":
            return fs.LocalFileSystem()
        options = dict(parse_qsl(parts.query))
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if parts.scheme == "s3" and endpoint:
            options.setdefault("endpoint_override", endpoint)
        address = f"{parts.scheme}://{parts.netloc}{'?' if options else ''}{urlencode(options)}"
        return self._ask("find the bucket", lambda: fs.FileSystem.from_uri(address)[0])

    def below(self, name: str) -> "Storage":
        """Return a folder in this one."""
        folder, question, query = self.url.partition("?")
        below = Storage(f"{folder.rstrip('/')}/{quote(name)}{question}{query}", f"{self.path}/{name}")
        if "filesystem" in self.__dict__:
            below.__dict__["filesystem"] = self.filesystem
        return below

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self._ask(f"look for {name}", lambda: bool(self._info(name).is_file))

    def read(self, name: str) -> bytes:
        """Return a file as it was at some moment.

        Raises:
            StorageError: If it isn't there, can't be read, or is rewritten whenever it is read.
        """

        def read() -> bytes:
            with self.filesystem.open_input_stream(self._at(name), compression=None) as stream:
                content: bytes = stream.read()
                return content

        for _ in range(READ_TRIES):
            content = self._ask(f"read {name}", read)
            # pyarrow asks for the length first; of an object that was rewritten before it came, it returns so many
            # bytes all the same, those beyond its end being whatever memory held.
            if self._ask(f"look for {name}", lambda: self._info(name).size) in (len(content), None):
                return content
        raise StorageError(f"{name} in {self.url} must stay as it is while it is read, but didn't; try again")

    def write(self, name: str, content: bytes) -> None:
        """Write a file in one step: readers see the old or the new one."""
        self._ask(f"write {name}", lambda: self._put(name, [content]))

    def files(self, name: str = "") -> dict[str, int]:
        """Return the files below a folder by their names in this one, with their sizes in bytes; none if it isn't."""
        return {inner: size for inner, (size, _) in self.infos(name).items()}

    def infos(self, name: str = "") -> dict[str, tuple[int, int]]:
        """Return sizes in bytes and times of change in nanoseconds, as `files` does."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._at(name), recursive=True, allow_not_found=True)
        found = self._ask(f"list {name or 'it'}", lambda: self.filesystem.get_file_info(selector))
        prefix = len(self.path) + 1
        return {
            info.path[prefix:]: (info.size, info.mtime_ns or 0)
            for info in sorted(found, key=lambda info: info.path)
            if info.is_file and not is_temporary(info.base_name)
        }

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; what isn't there is removed already."""
        from pyarrow.fs import FileType

        def remove() -> None:
            kind = self._info(name).type
            with suppress(FileNotFoundError):  # another process has just removed it
                if kind == FileType.File:
                    self.filesystem.delete_file(self._at(name))
                elif kind == FileType.Directory:
                    self.filesystem.delete_dir(self._at(name))

        self._ask(f"remove {name}", remove)

    def push(self, folder: Path, *, skip: Choice = none) -> list[str]:
        """Make this folder like a local one: upload what differs, write the manifest, remove what is no longer there.

        Args:
            folder: On this machine.
            skip: Such files stay here, and there, as they are.

        Returns:
            The names of what was uploaded.

        Raises:
            StorageError: If the store can't be written.
        """
        from rocore.transfer import push

        return push(self, folder, skip)

    def pull(self, folder: Path, *, skip: Choice = none, changed: Choice = none) -> list[str]:
        """Make a local folder like this one, as far as the manifest goes: download what differs, check it all, move it.

        Args:
            folder: On this machine.
            skip: Such files aren't looked at.
            changed: Told the name of a file that isn't what the manifest says; whether it is taken all the same.

        Returns:
            The names of what was downloaded.

        Raises:
            StorageError: If there is no manifest, or a file isn't what it says; then nothing has changed here.
        """
        from rocore.transfer import pull

        return pull(self, folder, skip, changed)

    def fetch(self, folder: Path, *, wanted: Choice = every) -> list[str]:
        """Download what isn't here or has another size or time, manifest or none; return the names of all wanted.

        Raises:
            StorageError: If it can't be read.
        """
        from rocore.transfer import fetch

        return fetch(self, folder, wanted)

    def manifest(self) -> dict[str, str] | None:
        """Return SHA-256 by name; None where nothing was pushed.

        Raises:
            StorageError: If it isn't what `push` writes.
        """
        from rocore.transfer import read_manifest

        return read_manifest(self)

    def upload(self, path: Path, name: str) -> str:
        """Copy a file to the store and return the SHA-256 of what was sent: it may grow meanwhile.

        Raises:
            FileNotFoundError: If there is no such file here.
            StorageError: If the store can't be written.
        """
        with path.open("rb") as file:

            def put() -> str:
                file.seek(0)
                digest = hashlib.sha256()
                self._put(name, _chunks(file, digest.update))
                return digest.hexdigest()

            return self._ask(f"write {name}", put)

    def download(self, name: str, path: Path) -> str:
        """Copy a file from the store to a new one here, going on where a connection broke; return its SHA-256.

        Raises:
            StorageError: If it can't be read.
            DiskFullError: If there is no room for it.
        """
        digest, position = hashlib.sha256(), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:

            def receive() -> None:
                nonlocal position
                with self.filesystem.open_input_file(self._at(name)) as source:
                    source.seek(position)
                    for chunk in _chunks(source, digest.update):
                        file.write(chunk)
                        position += len(chunk)

            self._ask(f"read {name}", receive)
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    def _info(self, name: str) -> Any:
        return self.filesystem.get_file_info(self._at(name))

    def _put(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write a file that appears when it is whole: objects do so by themselves."""
        target = self._at(name)
        if not self.url.startswith("file:"):
            with self.filesystem.open_output_stream(target, compression=None) as stream:
                for chunk in chunks:
                    stream.write(chunk)
            return
        path = Path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.writelines(chunks)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _ask(self, what: str, action: Callable[[], Value]) -> Value:
        return patiently(self.url, what, action)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_temporary(name: str) -> bool:
    """Tell whether a file is being written, or was when its writer was killed."""
    return name.startswith(".") and name.endswith(".tmp")


def is_inside(name: str) -> bool:
    """Tell whether a name that came from elsewhere stays in the folder that it is relative to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"


def _chunks(file: Any, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        seen(chunk)
        yield chunk
