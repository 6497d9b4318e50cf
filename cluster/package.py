"""A copy of this machine's project as one zip file, for Ray to unpack on every node."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.places import config_files
from rocore.errors import ConfigError

LIMIT_MIB = 100
"""Ray's job server takes no larger zip: it answers 413, whatever Ray's own limit of 512 MiB."""
FOLDERS = ("rocore", "tune", "cluster", "configs")
FILES = ("pyproject.toml", "requirements.lock", "README.md", "LICENSE")
"""What a project without git is made of."""
NEVER = {".git", ".venv", "data", "sweeps", "runs", "__pycache__"}
"""Folders at the top, or anywhere for the last one, that stay here even if git knows them."""
LOCK = "requirements.lock"
_WHEN = (1980, 1, 1, 0, 0, 0)
"""The same files make the same zip, which Ray keeps: times would make it another."""


def project_files(root: Path) -> list[Path]:
    """Return the project's own files, relative to its root: what git tracks, or the packages, configs and lock.

    Raises:
        ConfigError: If this is no folder of the project.
    """
    if any(not (root / folder).is_dir() for folder in FOLDERS) or not (root / "pyproject.toml").is_file():
        raise ConfigError(
            f"`environment: packaged` must be submitted from the project's folder, which holds pyproject.toml, "
            f"{', '.join(FOLDERS)}, but {root} doesn't; change there, or set `environment: installed`"
        )
    found = _tracked(root)
    if found is None:
        found = [Path(name) for name in FILES]
        found += [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*")]
    return sorted(path for path in found if (root / path).is_file() and not _is_left_out(path))


def build_package(root: Path, folder: Path, config: Path | None) -> Path:
    """Write the zip into a folder, in place of an older one, and return its path; the same content, the same name.

    Args:
        root: The project's folder.
        folder: Where the zip goes.
        config: A sweep's file, inside the project; it goes along even if git doesn't know it, as does its base.

    Raises:
        ConfigError: If CONFIG isn't inside, or the zip is too large for Ray.
    """
    files = {
        *project_files(root),
        *(_inside(root, file) for file in (config_files(config) if config else ())),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part") as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(files):
                _add(archive, file.as_posix(), (root / file).read_bytes())
                if part.tell() > LIMIT_MIB * 2**20:
                    largest = max(files, key=lambda file: (root / file).stat().st_size)
                    raise ConfigError(
                        f"the project's files must fit into a zip of {LIMIT_MIB} MiB to travel with a sweep, but don't "
                        f"(the largest is {largest}); keep data out of git, and name it by a path that every node sees "
                        "or a URL"
                    )
            for name, text in _metadata(root):
                _add(archive, name, text.encode())
        part.flush()
        digest = hashlib.sha256(Path(part.name).read_bytes()).hexdigest()[:12]
        path = folder / f"project-{digest}.zip"
        for old in folder.glob("project-*.zip"):
            old.unlink()
        shutil.copyfile(part.name, path)
    path.chmod(0o600)
    return path


def locked_packages(package: Path) -> list[str]:
    """Return the lines of the zip's lock file for pip, without Ray: each node's own must stay."""
    with zipfile.ZipFile(package) as archive:
        lines = archive.read(LOCK).decode().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "ray=="))]


def _tracked(root: Path) -> list[Path] | None:
    """Return what git tracks; None where this is no git repository of its own."""
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(root), "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - arguments as a list, no shell
    if done.returncode:
        raise ConfigError(
            f"git must list the project's files, but says: {done.stderr.decode(errors='replace').strip()}; repair the "
            "repository"
        )
    return [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]


def _is_left_out(path: Path) -> bool:
    return path.parts[0] in NEVER or "__pycache__" in path.parts


def _inside(root: Path, file: Path) -> Path:
    found = Path(os.path.normpath(root / file))
    if not found.is_relative_to(root) or _is_left_out(found.relative_to(root)):
        raise ConfigError(
            f"CONFIG and its `base` must lie in the project's folder to travel with it, but {file} doesn't; copy it "
            "into configs/"
        )
    return found.relative_to(root)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _WHEN)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _metadata(root: Path) -> Iterator[tuple[str, str]]:
    """What pip would write: the command `rocore` finds its sub-commands by it, where nobody has installed them."""
    project: Mapping[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    name, version = project["name"], project["version"]
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    yield f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    groups = project["entry-points"].items()
    text = "\n".join(
        line
        for group, points in groups
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    )
    yield f"{folder}/entry_points.txt", f"{text}\n"
