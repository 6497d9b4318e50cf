"""What a sweep that goes on may be told anew: where and with what its trials run, never what they compute."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rocore
from rocore.errors import ConfigError
from tune.config import Sweep, dotted, load_sweep


def load_begun(path: Path, overrides: Mapping[str, Any]) -> Sweep:
    """Read the configuration that a sweep began with, and change what may change.

    Args:
        path: config.yaml of the sweep directory.
        overrides: Dotted keys, as of `load_sweep`; others than free ones must have the value that they have.

    Raises:
        ConfigError: If a key is unknown, or would change what trials compute.
    """
    begun = load_sweep(path)
    if not overrides:
        return begun
    sweep = load_sweep(path, overrides)
    before, now = (dict(dotted(each.config.model_dump(mode="json"))) for each in (begun, sweep))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key) and not _says_where(key):
            raise ConfigError(
                f"a sweep that goes on must compute what it began to, but `{key.removeprefix('base.')}` would be "
                f"{now.get(key)!r} instead of {before.get(key)!r}; leave it out (`rocore sweep --extend` adds trials), "
                "or start a sweep anew in another directory"
            )
    return sweep


def _says_where(key: str) -> bool:
    """Whether a key may change between a sweep and its resumption, as it may for a single run."""
    section, _, rest = key.removeprefix("base.").partition(".")
    if section == "resources" or key == "trial.checkpoint_share":
        return True
    return key.startswith("base.") and rest in rocore.WHERE_ONLY.get(section, ())
