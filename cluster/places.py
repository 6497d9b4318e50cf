"""Which paths a cluster's nodes see: what only this machine has is refused before anything is sent."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cluster.address import is_loopback, split_address
from cluster.description import ClusterDescription, ExistingCluster, JobsCluster, RemoteCluster
from rocore.config import parse_override, read_yaml, with_overrides
from rocore.errors import ConfigError


def is_url(text: str) -> bool:
    """Whether this is the address of something in a store, which every node sees."""
    return "://" in text


def here(path: str) -> str:
    """Return what this machine takes a path for; links stay, as nodes may know a folder by that name."""
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - Path's own keeps `..`, or follows links


def is_within(path: str, folder: str, *, strictly: bool = False) -> bool:
    """Whether a path lies in a folder, or is that folder (not so if `strictly`); one with `..` never does."""
    pure = PurePosixPath(path)
    inside = PurePosixPath(folder) in pure.parents or (not strictly and pure == PurePosixPath(folder))
    return inside and ".." not in pure.parts


def is_packaged(description: ClusterDescription) -> bool:
    """Whether this machine's project travels with the sweep."""
    if not isinstance(description, JobsCluster) or not runs_elsewhere(description):
        return False
    if description.environment is None and isinstance(description, ExistingCluster):
        return description.project is None
    return description.environment == "packaged"


def runs_elsewhere(description: ClusterDescription) -> bool:
    """Whether the sweep runs on other machines than this one."""
    return isinstance(description, RemoteCluster) or (
        isinstance(description, ExistingCluster) and description.jobs is not None
    )


def has_other_nodes(description: ClusterDescription) -> bool:
    """Whether trials run on other machines than this one, wherever the sweep itself runs."""
    return runs_elsewhere(description) or (
        isinstance(description, ExistingCluster)
        and description.address is not None
        and not is_loopback(split_address(description.address)[0])
    )


def shared_folder(description: ClusterDescription) -> str | None:
    """Return the folder that every node sees and sweeps are written to, where there is one."""
    return description.shared if isinstance(description, RemoteCluster | ExistingCluster) else None


def check_inputs(description: ClusterDescription, config: Path, settings: Sequence[str]) -> None:
    """Refuse data or an encoder that the nodes don't see.

    What a CONFIG says that lies on the cluster alone is left to the sweep itself.

    Args:
        description: The cluster.
        config: The sweep's file.
        settings: KEY=VALUE.

    Raises:
        ConfigError: If `data.root`, a data file, `encoder.name` or one of `search.others` is a path of this machine
            alone.
    """
    if not has_other_nodes(description):
        return
    if runs_elsewhere(description) and not is_packaged(description) and not config.is_file():
        return
    for key, path in _inputs(_resolved(config, settings)):
        if not _is_seen(description, path):
            where = ", ".join(_seen_folders(description))
            form = ", a path inside the project" if _takes_relative(description) else ""
            raise ConfigError(
                f"`{key}` must be a URL{form} or an absolute path that every node sees"
                f"{f' ({where})' if where else ''}, but is {path}, which this machine alone may have; copy it there, "
                f"or to an object store (`rocore data push`), and say so (--set {key}=...); or add its folder to "
                f"`visible` of {description.name}"
            )


def inputs_elsewhere(config: Path, settings: Sequence[str]) -> list[str]:
    """Return CONFIG, or its inputs as `key` and path, where this machine lacks them, though nodes may see them.

    Args:
        config: The sweep's file.
        settings: KEY=VALUE.
    """
    if not config.is_file():
        return [str(config)]
    found = [(key, path) for key, path in _inputs(_resolved(config, settings)) if not is_url(path)]
    return [f"`{key}` {path}" for key, path in found if not Path(path).expanduser().exists()]


def config_files(config: Path) -> list[Path]:
    """Return a sweep's file and the one that it is based on.

    Raises:
        ConfigError: If one can't be read.
    """
    base = read_yaml(config).get("base")
    return [config, config.parent / base] if isinstance(base, str) else [config]


def _resolved(config: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Return the RoCORE keys of a sweep and its `search.others`, unchecked: the sweep itself says what is wrong."""
    tree = read_yaml(config)
    base = tree.get("base")
    known = read_yaml(config.parent / base) if isinstance(base, str) else base
    inner, search = tree.get("overrides"), tree.get("search")
    changes = dict(inner) if isinstance(inner, Mapping) else {}
    for key, value in map(parse_override, settings):
        changes[key.removeprefix("overrides.")] = value
    others = search.get("others", ()) if isinstance(search, Mapping) else ()
    keys = dict(known) if isinstance(known, Mapping) else {}
    return with_overrides({**keys, "search": {"others": others}}, changes)


def _inputs(tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data, encoder = tree.get("data"), tree.get("encoder")
    if isinstance(data, Mapping) and data.get("format", "builtin") != "builtin":
        yield "data.root", str(data.get("root", "."))
        for key in ("known", "novel"):
            files = data.get(key) or ()
            for file in [files] if isinstance(files, str) else files:
                if str(file).startswith(("/", "~")):
                    yield f"data.{key}", str(file)
    name = str(encoder.get("name", "")) if isinstance(encoder, Mapping) else ""
    if name.startswith(("/", "~", ".")) or (name and not is_url(name) and Path(name).is_dir()):
        yield "encoder.name", name
    others = tree["search"].get("others")
    for place in others if isinstance(others, list | tuple) else ():
        yield "search.others", str(place)


def _is_seen(description: ClusterDescription, path: str) -> bool:
    if is_url(path):
        return True
    if not runs_elsewhere(description):
        path = here(path)
    elif not path.startswith(("/", "~")):
        return _takes_relative(description) and ".." not in PurePosixPath(path).parts
    return any(is_within(path, folder) for folder in _seen_folders(description))


def _takes_relative(description: ClusterDescription) -> bool:
    """Whether a relative path is one inside the project that every node has: the sweep starts in it there."""
    return runs_elsewhere(description) and not is_packaged(description)


def _seen_folders(description: ClusterDescription) -> list[str]:
    assert isinstance(description, RemoteCluster | ExistingCluster)
    project = None if is_packaged(description) else description.project
    return [folder for folder in (description.shared, *description.visible, project) if folder]
