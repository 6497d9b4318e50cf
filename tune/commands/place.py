"""Sweep directories on a command line: paths, or URLs of object stores."""

from pathlib import Path
from typing import Any

import click


class SweepPlace(click.Path):
    """A folder, as a Path, or a URL, as a text."""

    name = "directory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path; a URL is checked by whoever opens it."""
        from rocore import is_url

        return str(value) if is_url(value) else super().convert(value, param, ctx)


class ReadSweep(SweepPlace):
    """A folder that can be read; of a URL, a copy of it here.

    Args:
        models: Whether models are wanted, too.
    """

    def __init__(self, *, models: bool) -> None:
        super().__init__(path_type=Path, file_okay=False, exists=True)
        self._models = models

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Copy what a URL holds."""
        from tune.remote.copy import has_models, snapshot

        place = super().convert(value, param, ctx)
        return snapshot(place, skip=(lambda _: False) if self._models else has_models)


NEW_PLACE = SweepPlace(path_type=Path)
OLD_PLACE = SweepPlace(exists=True, file_okay=False, path_type=Path)
