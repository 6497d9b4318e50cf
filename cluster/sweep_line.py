"""The command line of a sweep, as a cluster runs it."""

import hashlib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.description import ClusterDescription, ExistingCluster, JobsCluster, RemoteCluster
from cluster.places import has_other_nodes, here, is_packaged, is_url, is_within, shared_folder
from rocore.config import check_place
from rocore.errors import ConfigError

_STORE_URL = re.compile(r"(?:s3|gs|file)://[^\s,'\"\[\]]+")
STOP_WAIT_S = 120
"""Seconds that a sweep has to stop cleanly, with its report, before Ray Jobs or Slurm kill it."""


@dataclass(frozen=True)
class SweepLine:
    """What `rocore sweep` is told.

    Attributes:
        config: The sweep's file.
        out: The sweep directory, a path or a URL; None: the default of `rocore sweep`.
        overrides: KEY=VALUE.

    Raises:
        ConfigError: If a URL among them can't be used, or holds credentials: all of it is shown and written down.
    """

    config: Path
    out: str | None = None
    overrides: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        for text in (self.out or "", *self.overrides):
            for url in _STORE_URL.findall(text):
                check_place(url)


def sweep_name(out: str) -> str:
    """Return what jobs, pods and logs of the sweep in this directory are called: the same for the same directory.

    Args:
        out: The sweep directory, a path or a URL.

    Returns:
        Small letters, digits and hyphens, at most 32 characters.
    """
    plain = out.rstrip("/") if is_url(out) else str(Path(out))
    word = re.sub(r"[^a-z0-9]+", "-", plain.rpartition("/")[2].lower()).strip("-")[:16].rstrip("-")
    return "-".join(["rocore", *filter(None, [word]), hashlib.sha256(plain.encode()).hexdigest()[:8]])


def arguments(description: ClusterDescription, line: SweepLine) -> list[str]:
    """Return what stands after `rocore`; the user's settings win, but for the address."""
    found = ["sweep", str(line.config)]
    if line.out is not None:
        found += ["--out", line.out]
    address = f"resources.address={description.ray_address or 'null'}"
    for setting in (*share_settings(description), *line.overrides, address):
        found += ["--set", setting]
    return found


def local_command(description: ClusterDescription, line: SweepLine) -> list[str]:
    """Return the command that runs a sweep from this machine, with this Python; it goes on where one has begun.

    Raises:
        ConfigError: If trials on other machines can't see the sweep directory.
    """
    if isinstance(description, ExistingCluster) and has_other_nodes(description):
        out = line.out if line.out is None or is_url(line.out) else here(line.out)
        line = replace(line, out=shared_path(description, out))
    known = [] if line.out is None else ["--continue"]
    return [sys.executable, "-m", "rocore", *arguments(description, line), *known]


def remote_command(description: RemoteCluster | JobsCluster, line: SweepLine) -> str:
    """Return a shell command for a node: it begins the sweep, or goes on with it where it has begun.

    Raises:
        ConfigError: If a path is this machine's alone.
    """
    out = shared_path(description, line.out)
    _check_config(description, line.config)
    words = [*arguments(description, SweepLine(line.config, out, line.overrides)), "--continue"]
    sweep = f"exec {rocore_program(description)} {shlex.join(words)}"
    # Packaged, Ray has gone to the project's copy already.
    return sweep if is_packaged(description) else f"cd {shlex.quote(_project(description))} && {sweep}"


def rocore_program(description: RemoteCluster | JobsCluster) -> str:
    """Return what a shell on a node calls for `rocore`.

    A packaged project has no program of its own, and its Python is the one that Ray puts first.
    """
    return (
        "python -m rocore"
        if is_packaged(description)
        else shlex.quote(f"{_project(description)}/.venv/bin/rocore")
    )


def shared_path(description: RemoteCluster | JobsCluster, out: str | None) -> str:
    """Return the sweep directory, which must be a URL, or lie where every node sees it.

    Raises:
        ConfigError: If it isn't.
    """
    shared = shared_folder(description)
    if out is not None and (is_url(out) or (shared is not None and is_within(out, shared, strictly=True))):
        return out if is_url(out) else str(Path(out))
    if shared is None:
        raise ConfigError(
            f"--out must be a URL, as the description names no `shared` folder, but is {out or 'not given'}; "
            "for example --out s3://bucket/sweeps/a, or add `shared`"
        )
    raise ConfigError(
        f"--out must be a folder below {shared}, which every node sees, or a URL, but is "
        f"{out or 'not given'}; for example --out {shared}/sweeps/a"
    )


def share_settings(description: ClusterDescription) -> list[str]:
    """Return the shares of a trial that the cluster sets, as `resources` keys of a sweep."""
    shares = {"cpus_per_trial": description.cpus_per_trial, "gpus_per_trial": description.gpus_per_trial}
    return [f"resources.{key}={share:g}" for key, share in shares.items() if share is not None]


def _project(description: ClusterDescription) -> str:
    assert isinstance(description, RemoteCluster | ExistingCluster)
    assert description.project is not None
    return description.project


def _check_config(description: ClusterDescription, config: Path) -> None:
    shared = shared_folder(description)
    inside = not config.is_absolute() and ".." not in config.parts
    if not inside and not (shared is not None and is_within(str(config), shared, strictly=True)):
        there = "inside the project" + (f" or below {shared}, which every node sees" if shared else "")
        raise ConfigError(f"CONFIG must be a path {there}, but is {config}; copy it there")
