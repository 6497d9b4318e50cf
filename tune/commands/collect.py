"""`rocore sweep collect`: bring a sweep from an object store."""

from pathlib import Path

import click

from tune.commands.place import OLD_PLACE


@click.command(short_help="Copy a sweep from its URL, checked.")
@click.argument("url", type=OLD_PLACE)
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder here.")
def collect(url: Path | str, to: Path) -> None:
    """Copy the sweep at a URL into a folder: only what differs, and checked by SHA-256.

    Files that a running sweep was writing meanwhile are named; again, and they are brought up to date.

    \b
    rocore sweep collect s3://bucket/sweeps/a --to sweeps/a
    """
    import rocore
    from tune.remote.copy import collect as copy
    from tune.remote.copy import place_of

    place = place_of(url)
    if isinstance(place, Path):
        raise click.UsageError(
            f"a sweep is collected from its URL, but {place} is a folder of this machine; copy it as any other one"
        )
    rocore.outlive_readers()
    for name in copy(place, to):
        click.echo(f"still being written: {name}", err=True)
    click.echo(str(to))
