"""Places that are written to: looked at before the work begins, written whole or as before, held by one process."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryFile

from rocore.errors import ConfigError

LOCK = ".lock"
PROBE_BYTES = 4096
"""What a place must have room for: small files may fit into a full disk's inodes."""
log = logging.getLogger(__name__)


def check_folder(place: Path, name: str = "--out") -> None:
    """Refuse a place where no folder can be made or written to; nothing is left there.

    Args:
        place: The folder, there already or not; those above it may lack, too.
        name: What users call it.

    Raises:
        ConfigError: If it can't.
    """
    fault = _fault_of_stat(place)
    if fault is None:
        nearest = next(each for each in (place, *place.parents) if os.path.lexists(each))
        if nearest.is_dir():
            fault = _fault_of_writing(nearest)
        else:
            fault = f"{nearest} is a file" if nearest.exists() else f"{nearest} is a link to nothing"
    if fault is not None:
        raise ConfigError(f"{name} must be a folder that can be written, but {fault}; name another")


def check_file(place: Path, name: str = "--out") -> None:
    """Refuse a place where no file can be written; nothing is left there, and a file that is there stays.

    Args:
        place: The file, there already or not; its folder must be there. A device or a pipe serves.
        name: What users call it.

    Raises:
        ConfigError: If it can't.
    """
    fault = _fault_of_stat(place)
    if fault is None and place.is_dir():
        fault = f"{place} is a folder"
    elif fault is None and place.exists() and not os.access(place, os.W_OK):
        fault = f"{place}: {os.strerror(errno.EACCES)}"
    elif fault is None and not _is_stream(place):
        folder = _target(place).parent
        fault = _fault_of_writing(folder) if folder.is_dir() else f"{folder} isn't a folder"
    if fault is not None:
        raise ConfigError(f"{name} must be a file that can be written, but {fault}; name another")


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is whole or as before; a link stays, a device or a pipe is written to."""
    if _is_stream(path):
        path.write_text(text, encoding="utf-8")
        return
    path = _target(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_as_usual(path: Path, write: Callable[[Path], object]) -> None:
    """Have a library write a file, readable by whom the umask says: safetensors makes its own the owner's alone.

    Args:
        path: The file.
        write: Told the path.
    """
    path.touch()
    mode = path.stat().st_mode
    write(path)
    path.chmod(S_IMODE(mode))


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run directory; a killed process keeps nobody out.

    Raises:
        ConfigError: If another process is in it.
    """
    path = folder / LOCK
    file = _locked(path)
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        # The lock is held until the name has gone: whoever opened the file before sees that it is another's.
        path.unlink(missing_ok=True)
        os.close(file)


def _locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(file, PROBE_BYTES, 0).decode(errors="replace") or "another one"
            os.close(file)
            raise ConfigError(
                f"one process at a time may train in a run directory, but {owner} does in {path.parent}; "
                "wait for its end, or stop it"
            ) from error
        except OSError as error:
            log.warning("%s can't be locked (%s): let no other process train there", path.parent, error)
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def _fault_of_stat(place: Path) -> str | None:
    """Return why nothing can be known of a place; that it isn't there is no fault."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"{place}: {error.strerror}"
    return None


def _fault_of_writing(folder: Path) -> str | None:
    """Return why no file can be made in a folder: who may is known for sure when one was, even as root."""
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"nothing can be written in {folder}: {error.strerror}"
    return None


def _is_stream(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _target(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path
