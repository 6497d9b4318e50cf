"""The command line of a sweep, as a cluster runs it."""

import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cluster.description import ClusterDescription, ExistingCluster, RemoteCluster
from rocore.errors import ConfigError


@dataclass(frozen=True)
class SweepLine:
    """What `rocore sweep` is told.

    Attributes:
        config: The sweep's file.
        out: The sweep directory, or its URL; None: the default of `rocore sweep`.
        overrides: KEY=VALUE.
    """

    config: Path
    out: Path | str | None = None
    overrides: Sequence[str] = field(default=())


def arguments(description: ClusterDescription, line: SweepLine) -> list[str]:
    """Return what stands after `rocore`; the user's settings win, but for the address."""
    found = ["sweep", str(line.config)]
    if line.out is not None:
        found += ["--out", str(line.out)]
    address = f"resources.address={description.ray_address or 'null'}"
    for setting in (*share_settings(description), *line.overrides, address):
        found += ["--set", setting]
    return found


def local_command(description: ClusterDescription, line: SweepLine) -> list[str]:
    """Return the command that runs a sweep from this machine, with this Python."""
    return [sys.executable, "-m", "rocore", *arguments(description, line)]


def remote_command(description: RemoteCluster, line: SweepLine) -> str:
    """Return a shell command for a node: it begins the sweep, or goes on with it where it has begun.

    Raises:
        ConfigError: If a path is this machine's alone.
    """
    out = shared_place(description, line.out)
    if line.config.is_absolute() and not _below(line.config, description.shared):
        raise ConfigError(
            f"CONFIG must be a path inside the project or below {description.shared}, which every node sees, but is "
            f"{line.config}; copy it there"
        )
    rocore = shlex.quote(f"{description.project}/.venv/bin/rocore")
    begin = shlex.join([*arguments(description, SweepLine(line.config, out, line.overrides)), "--continue"])
    return f"cd {shlex.quote(description.project)} && exec {rocore} {begin}"


def job_command(description: ExistingCluster, line: SweepLine) -> str:
    """Return the shell command of a job on somebody else's Ray: it begins the sweep, or goes on with it.

    Raises:
        ConfigError: If something is named that only this machine has.
    """
    if line.out is None or not (is_url(line.out) or Path(line.out).is_absolute()):
        raise ConfigError(
            f"--out must be a URL, or the whole path of a folder that every node sees, but is "
            f"{line.out or 'not given'}; for example --out s3://bucket/sweeps/a"
        )
    if description.project is None and line.config.is_absolute():
        raise ConfigError(
            f"CONFIG must be a path inside the project, which travels with the job, but is {line.config}; name one in "
            "configs/"
        )
    for setting in line.overrides:
        key, _, value = setting.partition("=")
        if key in ("data.root", "encoder.name") and value.startswith((".", "~")):
            raise ConfigError(
                f"`{key}` must be a URL, or a path that every node sees, but is {value}; put it on an object store: "
                "rocore data push FOLDER URL"
            )
    begin = shlex.join([*arguments(description, line), "--continue"])
    if description.project is None:
        return f"python -m rocore {begin}"
    folder = shlex.quote(description.project)
    return f"cd {folder} && exec {shlex.quote(f'{description.project}/.venv/bin/rocore')} {begin}"


def job_name(out: Path | str) -> str:
    """Return what the job of a sweep directory is called, so that it can be found again."""
    return f"rocore-{hashlib.sha256(str(out).encode()).hexdigest()[:16]}"


def shared_place(description: RemoteCluster, out: Path | str | None) -> Path | str:
    """Return the sweep directory, which must lie where every node sees it.

    Raises:
        ConfigError: If it doesn't.
    """
    if out is None or not (is_url(out) or _below(Path(out), description.shared)):
        raise ConfigError(
            f"--out must be a URL, or a folder below {description.shared}, which every node sees, but is "
            f"{out or 'not given'}; for example --out {description.shared}/sweeps/a"
        )
    return out


def is_url(place: Path | str) -> bool:
    """Tell whether a place is named by a URL."""
    return "://" in str(place)


def share_settings(description: ClusterDescription) -> list[str]:
    """Return the shares of a trial that the cluster sets, as `resources` keys of a sweep."""
    shares = {"cpus_per_trial": description.cpus_per_trial, "gpus_per_trial": description.gpus_per_trial}
    return [f"resources.{key}={share:g}" for key, share in shares.items() if share is not None]


def _below(path: Path, folder: str) -> bool:
    return PurePosixPath(folder) in PurePosixPath(path).parents and ".." not in path.parts
