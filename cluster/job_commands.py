"""`rocore cluster job`: one sweep and Ray's job server; run on a cluster's head, or wherever the server is reached."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.package import locked_packages
from cluster.places import is_url
from cluster.ray_jobs import LOCAL
from cluster.sweep_line import sweep_name

if TYPE_CHECKING:
    from cluster.ray_jobs import Attempt, Jobs

STOPPED = 130
"""The exit code of a sweep that was stopped."""
NUM_LINES = 15


@click.group(
    epilog="Exit codes: 0 done; 4 the job server can't be reached or refuses; `logs` ends with the sweep's own exit "
    "code once it has ended (130: it was stopped)."
)
def job() -> None:
    """Submit, follow, show and stop a sweep at Ray's job server; the other commands of `rocore cluster` use this."""


def _server(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("directory", metavar="DIR"),
        click.option(
            "--jobs",
            "url",
            default=LOCAL,
            show_default=True,
            metavar="URL",
            help="The job server, on its Ray's dashboard.",
        ),
    ):
        command = option(command)
    return command


def _environment(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--packages",
            type=click.Choice(["lock", "none"]),
            default="lock",
            show_default=True,
            help="With --package: install its requirements.lock on the nodes, or nothing.",
        ),
        click.option(
            "--package",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A zip of the project, to run the command in.",
        ),
    ):
        command = option(command)
    return command


def runtime_environment(package: Path | None, packages: str) -> dict[str, Any]:
    """Return Ray's runtime environment for a package; an empty one where the project is installed."""
    if package is None:
        return {}
    environment: dict[str, Any] = {"working_dir": str(package)}
    return {**environment, "pip": locked_packages(package)} if packages == "lock" else environment


@job.command()
@_server
@_environment
@click.argument("command")
def submit(url: str, directory: str, package: Path | None, packages: str, command: str) -> None:
    """Run COMMAND, a shell's, as the next attempt at the sweep in DIR; refused while one runs.

    \b
    rocore cluster job submit /mnt/sweeps/a 'rocore sweep --resume /mnt/sweeps/a'
    """
    attempt = _jobs(url).submit(sweep_name(directory), command, runtime_environment(package, packages))
    click.echo(f"{attempt.job}: {attempt.state}")


@job.command()
@_server
def logs(url: str, directory: str) -> None:
    """Follow what the newest attempt at the sweep in DIR prints, from its beginning; Ctrl-C ends the following alone.

    \b
    rocore cluster job logs /mnt/sweeps/a
    """
    jobs, name = _jobs(url), sweep_name(directory)
    attempt = jobs.newest(name)
    try:
        jobs.follow(attempt.job, lambda text: click.echo(text, nl=False))
        ended = jobs.wait(name, attempt.job)
    except KeyboardInterrupt:
        click.echo(f"\n{attempt.job} goes on; the same command follows it again", err=True)
        return
    click.echo(f"{ended.job}: {ended.state}", err=True)
    click.get_current_context().exit(_exit_code(ended))


@job.command()
@_server
@_environment
@click.argument("command", required=False)
def status(url: str, directory: str, package: Path | None, packages: str, command: str | None) -> None:
    """Show the attempts at the sweep in DIR, and how the sweep stands.

    Where that can't be told from here, the cluster runs COMMAND to tell, as a short job.

    \b
    rocore cluster job status /mnt/sweeps/a
    """
    jobs, name = _jobs(url), sweep_name(directory)
    jobs.newest(name)
    for attempt in jobs.attempts(name):
        click.echo(_line(attempt))
    succeeded, said = _ask_here(directory)
    if not succeeded and command is not None:
        succeeded, said = jobs.ask(name, command, runtime_environment(package, packages))
    if said:
        click.echo(said.rstrip())
    click.get_current_context().exit(0 if succeeded else 1)


@job.command()
@_server
def stop(url: str, directory: str) -> None:
    """Stop the sweep in DIR cleanly, and wait for its end; the last lines that it printed are shown.

    \b
    rocore cluster job stop /mnt/sweeps/a
    """
    jobs, name = _jobs(url), sweep_name(directory)
    attempt = jobs.newest(name)
    if not attempt.has_ended:
        jobs.stop(attempt.job)
        attempt = jobs.wait(name, attempt.job)
    lines: list[str] = []
    jobs.follow(attempt.job, lines.append)
    click.echo("\n".join("".join(lines).rstrip().splitlines()[-NUM_LINES:]))
    click.echo(_line(attempt))


def _ask_here(directory: str) -> tuple[bool, str]:
    """Ask the sweep's directory, where this machine sees it and has what it takes to read it."""
    if not is_url(directory) and not Path(directory).is_dir():
        return False, ""
    command = [sys.executable, "-m", "rocore", "sweep", "status", directory]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.returncode == 0, done.stdout or done.stderr


def _jobs(url: str) -> "Jobs":
    from cluster.ray_jobs import Jobs

    return Jobs(url)


def _line(attempt: "Attempt") -> str:
    parts = [f"{attempt.job}: {attempt.state}"]
    for word, at_s in (("since", attempt.started_s), ("ended", attempt.ended_s)):
        if at_s is not None:
            parts.append(f"{word} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at_s))}")
    if attempt.exit_code is not None:
        parts.append(f"exit code {attempt.exit_code}")
    elif attempt.state == "FAILED" and attempt.message:
        parts.append(attempt.message.strip().splitlines()[-1])
    return ", ".join(parts)


def _exit_code(attempt: "Attempt") -> int:
    if attempt.state == "STOPPED":
        return STOPPED
    if attempt.state == "FAILED":
        return attempt.exit_code or 1
    return 0
