"""Download FewRel from the data set's public repository: resumed, checked and renamed when whole."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from rocore.errors import DataError
from rocore.storage import sha256

BASE_URL = "https://raw.githubusercontent.com/thunlp/FewRel/master/data/"
CHUNK = 1 << 16
TIMEOUT_S = (10, 60)
NUM_ATTEMPTS = 3
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a data set, by name under its base URL."""

    name: str
    size: int
    sha256: str


FEWREL_FILES = (
    RemoteFile(
        "train_wiki.json", 14298985, "8e9e58a05d559be773cbe18a8d4a16ba17e6d397663f9f05a056f894a94b92c1"
    ),
    RemoteFile("val_wiki.json", 3534147, "76bb44c2485b6faed358a3ce040eadafcc8a8835245cd7e6afc1bef672d4a0bf"),
    RemoteFile("val_nyt.json", 1032006, "b519adc61a2bab0f05178e33a3cd8f284338b635629493e9e09616ba81bb428e"),
    RemoteFile("pid2name.json", 80278, "eeedd25512a8e4c2bc06b78009836d27de81807bcba6ed929debd5cd713c07ea"),
)
"""Sizes in bytes and SHA-256 as the dataset card of `few_rel` among Hugging Face's datasets records them."""


class _InterruptedError(Exception):
    """The connection ended early; what came is kept."""


INTERRUPTIONS = (
    _InterruptedError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


def fetch_fewrel(
    folder: Path,
    base_url: str = BASE_URL,
    progress: Progress | None = None,
    *,
    files: Sequence[RemoteFile] = FEWREL_FILES,
    pause_s: float = PAUSE_S,
) -> list[Path]:
    """Download FewRel's files; those that are there and right are left alone.

    A file grows as `NAME.part`, which a later call resumes, and gets its name once its checksum is right.

    Args:
        folder: Where to; made if absent.
        base_url: Where from.
        progress: Shows a bar for each file; None: silent.
        files: Which.
        pause_s: Between attempts, in seconds.

    Returns:
        The files' paths, in the order of `files`.

    Raises:
        DataError: If the server can't be reached, lacks a file or sends another one.
    """
    folder = Path(folder).expanduser()
    progress = progress or Progress(disable=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with requests.Session() as session:
            # A range of a compressed answer would be no range of the file.
            session.headers["Accept-Encoding"] = "identity"
            for file in files:
                url = f"{base_url.rstrip('/')}/{file.name}"
                bar = progress.add_task(file.name, total=file.size)
                _Download(session, url, file, folder, progress, bar).run(pause_s)
    except requests.RequestException as error:
        raise DataError(f"{base_url} must be a web address, but {error}; check the base URL") from error
    except OSError as error:
        raise DataError(
            f"{folder} must be a folder with room to write, but {error}; "
            "free some space or name another with --to"
        ) from error
    return [folder / file.name for file in files]


def make_progress(*, disable: bool) -> Progress:
    """Return bars with bytes and speed, on the standard error stream."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=Console(stderr=True), disable=disable)


@dataclass(frozen=True)
class _Download:
    """One file on its way into a folder."""

    session: requests.Session
    url: str
    file: RemoteFile
    folder: Path
    progress: Progress
    bar: TaskID

    @property
    def path(self) -> Path:
        return self.folder / self.file.name

    @property
    def part(self) -> Path:
        return self.folder / f"{self.file.name}.part"

    @property
    def num_kept(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self, pause_s: float) -> None:
        if self.path.exists():
            self._check_present()
            return
        self._complete(pause_s)
        found = sha256(self.part)
        if found != self.file.sha256:
            self.part.unlink()
            raise DataError(
                f"{self.file.name} must have the SHA-256 {self.file.sha256}, but what {self.url} sent "
                f"has {found}; it was deleted: run the command again, if it stays so, distrust the server"
            )
        self.part.replace(self.path)

    def _check_present(self) -> None:
        if sha256(self.path) != self.file.sha256:
            raise DataError(
                f"{self.path} must be the data set's own file, but its SHA-256 differs; "
                "move it away, or name another folder with --to"
            )
        self.progress.update(self.bar, completed=self.file.size)

    def _complete(self, pause_s: float) -> None:
        """Let the part grow to the file's size, going on where a connection ends early."""
        failure: Exception | None = None
        for attempt in range(NUM_ATTEMPTS):
            if attempt:
                time.sleep(pause_s)
            if self.num_kept > self.file.size:
                self.part.unlink()
            if self.num_kept == self.file.size:
                return
            try:
                self._append(self.num_kept)
            except INTERRUPTIONS as error:
                failure = error
            else:
                return
        raise DataError(
            f"{self.url} must come whole, but {NUM_ATTEMPTS} attempts ended early ({failure}); "
            f"{self.num_kept:,} of {self.file.size:,} bytes are kept: check the connection and "
            "run the command again to go on from there"
        ) from failure

    def _append(self, have: int) -> None:
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self.session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            resumed = self._is_resumed(answer, have)
            done = self._write(answer, have if resumed else 0)
        if done > self.file.size:
            self.part.unlink()
            raise DataError(
                f"{self.url} must have {self.file.size:,} bytes, but the server sends more; the part was "
                "deleted: check the base URL"
            )
        if done < self.file.size:
            raise _InterruptedError(f"{done:,} of {self.file.size:,} bytes came")

    def _is_resumed(self, answer: requests.Response, have: int) -> bool:
        """Return whether the answer goes on from `have`; False: it starts anew."""
        status = answer.status_code
        if status == HTTPStatus.OK:
            return False
        if status == HTTPStatus.PARTIAL_CONTENT and have:
            if answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                return True
            self.part.unlink()
            raise _InterruptedError("the server sent another range than was asked for")
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.part.unlink(missing_ok=True)
            raise _InterruptedError("the server has fewer bytes than were kept")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _InterruptedError(f"the server answered {status} {answer.reason}")
        raise DataError(
            f"{self.url} must be there, but the server answered {status} {answer.reason}; check the base URL"
        )

    def _write(self, answer: requests.Response, done: int) -> int:
        """Write what comes behind the first `done` bytes; return the size, which may exceed the file's."""
        self.progress.update(self.bar, completed=done)
        with self.part.open("ab" if done else "wb") as stream:
            for chunk in answer.iter_content(CHUNK):
                done += len(chunk)
                if done > self.file.size:
                    break
                stream.write(chunk)
                self.progress.update(self.bar, completed=done)
        return done
