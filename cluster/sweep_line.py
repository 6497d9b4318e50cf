"""The command line of a sweep, as a cluster runs it."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cluster.description import ClusterDescription, RemoteCluster
from rocore.errors import ConfigError


@dataclass(frozen=True)
class SweepLine:
    """What `rocore sweep` is told.

    Attributes:
        config: The sweep's file.
        out: The sweep directory; None: the default of `rocore sweep`.
        overrides: KEY=VALUE.
    """

    config: Path
    out: Path | None = None
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
    out = shared_path(description, line.out)
    if line.config.is_absolute() and not _below(line.config, description.shared):
        raise ConfigError(
            f"CONFIG must be a path inside the project or below {description.shared}, which every node sees, but is "
            f"{line.config}; copy it there"
        )
    rocore = shlex.quote(f"{description.project}/.venv/bin/rocore")
    begin = shlex.join(arguments(description, SweepLine(line.config, out, line.overrides)))
    resume = shlex.join(["sweep", "--resume", str(out)])
    journal = shlex.quote(str(out / "journal.jsonl"))
    return (
        f"cd {shlex.quote(description.project)} && "
        f"if [ -e {journal} ]; then exec {rocore} {resume}; else exec {rocore} {begin}; fi"
    )


def shared_path(description: RemoteCluster, out: Path | None) -> Path:
    """Return the sweep directory, which must lie where every node sees it.

    Raises:
        ConfigError: If it doesn't.
    """
    if out is None or not _below(out, description.shared):
        raise ConfigError(
            f"--out must be a folder below {description.shared}, which every node sees, but is "
            f"{out or 'not given'}; for example --out {description.shared}/sweeps/a"
        )
    return out


def share_settings(description: ClusterDescription) -> list[str]:
    """Return the shares of a trial that the cluster sets, as `resources` keys of a sweep."""
    shares = {"cpus_per_trial": description.cpus_per_trial, "gpus_per_trial": description.gpus_per_trial}
    return [f"resources.{key}={share:g}" for key, share in shares.items() if share is not None]


def _below(path: Path, folder: str) -> bool:
    return PurePosixPath(folder) in PurePosixPath(path).parents and ".." not in path.parts
