"""Runs the commands that submit, show and stop sweeps."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

import click

from cluster.address import ClusterError


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


def run_all(commands: Sequence[list[str]]) -> int:
    """Show and run commands until one fails, and return the last one's exit code."""
    code = 0
    for command in commands:
        shown = ["rocore", *command[3:]] if command[:3] == [sys.executable, "-m", "rocore"] else command
        # A script is shown as it would be typed.
        click.echo(shown[2] if shown[:2] == ["bash", "-c"] else shlex.join(shown), err=True)
        if code := run(command):
            break
    return code
