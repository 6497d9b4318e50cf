"""`rocore sweep collect` and `rocore sweep manifest`: bring a sweep directory, checked."""

import json
from pathlib import Path

import click

from tune.commands.place import OLD_PLACE


@click.command(short_help="Copy a sweep directory, checked.")
@click.argument("directory", type=OLD_PLACE)
@click.option("--to", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder here.")
def collect(directory: Path | str, to: Path) -> None:
    r"""Copy the sweep in DIRECTORY, a path or a URL, into a folder: only what differs, and checked by SHA-256.

    Files of a running sweep that changed meanwhile are named; again, and they are brought up to date.

    \b
    rocore sweep collect s3://bucket/sweeps/a --to sweeps/a
    """
    from tune.collection import collect as copy

    for name in copy(directory, to):
        click.echo(f"still changing: {name}", err=True)
    click.echo(str(to))


@click.command(short_help="Print the SHA-256 of a sweep directory's files.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--check",
    "expected",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with what this printed elsewhere: name the files here that differ, and end with 1 if some do.",
)
def manifest(directory: Path, expected: Path | None) -> None:
    r"""Print the SHA-256 of every file of the sweep in DIRECTORY as JSON, or compare them with another's.

    \b
    rocore sweep manifest sweeps/a > a.json
    rocore sweep manifest copies/a --check a.json
    """
    from tune.collection import differing
    from tune.collection import manifest as read

    if expected is None:
        click.echo(json.dumps(read(directory), indent=0))
        return
    names = differing(directory, json.loads(expected.read_text(encoding="utf-8")))
    for name in names:
        click.echo(f"differs: {name}", err=True)
    click.get_current_context().exit(1 if names else 0)
