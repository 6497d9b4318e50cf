"""`rocore cluster`: check a cluster description, and submit a sweep's command line to it."""

import shlex
import subprocess
import sys
from pathlib import Path

import click

from cluster.description import ClusterDescription, connect, load_description


@click.group()
def cluster() -> None:
    """Check a cluster and submit sweeps to it."""


@cluster.command()
@click.argument("name_or_file")
@click.option(
    "--timeout",
    "timeout_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds.",
)
def check(name_or_file: str, timeout_s: float) -> None:
    r"""Check the description NAME_OR_FILE and, for an existing cluster, that its address answers.

    \b
    rocore cluster check local
    """
    description = load_description(name_or_file)
    click.echo(summary(description))
    if description.address is not None:
        connect(description.address, timeout_s=timeout_s)
        click.echo(f"{description.address} answers")


@cluster.command()
@click.argument("name_or_file")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The sweep directory.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of CONFIG.")
def submit(name_or_file: str, config: Path, out: Path | None, overrides: tuple[str, ...]) -> None:
    r"""Run `rocore sweep CONFIG` on the cluster NAME_OR_FILE, and end with its exit code.

    \b
    rocore cluster submit local configs/tune/quickstart.yaml --out sweeps/a
    """
    command = sweep_command(load_description(name_or_file), config, out=out, overrides=overrides)
    click.echo(shlex.join(["rocore", *command[3:]]), err=True)
    click.get_current_context().exit(run(command))


def summary(description: ClusterDescription) -> str:
    """Return one line that says what a sweep on this cluster would use."""
    place = f"the Ray at {description.address}" if description.address else "a Ray of its own on this machine"
    shares = [setting.removeprefix("resources.") for setting in share_settings(description)]
    return f"{description.name}: {place}, {', '.join(shares) or 'shares as the sweep says'}"


def sweep_command(
    description: ClusterDescription, config: Path, *, out: Path | None, overrides: tuple[str, ...]
) -> list[str]:
    """Return the command line of a sweep on a cluster; the user's settings win, but for the address."""
    command = [sys.executable, "-m", "rocore", "sweep", str(config)]
    if out is not None:
        command += ["--out", str(out)]
    address = f"resources.address={description.address or 'null'}"
    for setting in (*share_settings(description), *overrides, address):
        command += ["--set", setting]
    return command


def share_settings(description: ClusterDescription) -> list[str]:
    """Return the shares of a trial that the cluster sets, as `resources` keys of a sweep."""
    shares = {"cpus_per_trial": description.cpus_per_trial, "gpus_per_trial": description.gpus_per_trial}
    return [f"resources.{key}={share:g}" for key, share in shares.items() if share is not None]


def run(command: list[str]) -> int:
    """Run a command to its end and return its exit code, 128 + n where signal n ended it.

    Ctrl-C reaches the command by itself (one terminal, one process group), so this waits on for its end.
    """
    with subprocess.Popen(command) as process:  # noqa: S603 - our own interpreter, arguments as a list
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                continue
            return code if code >= 0 else 128 - code
