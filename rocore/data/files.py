"""Find the files that a configuration names."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from rocore.config import Files
from rocore.downloads import fetch_folder
from rocore.errors import DataError
from rocore.storage import is_url
from rocore.text import listed

SHOWN = 10


def resolve(root: str, names: Files, role: str) -> dict[str, Path]:
    """Return paths by name relative to `root`, in the configured order.

    A name of an existing file is taken as it is; any other is a glob that must match exactly one file.

    Args:
        root: Folder, relative to the working directory, or its URL; `~` is the home folder.
        names: One name or several.
        role: `known` or `novel`, for messages.

    Raises:
        DataError: If the folder or a file is absent, or a glob matches several.
    """
    folder = fetch_folder(root, _named_by(names)) if is_url(root) else Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"`data.root` must be a folder, but {root!r} isn't one (relative to {Path.cwd()}); "
            "set it with --set data.root=FOLDER"
        )
    found: dict[str, Path] = {}
    for name in names:
        path = _resolve_one(folder, name, role)
        relative = str(path.relative_to(folder) if path.is_relative_to(folder) else path)
        if relative in found:
            raise DataError(f"`data.{role}` must name each file once, but {relative} comes twice; remove one")
        found[relative] = path
    return found


def _named_by(names: Files) -> Callable[[str], bool]:
    """Return what tells whether a file may be meant: of a store's folder, no other is downloaded."""

    def is_meant(file: str) -> bool:
        return any(name == file or "**" in name or PurePosixPath(file).match(name) for name in names)

    return is_meant


def _resolve_one(folder: Path, name: str, role: str) -> Path:
    expanded = Path(name).expanduser()
    if (folder / expanded).is_file():
        return folder / expanded
    base = Path(expanded.anchor) if expanded.is_absolute() else folder
    pattern = str(expanded.relative_to(expanded.anchor) if expanded.is_absolute() else expanded)
    is_glob = any(letter in pattern for letter in "*?[")
    matches = sorted(path for path in base.glob(pattern) if path.is_file()) if is_glob else []
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise DataError(
            f"`data.{role}`: {name!r} must match exactly one file in {folder}, but matches "
            f"{_listed(matches)}; name the files that you mean"
        )
    there = sorted(path for path in folder.iterdir() if path.is_file())
    close = difflib.get_close_matches(expanded.name, [path.name for path in there], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"files there: {_listed(there) or 'none'}"
    raise DataError(f"`data.{role}`: {name!r} must be a file in {folder}, but there is none; {hint}")


def _listed(paths: Sequence[Path]) -> str:
    return listed([path.name for path in paths], SHOWN)
