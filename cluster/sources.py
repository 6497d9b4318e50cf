"""Where sweep directories are collected from: a folder, a launched cluster's head, a pod."""

import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cluster.address import ClusterError
from cluster.collection import PART, manifest

TRIES = 3
END = "rocore-manifest"
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](?:\./)?(.+)")
_END = re.compile(END + r" (\d+)")
Command = list[str]


@dataclass(frozen=True)
class FolderSource:
    """A folder that this machine sees."""

    folder: Path

    def manifest(self) -> dict[str, str]:
        """Return the SHA-256 of every file by path."""
        return manifest(self.folder)

    def fetch(self, names: Sequence[str], target: Path) -> str:
        """Copy files; each appears whole or not at all."""
        for name in names:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{PART}{path.name}")
            try:
                shutil.copy2(self.folder / name, part)
            except FileNotFoundError:
                continue
            part.replace(path)
        return ""


@dataclass(frozen=True)
class HeadSource:
    """A folder on the head of a cluster that Ray's launcher started.

    Attributes:
        shell: The command that runs the shell script which is its last argument on the head.
        copy: The command that copies the folder; the target's path comes last.
        folder: Over there.
    """

    shell: Command
    copy: Command
    folder: str

    def manifest(self) -> dict[str, str]:
        """Return the SHA-256 of every file by path."""
        return remote_manifest(self.shell, self.folder)

    def fetch(self, names: Sequence[str], target: Path) -> str:  # noqa: ARG002 - rsync finds out by itself
        """Copy what has another size or time; the comparison afterwards shows what that missed."""
        target.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([*self.copy, str(target)], capture_output=True, text=True, check=False)  # noqa: S603
        return f"{Path(self.copy[0]).name} says: {_said(done)}" if done.returncode else ""


@dataclass(frozen=True)
class PodSource:
    """A folder that a pod sees.

    Attributes:
        shell: The command that runs the shell script which is its last argument in the pod, and hands its input on.
        folder: Over there.
    """

    shell: Command
    folder: str

    def manifest(self) -> dict[str, str]:
        """Return the SHA-256 of every file by path."""
        return remote_manifest(self.shell, self.folder)

    def fetch(self, names: Sequence[str], target: Path) -> str:
        """Copy files in one stream; what is gone or changes in it shows when sums are compared."""
        target.mkdir(parents=True, exist_ok=True)
        script = (
            f"cd {shlex.quote(self.folder)} && "
            "tar --create --file=- --null --ignore-failed-read --files-from=- || true"
        )
        # A file and no pipe: tar would wait for its output to be read while we wait for it to read the names.
        with tempfile.TemporaryFile() as wanted:
            wanted.write("".join(f"{name}\0" for name in names).encode())
            wanted.seek(0)
            with subprocess.Popen([*self.shell, script], stdin=wanted, stdout=subprocess.PIPE) as process:  # noqa: S603
                assert process.stdout is not None
                try:
                    with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                        archive.extractall(target, filter="data")
                except tarfile.TarError as error:
                    return f"tar says: {error}"
        return ""


def remote_manifest(shell: Command, folder: str) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder by path, made over there by sha256sum.

    Raises:
        ClusterError: If the folder isn't there, or files in it can't be read.
    """
    script = (
        f"cd {shlex.quote(folder)} && list=$(mktemp) && find . -type f -print0 > $list && "
        f"{{ xargs -0 -r sha256sum < $list; echo {END} $(tr -cd '\\0' < $list | wc -c); rm -f $list; }}"
    )
    said, num_wanted, found = "", 0, dict[str, str]()
    for attempt in range(TRIES):
        time.sleep(attempt)
        done = subprocess.run([*shell, script], capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
        lines = done.stdout.replace("\r", "").splitlines()
        ends = [int(match[1]) for line in lines if (match := _END.fullmatch(line))]
        found = {_name(match): match[2] for line in lines if (match := _LINE.fullmatch(line))}
        if ends and len(found) == ends[-1]:
            return _inside(found, folder)
        said, num_wanted = _said(done), ends[-1] if ends else 0
        if not ends:
            break
    raise ClusterError(
        f"all files in {folder} must be readable over there, but "
        + (f"{len(found)} of {num_wanted} are" if num_wanted else "the folder isn't")
        + f": {said}; give the sweep directory as it is called there"
    )


def _inside(files: dict[str, str], folder: str) -> dict[str, str]:
    """Refuse names that lead out of the folder: they are written, and removed, below a folder of this machine."""
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ClusterError(
                f"files of {folder} must lie in it, but over there one is called {name!r}; nothing was copied"
            )
    return files


def _name(match: re.Match[str]) -> str:
    """Undo what sha256sum does to a backslash or a line's end in a name."""
    if not match[1]:
        return match[3]
    return re.sub(r"\\(.)", lambda escaped: {"n": "\n", "r": "\r"}.get(escaped[1], escaped[1]), match[3])


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
