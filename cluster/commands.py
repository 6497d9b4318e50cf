"""`rocore cluster`: from a description to files, to a cluster, to a sweep on it, and back."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cluster.actions import Actions
from cluster.checks import check_files, missing, warnings
from cluster.description import (
    ClusterDescription,
    ClusterError,
    ExistingCluster,
    RemoteCluster,
    SlurmCluster,
    connect,
    load_description,
)
from cluster.files import rendered, write_files
from cluster.sweep_line import SweepLine, is_url, share_settings

FILES = Path("sweeps/clusters")
"""Where rendered files lie: a folder for each cluster."""


@click.group(
    epilog="Exit codes: 0 done; 2 a wrong option, description or file; 4 a cluster or tool can't be reached; otherwise "
    "that of the tool that was run (ray, kubectl, sbatch)."
)
def cluster() -> None:
    r"""Describe clusters, start them, and run sweeps on them.

    NAME is a file in configs/cluster/ without its ending, or the path of one.

    \b
    rocore cluster check aws
    rocore cluster up aws
    rocore cluster submit aws configs/tune/main.yaml --out /mnt/efs/rocore/sweeps/a
    rocore cluster status aws /mnt/efs/rocore/sweeps/a
    rocore cluster collect aws /mnt/efs/rocore/sweeps/a --to sweeps/a
    rocore cluster down aws
    """


class Place(click.ParamType[Path | str]):
    """A path, or a URL as a text."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:  # noqa: ARG002
        """Keep URLs as they are: a path would lose one of their slashes."""
        return value if isinstance(value, Path) or is_url(value) else Path(value)


def _name(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("name", metavar="NAME")(command)


def _directory(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("directory", metavar="DIR", type=Place())(command)


def _sweep(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add CONFIG and the options of a sweep."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of CONFIG."
            ),
            click.option("--out", type=Place(), help="The sweep directory, or its URL."),
            click.argument("config", type=click.Path(path_type=Path), required=required),
        ):
            command = option(command)
        return command

    return add


def _line(config: Path | None, out: Path | str | None, overrides: tuple[str, ...]) -> SweepLine | None:
    return None if config is None else SweepLine(config, out, overrides)


@cluster.command()
@_name
@_sweep(required=False)
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="Folder of the files.")
def render(
    name: str, config: Path | None, out: Path | str | None, overrides: tuple[str, ...], to: Path | None
) -> None:
    r"""Write the files that start the cluster NAME; with CONFIG and --out, also those that run a sweep.

    \b
    rocore cluster render kubernetes configs/tune/main.yaml --out /mnt/rocore/sweeps/a --to k8s
    """
    description = load_description(name)
    files = rendered(description, _line(config, out, overrides))
    check_files(files)
    for path in write_files(files, to or FILES / description.name):
        click.echo(str(path))


@cluster.command()
@_name
@_sweep(required=False)
@click.option(
    "--timeout",
    "timeout_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds.",
)
def check(
    name: str, config: Path | None, out: Path | str | None, overrides: tuple[str, ...], timeout_s: float
) -> None:
    r"""Check the description NAME and what starting it needs, without touching the cluster.

    Of an existing cluster, its address is asked to answer. With CONFIG, the sweep's dry run says how many CPU- and
    GPU-hours it will take (its seconds are measured on this machine).

    \b
    rocore cluster check local
    rocore cluster check slurm configs/tune/main.yaml --out /scratch/me/rocore/sweeps/a
    """
    description, line = load_description(name), _line(config, out, overrides)
    click.echo(summary(description))
    if isinstance(description, ExistingCluster):
        connect(description.address, timeout_s=timeout_s)
        click.echo(f"{description.address} answers")
    if isinstance(description, RemoteCluster) and not (
        line is None and isinstance(description, SlurmCluster)
    ):
        files = rendered(description, line)
        check_files(files)
        click.echo(f"files are valid: {', '.join(files)}")
    for warning in warnings(description):
        click.echo(f"warning: {warning}", err=True)
    if line is not None:
        click.echo(_estimate(description, line))
    if lacking := missing(description):
        raise ClusterError("\n".join(["starting it needs", *(f"- {each}" for each in lacking)]))


@cluster.command()
@_name
def up(name: str) -> None:
    r"""Start the cluster NAME; again, it brings a running one up to its description.

    \b
    rocore cluster up aws
    """
    description = load_description(name)
    for warning in warnings(description):
        click.echo(f"warning: {warning}", err=True)
    _do(_actions(description, None).up())


@cluster.command()
@_name
def down(name: str) -> None:
    r"""Give the cluster NAME back; sweeps on its shared folder stay.

    \b
    rocore cluster down aws
    """
    _do(_actions(load_description(name), None).down())


@cluster.command()
@_name
@_sweep(required=True)
def submit(name: str, config: Path, out: Path | str | None, overrides: tuple[str, ...]) -> None:
    r"""Run `rocore sweep CONFIG` on the cluster NAME, or go on with the sweep in --out.

    On `local` and `existing` it runs in the foreground and ends with the sweep's exit code; elsewhere it runs on by
    itself.

    \b
    rocore cluster submit local configs/tune/quickstart.yaml --out sweeps/a
    """
    line = SweepLine(config, out, overrides)
    _do(_actions(load_description(name), line).submit(line))


@cluster.command()
@_name
@_directory
def status(name: str, directory: Path | str) -> None:
    r"""Show how the sweep in DIR stands on the cluster NAME (kubernetes, slurm: its job and pods).

    \b
    rocore cluster status aws /mnt/efs/rocore/sweeps/a
    """
    _do(_actions(load_description(name), None).status(directory))


@cluster.command()
@_name
@_directory
def logs(name: str, directory: Path | str) -> None:
    r"""Follow what the sweep in DIR prints; Ctrl-C ends the following, not the sweep.

    \b
    rocore cluster logs aws /mnt/efs/rocore/sweeps/a
    """
    _do(_actions(load_description(name), None).logs(directory))


@cluster.command()
@_name
@_directory
def stop(name: str, directory: Path | str) -> None:
    r"""Stop the sweep in DIR cleanly; `submit` with the same --out goes on with it.

    \b
    rocore cluster stop aws /mnt/efs/rocore/sweeps/a
    """
    _do(_actions(load_description(name), None).stop(directory))


@cluster.command()
@_name
@_directory
@click.option("--to", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder here.")
def collect(name: str, directory: Path | str, to: Path) -> None:
    r"""Copy the sweep in DIR from the cluster NAME; again, only what has changed.

    \b
    rocore cluster collect aws /mnt/efs/rocore/sweeps/a --to sweeps/a
    """
    _do(_actions(load_description(name), None).collect(directory, to))


def summary(description: ClusterDescription) -> str:
    """Return one line that says what a sweep on this cluster would use."""
    if isinstance(description, ExistingCluster):
        place = f"the Ray at {description.address}"
    elif isinstance(description, RemoteCluster):
        place = f"a Ray started by {description.kind}, sweeps below {description.shared}"
    else:
        place = "a Ray of its own on this machine"
    shares = [setting.removeprefix("resources.") for setting in share_settings(description)]
    return f"{description.name}: {place}, {', '.join(shares) or 'shares as the sweep says'}"


def run(command: list[str]) -> int:
    """Run a command to its end and return its exit code, 128 + n where signal n ended it.

    Ctrl-C reaches the command by itself (one terminal, one process group), so this waits on for its end.

    Raises:
        ClusterError: If the program isn't installed.
    """
    if shutil.which(command[0]) is None:
        raise ClusterError(
            f"the program {command[0]} must be on PATH, but isn't; install it, and check with "
            "`rocore cluster check`"
        )
    with subprocess.Popen(command) as process:  # noqa: S603 - arguments as a list, no shell
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                continue
            return code if code >= 0 else 128 - code


def _actions(description: ClusterDescription, line: SweepLine | None) -> Actions:
    """Render the files anew, where the kind has some, so that they are always the description's."""
    folder = FILES / description.name
    if isinstance(description, RemoteCluster) and not (
        line is None and isinstance(description, SlurmCluster)
    ):
        files = rendered(description, line)
        check_files(files)
        write_files(files, folder)
    return Actions(description, folder)


def _do(command: list[str]) -> None:
    import shlex

    shown = ["rocore", *command[3:]] if command[:3] == [sys.executable, "-m", "rocore"] else command
    click.echo(shlex.join(shown), err=True)
    click.get_current_context().exit(run(command))


def _estimate(description: ClusterDescription, line: SweepLine) -> str:
    """Ask the sweep's own dry run, in a process of its own: this package knows nothing of sweeps."""
    command = [sys.executable, "-m", "rocore", "sweep", str(line.config), "--dry-run", "--json"]
    for setting in (*share_settings(description), *line.overrides):
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - as above
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(f"the sweep's dry run must pass on this machine, but says: {last}")
    plan = json.loads(done.stdout)
    return (
        f"{line.config}: at most {plan['num_trials'] + plan['num_race_runs'] + plan['num_final_runs']} runs, about "
        f"{plan['cpu_hours']:.1f} CPU-hours and {plan['gpu_hours']:.1f} GPU-hours, with this machine's seconds an epoch"
    )
