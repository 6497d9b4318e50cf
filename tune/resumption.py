"""How a sweep or an experiment stops, and goes on.

What goes on may be told anew where and with what its trials run, never what they compute.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rocore
from rocore.config import Section
from rocore.errors import ConfigError, DiskFullError, SweepInterrupted
from tune.config import Sweep, load_sweep
from tune.journal import is_disk_full
from tune.ledger import Ledger
from tune.reading import dotted
from tune.sweep_directory import SweepDirectory


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
    check_same_computation(begun.config, sweep.config, hint=" (`rocore sweep --extend` adds trials)")
    return sweep


def check_same_computation(begun: Section, wanted: Section, *, what: str = "sweep", hint: str = "") -> None:
    """Refuse a change of what trials compute.

    Args:
        begun: The configuration that was begun with.
        wanted: The one to go on with.
        what: What goes on, for the message.
        hint: What else there is, for the message.

    Raises:
        ConfigError: If a key differs that says more than where trials run.
    """
    before, now = (dict(dotted(each.model_dump(mode="json"))) for each in (begun, wanted))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key) and not _says_where(key):
            raise ConfigError(
                f"{_a(what)} that goes on must compute what it began to, but `{key.removeprefix('base.')}` would be "
                f"{now.get(key)!r} instead of {before.get(key)!r}; leave it out{hint}, or start {_a(what)} anew in "
                "another directory"
            )


def check_unchanged(
    ledger: Ledger, facts: Mapping[str, Mapping[str, Any]], *, may_grow: bool = False
) -> None:
    """Refuse other data or another encoder than those that the trials so far were trained on.

    Args:
        ledger: Its `begin` holds the facts of then.
        facts: By name, as of now: values by file or part.
        may_grow: Whether there may be more of them than then, and under other names.

    Raises:
        ConfigError: If one has changed.
    """
    known = ledger.state.begin if ledger.records else {}
    for name, now in facts.items():
        if known and known[name] != now:
            then = known[name]
            if may_grow:
                changed = sorted(key for key, value in then.items() if value not in now.values())
            else:
                changed = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
            if not changed:
                continue
            what = ledger.directory.what
            raise ConfigError(
                f"data and encoder must be those that the {what} began with, but {', '.join(changed)} changed; "
                f"restore them, or start {_a(what)} anew in another directory"
            )


@contextmanager
def resumable(directory: SweepDirectory, write_partial: Callable[[], None]) -> Iterator[None]:
    """Say at a stop, and on a full disk, how to go on.

    Args:
        directory: Of what runs within.
        write_partial: Reports what is known, at a stop.

    Raises:
        SweepInterrupted: At Ctrl-C or SIGTERM.
        DiskFullError: If no space is left.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        write_partial()
        raise SweepInterrupted(f"stopped; go on with: {directory.resume_command}") from stop
    except Exception as error:
        if is_disk_full(error) and not isinstance(error, DiskFullError):
            raise DiskFullError(
                f"{directory.root} must have room to write to, but {error}; nothing is lost: free some, then go on "
                f"with `{directory.resume_command}`"
            ) from error
        raise


def _a(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def _says_where(key: str) -> bool:
    """Whether a key may change between a sweep and its resumption, as it may for a single run."""
    section, _, rest = key.removeprefix("base.").partition(".")
    if section == "resources" or key == "trial.checkpoint_share":
        return True
    return key.startswith("base.") and rest in rocore.WHERE_ONLY.get(section, ())
