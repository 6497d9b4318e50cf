"""Imports Ray: a sweep as one of Ray's jobs; run where the jobs' address can be reached.

    python -m cluster.ray_jobs submit|status|logs|stop ...

`rocore cluster` calls it, on this machine or on a cluster's head.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from cluster.description import ClusterError

LOCK = "requirements.lock"
PACKAGED = ["rocore", "tune", "cluster", "configs", "pyproject.toml", "README.md", LOCK]
"""What of the project a job takes along; nothing else of the folder it lies in."""
LARGEST_MIB = 100
PATIENCE_S = 120.0
"""How long a head that has just started is given to take a job."""


@click.group()
def main() -> None:
    """Submit, follow and stop a sweep as one of Ray's jobs."""


@main.command()
@click.argument("address")
@click.argument("job")
@click.argument("entrypoint")
@click.option("--package", type=click.Path(path_type=Path, exists=True), help="Project folder to take along.")
@click.option(
    "--packages", type=click.Choice(["lock", "none"]), default="lock", help="What pip installs there."
)
def submit(address: str, job: str, entrypoint: str, package: Path | None, packages: str) -> None:
    """Run ENTRYPOINT as JOB; where it runs already, only say so; where it has ended, run it again."""
    client = _client(address)
    state = _state(client, job)
    if state in ("PENDING", "RUNNING"):
        click.echo(f"{job} is {state.lower()} already; follow it with `rocore cluster logs`")
        return
    if state is not None:
        client.delete_job(job)
    with TemporaryDirectory() as folder:
        runtime_env = _environment(package, packages, Path(folder)) if package else {}
        _submit(client, entrypoint=entrypoint, submission_id=job, runtime_env=runtime_env)
    click.echo(f"{job} is submitted; it runs on by itself")


@main.command()
@click.argument("address")
@click.argument("job")
def status(address: str, job: str) -> None:
    """Print the state of JOB, and what its end was."""
    client = _client(address)
    state = _state(client, job)
    if state is None:
        click.echo(f"{job}: never submitted here")
        return
    message = client.get_job_info(job).message or ""
    click.echo(f"{job}: {state.lower()}{f' ({message.strip()})' if state == 'FAILED' else ''}")


@main.command()
@click.argument("address")
@click.argument("job")
def logs(address: str, job: str) -> None:
    """Print what JOB has said, and go on until it ends; Ctrl-C ends the following alone."""
    client = _client(address)
    _must_exist(client, job)
    try:
        asyncio.run(_follow(client.tail_job_logs(job)))
    except KeyboardInterrupt:
        click.echo("\nthe sweep runs on; `rocore cluster logs` follows it again", err=True)


@main.command()
@click.argument("address")
@click.argument("job")
def stop(address: str, job: str) -> None:
    """Ask JOB to stop cleanly."""
    client = _client(address)
    _must_exist(client, job)
    stopped = client.stop_job(job)
    click.echo(f"{job} was asked to stop" if stopped else f"{job} had ended already")


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(
            f"{address} must be the address of Ray's jobs, but {_first_line(error)}; check `jobs`, the tunnel to it, "
            "and Ray's token (RAY_AUTH_MODE=token, ~/.ray/auth_token)"
        ) from error


def _submit(client: Any, **what: Any) -> None:
    """Submit; a head that has only just started is asked again."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.submit_job(**what)
        except RuntimeError as error:
            if "try again later" not in str(error) or time.monotonic() > end:
                raise ClusterError(
                    f"Ray must take the job, but {_first_line(error)}; look at the head's logs, then submit it again"
                ) from error
            time.sleep(2)
        else:
            return


def _state(client: Any, job: str) -> str | None:
    """Return the state of a job; None where it was never submitted."""
    return next((str(found.status.value) for found in client.list_jobs() if found.submission_id == job), None)


def _must_exist(client: Any, job: str) -> None:
    if _state(client, job) is None:
        raise ClusterError(f"{job} must have been submitted, but wasn't; check NAME and DIR, or submit it")


async def _follow(lines: AsyncIterator[str]) -> None:
    async for text in lines:
        click.echo(text, nl=False)


def _environment(project: Path, packages: str, folder: Path) -> dict[str, Any]:
    """Return the runtime environment that carries a project: its own files, and what pip installs beside them.

    Args:
        project: Its folder.
        packages: `lock` or `none`.
        folder: Where its own files, and nothing else that lies in it, are put together.

    Raises:
        ClusterError: If there is no project, or it is too large to travel.
    """
    missing = [name for name in PACKAGED if not (project / name).exists()]
    if missing:
        raise ClusterError(
            f"{project} must be this project's folder, but lacks {', '.join(missing)}; run the command from there"
        )
    for name in PACKAGED:
        if (project / name).is_dir():
            shutil.copytree(project / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(project / name, folder / name)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LARGEST_MIB * 2**20:
        raise ClusterError(
            f"the project must be at most {LARGEST_MIB} MiB to travel, but has {size / 2**20:.0f}; keep data elsewhere"
        )
    environment: dict[str, Any] = {"working_dir": str(folder)}
    if packages == "lock":
        environment["pip"] = [f"-r ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{LOCK}"]
    return environment


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def run() -> None:
    """Run the command; errors are one line."""
    try:
        main(standalone_mode=False)
    except ClusterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
