"""`rocore cluster`: from a description to files, to a cluster, to a sweep on it, and back."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cluster.actions import Actions
from cluster.address import ClusterError
from cluster.checks import answers, check_files, missing, warnings
from cluster.collection import collect as collect_files
from cluster.description import (
    ClusterDescription,
    ExistingCluster,
    LaunchedCluster,
    RemoteCluster,
    SlurmCluster,
    load_description,
)
from cluster.estimates import estimate, summary
from cluster.files import rendered, write_files
from cluster.job_commands import job
from cluster.package import build_package
from cluster.places import check_inputs, has_other_nodes, inputs_elsewhere, is_packaged, is_url
from cluster.running import run_all
from cluster.sweep_line import SweepLine
from rocore.config import check_place
from rocore.outputs import check_folder
from rocore.streams import outlive_readers

FILES = Path("sweeps/clusters")
"""Where rendered files lie: a folder for each cluster."""


@click.group(
    epilog="Exit codes: 0 done; 2 a wrong option, description or file; 4 a cluster or tool can't be reached, or "
    "refuses; otherwise that of the tool that was run (ray, kubectl, sbatch)."
)
def cluster() -> None:
    """Describe clusters, start them, and run sweeps on them.

    NAME is a file in configs/cluster/ without its ending, or the path of one.

    \b
    rocore cluster check aws
    rocore cluster up aws
    rocore cluster submit aws configs/tune/main.yaml --out /mnt/efs/rocore/sweeps/a
    rocore cluster status aws /mnt/efs/rocore/sweeps/a
    rocore cluster collect aws /mnt/efs/rocore/sweeps/a --to sweeps/a
    rocore cluster down aws
    """


def _name(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("name", metavar="NAME")(command)


def _check_directory(_context: click.Context, _parameter: click.Parameter, directory: str) -> str:
    return check_place(directory)


def _directory(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("directory", metavar="DIR", callback=_check_directory)(command)


def _sweep(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add CONFIG and the options of a sweep."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of CONFIG."
            ),
            click.option("--out", help="The sweep directory, a path or a URL."),
            click.argument("config", type=click.Path(path_type=Path), required=required),
        ):
            command = option(command)
        return command

    return add


def _line(config: Path | None, out: str | None, overrides: tuple[str, ...]) -> SweepLine | None:
    return None if config is None else SweepLine(config, out, overrides)


@cluster.command()
@_name
@_sweep(required=False)
@click.option("--to", type=click.Path(path_type=Path), help="Folder of the files.")
def render(
    name: str, config: Path | None, out: str | None, overrides: tuple[str, ...], to: Path | None
) -> None:
    """Write the files that start the cluster NAME; with CONFIG and --out, also those that run a sweep.

    \b
    rocore cluster render kubernetes configs/tune/main.yaml --out /mnt/rocore/sweeps/a --to k8s
    """
    description = load_description(name)
    files = rendered(description, _line(config, out, overrides))
    check_files(files)
    target = to or FILES / description.name
    check_folder(target, "--to")
    for path in write_files(files, target):
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
    name: str, config: Path | None, out: str | None, overrides: tuple[str, ...], timeout_s: float
) -> None:
    """Check the description NAME and what starting it needs, without touching the cluster.

    Of an existing cluster, its address is asked to answer. With CONFIG, the sweep's dry run says how many CPU- and
    GPU-hours it will take (its seconds are measured on this machine).

    \b
    rocore cluster check local
    rocore cluster check slurm configs/tune/main.yaml --out /scratch/me/rocore/sweeps/a
    """
    description, line = load_description(name), _line(config, out, overrides)
    click.echo(summary(description))
    if isinstance(description, ExistingCluster):
        for answer in answers(description, timeout_s=timeout_s):
            click.echo(answer)
    if isinstance(description, RemoteCluster) and not (
        line is None and isinstance(description, SlurmCluster)
    ):
        files = rendered(description, line)
        check_files(files)
        click.echo(f"files are valid: {', '.join(files)}")
    _warn(description)
    lacking = missing(description)
    if line is not None:
        check_inputs(description, line.config, line.overrides)
        if has_other_nodes(description) and (away := inputs_elsewhere(line.config, line.overrides)):
            click.echo(f"no estimate, as it is computed on this machine, which lacks {', '.join(away)}")
        else:
            try:
                click.echo(estimate(description, line))
            except ClusterError as error:
                lacking.append(str(error))
    if lacking:
        raise ClusterError("\n".join(["starting it needs", *(f"- {each}" for each in lacking)]))


@cluster.command()
@_name
def up(name: str) -> None:
    """Start the cluster NAME; again, it brings a running one up to its description.

    On ssh, aws and gcp Ray then starts anew: a sweep that runs there ends, and `submit` goes on with it.

    \b
    rocore cluster up aws
    """
    description = load_description(name)
    _warn(description)
    _do(_actions(description, None).up())


@cluster.command()
@_name
def down(name: str) -> None:
    """Give the cluster NAME back; sweeps on its shared folder stay.

    \b
    rocore cluster down aws
    """
    _do(_actions(load_description(name), None).down())


@cluster.command()
@_name
@_sweep(required=True)
def submit(name: str, config: Path, out: str | None, overrides: tuple[str, ...]) -> None:
    """Run `rocore sweep CONFIG` on the cluster NAME, or go on with the sweep in --out.

    Of a sweep that goes on, --set may change `resources`, `cache` and `trial.checkpoint_share`, but not
    what trials compute.

    On `local`, and on `existing` without `jobs`, it runs in the foreground and ends with the sweep's exit code;
    elsewhere it runs on by itself, once: as long as it does, another submit is refused.

    \b
    rocore cluster submit local configs/tune/quickstart.yaml --out sweeps/a
    rocore cluster submit aws configs/tune/main.yaml --out /mnt/efs/rocore/sweeps/a
    """
    description, line = load_description(name), SweepLine(config, out, overrides)
    check_inputs(description, config, overrides)
    _warn(description)
    _do(_actions(description, line, takes_project=is_packaged(description)).submit(line))


@cluster.command()
@_name
@_directory
def status(name: str, directory: str) -> None:
    """Show how the job of the sweep in DIR stands on the cluster NAME, and how the sweep does.

    \b
    rocore cluster status aws /mnt/efs/rocore/sweeps/a
    """
    description = load_description(name)
    _do(_actions(description, None, takes_project=is_packaged(description)).status(directory))


@cluster.command()
@_name
@_directory
def logs(name: str, directory: str) -> None:
    """Follow what the sweep in DIR prints; Ctrl-C ends the following, not the sweep, and the same command goes on.

    \b
    rocore cluster logs aws /mnt/efs/rocore/sweeps/a
    """
    description = load_description(name)
    _do(_actions(description, None, takes_project=_bare_head(description)).logs(directory))


@cluster.command()
@_name
@_directory
def stop(name: str, directory: str) -> None:
    """Stop the sweep in DIR cleanly; `submit` with the same --out goes on with it.

    \b
    rocore cluster stop aws /mnt/efs/rocore/sweeps/a
    """
    description = load_description(name)
    _do(_actions(description, None, takes_project=_bare_head(description)).stop(directory))


@cluster.command()
@_name
@_directory
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder here.")
def collect(name: str, directory: str, to: Path) -> None:
    """Copy the sweep in DIR from the cluster NAME; again, only what has changed.

    Every file's SHA-256 is compared on both sides afterwards. Files that a running sweep writes to are copied again, up
    to three times, and named if they still differ then.

    \b
    rocore cluster collect aws /mnt/efs/rocore/sweeps/a --to sweeps/a
    """
    check_folder(to, "--to")
    outlive_readers()
    if is_url(directory):
        # Object stores are the sweep's own business.
        _do([[sys.executable, "-m", "rocore", "sweep", "collect", directory, "--to", str(to)]])
    found = collect_files(_actions(load_description(name), None).source(directory), to)
    gone = f", {found.num_removed} removed that are gone over there" if found.num_removed else ""
    click.echo(
        f"{to}: {found.num_files} files verified by SHA-256, {found.num_copied} of them copied now{gone}"
    )
    for file in found.busy:
        click.echo(f"written to meanwhile, and older here: {file}; collect again", err=True)
    if found.only_here:
        some = ", ".join(found.only_here[:3]) + (", ..." if len(found.only_here) > 3 else "")
        click.echo(f"only here, and left alone: {len(found.only_here)} files ({some})", err=True)


cluster.add_command(job)


def _bare_head(description: ClusterDescription) -> bool:
    """Whether the head has no project of its own, and is brought one to speak to its job server with."""
    return is_packaged(description) and isinstance(description, LaunchedCluster)


def _actions(
    description: ClusterDescription, line: SweepLine | None, *, takes_project: bool = False
) -> Actions:
    """Render the files anew, where the kind has some, so that they are always the description's; pack the project."""
    folder = FILES / description.name
    check_folder(folder, f"{FILES}, where the cluster's files lie,")
    if isinstance(description, RemoteCluster) and not (
        line is None and isinstance(description, SlurmCluster)
    ):
        files = rendered(description, line)
        check_files(files)
        write_files(files, folder)
    if not takes_project:
        return Actions(description, folder)
    return Actions(
        description, folder, build_package(Path.cwd(), folder, None if line is None else line.config)
    )


def _warn(description: ClusterDescription) -> None:
    for warning in warnings(description):
        click.echo(f"warning: {warning}", err=True)


def _do(commands: list[list[str]]) -> None:
    outlive_readers()
    click.get_current_context().exit(run_all(commands))
