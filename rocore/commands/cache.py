"""`rocore cache`: what the frozen-trunk cache holds, make it smaller, check it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rocore.encoder.cache_admin import EntryInfo

HEADER = ("key", "source", "encoder", "layer", "precision", "size", "last use", "in use")
root_option = click.option(
    "--root",
    metavar="FOLDER",
    help="The cache, as `cache.root` names it.  [default: $ROCORE_CACHE, else ~/.cache/rocore]",
)


@click.group()
def cache() -> None:
    """List, prune and verify the frozen-trunk cache."""


@cache.command("ls")
@root_option
def list_(root: str | None) -> None:
    """List all entries, the least recently used first.

    \b
    rocore cache ls
    """
    from rocore.encoder.cache_admin import list_entries

    folder = _folder(root)
    entries = list_entries(folder)
    if entries:
        _echo_table([HEADER, *map(_row, entries)])
    total = _size(sum(entry.num_bytes for entry in entries))
    click.echo(f"{_count(len(entries))}, {total}, in {folder}")


@cache.command()
@root_option
@click.option("--max-gib", type=click.FloatRange(min=0), help="Remove until what is left is no larger.")
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Remove what was not used for so many days.",
)
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def prune(
    root: str | None, max_gib: float | None, days: float | None, *, everything: bool, dry_run: bool
) -> None:
    """Remove entries, the least recently used first; never what a running trial maps.

    \b
    rocore cache prune --older-than 30 --dry-run
    rocore cache prune --max-gib 20
    """
    import time

    from rocore.encoder.cache_admin import DAY_S, remove_leftovers
    from rocore.encoder.cache_admin import prune as remove_unused

    if max_gib is None and days is None and not everything:
        raise click.UsageError(
            "`rocore cache prune` must be told how much to remove; give --max-gib, --older-than or --all"
        )
    folder = _folder(root)
    removed = remove_unused(
        folder,
        max_bytes=0 if everything else None if max_gib is None else max_gib * 2**30,
        unused_since=None if days is None else time.time() - days * DAY_S,
        dry_run=dry_run,
    )
    if folder.is_dir() and not dry_run:
        remove_leftovers(folder)
    if removed:
        _echo_table([HEADER, *map(_row, removed)])
    total = _size(sum(entry.num_bytes for entry in removed))
    click.echo(f"{'would remove' if dry_run else 'removed'} {_count(len(removed))}, {total}, from {folder}")


@cache.command()
@root_option
@click.option("--remove", is_flag=True, help="Remove broken entries; what needs them builds them anew.")
@click.pass_context
def verify(ctx: click.Context, root: str | None, *, remove: bool) -> None:
    """Hash every entry; ends with 1 where one is broken.

    \b
    rocore cache verify
    """
    from rocore.encoder.cache_admin import list_entries, remove_broken
    from rocore.encoder.cache_admin import verify as find_faults

    folder = _folder(root)
    num_entries = len(list_entries(folder))
    faults = find_faults(folder)
    removed = remove_broken(folder, list(faults)) if remove else []
    for key, fault in faults.items():
        outcome = "removed" if key in removed else "in use, not removed" if remove else "broken"
        click.echo(f"{key}  {outcome}: {fault}")
    click.echo(f"{len(faults)} of {_count(num_entries)} broken, in {folder}")
    ctx.exit(1 if faults else 0)


def _folder(root: str | None) -> Path:
    from rocore.downloads import cache_root
    from rocore.encoder.cache import TrunkCache

    return TrunkCache(cache_root(root)).folder


def _row(entry: "EntryInfo") -> tuple[str, ...]:
    from datetime import datetime

    from rocore.text import visible

    what: tuple[str, ...] = ("(unreadable)", "", "", "")
    if entry.description is not None:
        key = entry.description.key
        names = (visible(entry.description.source_name), visible(entry.description.encoder_name))
        what = (*names, str(key.output_layer), key.precision)
    used = datetime.fromtimestamp(entry.last_use).astimezone().strftime("%Y-%m-%d %H:%M")
    return (entry.folder.name, *what, _size(entry.num_bytes), used, "yes" if entry.in_use else "no")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.1f} MiB"


def _count(num_entries: int) -> str:
    return f"{num_entries} entr{'y' if num_entries == 1 else 'ies'}"


def _echo_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Write columns, each as wide as its longest cell: a line an entry, whatever the terminal's width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
