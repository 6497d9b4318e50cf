"""How a sweep or an experiment stops, and goes on.

What goes on may be told anew where and with what its trials run, never what they compute.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rocore
from rocore.config import Section
from rocore.errors import CheckpointError, ConfigError, DiskFullError, SweepInterrupted
from tune import limits
from tune.config import Sweep, load_sweep
from tune.journal import FILE, is_disk_full
from tune.ledger import Ledger
from tune.reading import dotted
from tune.records import Records, read_records
from tune.space import joint_budget, space_tree
from tune.sweep_directory import CONFIG, SweepDirectory, check_is_sweep


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


def find_config(directory: SweepDirectory) -> Path:
    """Return config.yaml of a sweep that was begun and that can be written to.

    Raises:
        CheckpointError: If there is none.
        ConfigError: If it can't be written to.
    """
    check_is_sweep(directory.root)
    path = directory.root / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{directory.place} must be a sweep directory that holds {CONFIG}, but it doesn't; "
            f"start one with `rocore sweep CONFIG --out {directory.place}`"
        )
    rocore.check_folder(directory.root, "the sweep directory")
    return path


def load_extended(path: Path, num_more: int, space: Mapping[str, Any], overrides: Mapping[str, Any]) -> Sweep:
    """Read the configuration that a sweep began with, for more trials, and maybe a narrower or wider space.

    Args:
        path: config.yaml of the sweep directory.
        num_more: Trials that the searcher proposes beyond those that were planned, or, where a limit ended the search,
            beyond those that it proposed.
        space: Dimensions that change, by searched key.
        overrides: As of `load_begun`; and parts of dimensions (`search.space.KEY.low`).

    Raises:
        ConfigError: If something else would change, if the space can't, or if a limit of the search is reached.
    """
    begun, records = (
        load_sweep(path),
        read_records(path.parent) if (path.parent / FILE).is_file() else Records(),
    )
    planned = begun.config.search.num_trials
    if limits.ended_by(begun.config.search, records) is not None:
        planned = sum(record.added is None for record in records.of("search"))
    if "search.num_trials" in overrides:
        raise ConfigError(
            "`--extend N` says how many trials are added, but `search.num_trials` is set, too; leave that out"
        )
    for key in space:
        if key not in begun.config.search.space:
            raise ConfigError(
                f"a sweep that is extended must search the keys that it began with, but {key} isn't one; give other "
                f"bounds or choices of {', '.join(begun.config.search.space)}, or start a sweep anew elsewhere"
            )
    whole = {"search.space": {**space_tree(begun.config.search.space), **space}} if space else {}
    sweep = load_sweep(path, {**whole, **overrides, "search.num_trials": planned + num_more})
    check_same_computation(begun.config, sweep.config, may_differ=("search.num_trials", "search.space."))
    check_space_change(begun, sweep)
    limits.check_may_go_on(sweep, records)
    return sweep


def check_space_change(begun: Sweep, wanted: Sweep) -> None:
    """Refuse a change of the space that its earlier trials, or their rungs, have no place in.

    Raises:
        ConfigError: If there is one.
    """
    before, now = begun.config.search.space, wanted.config.search.space
    if before == now:
        return
    budgets = [joint_budget(sweep.search_base, sweep.config.search.space) for sweep in (begun, wanted)]
    if budgets[0] != budgets[1]:
        raise ConfigError(
            "a sweep that is extended must keep the longest trial, on which the rungs of early stopping depend, but "
            f"`train.max_epochs` would reach {budgets[1]} instead of {budgets[0]}; keep its largest value"
        )
    if wanted.config.search.others:
        raise ConfigError(
            "sweeps that learn from each other must have the same space, but `search.others` is set, and the space "
            "would change; extend without --space"
        )


def check_same_computation(
    begun: Section, wanted: Section, *, what: str = "sweep", hint: str = "", may_differ: tuple[str, ...] = ()
) -> None:
    """Refuse a change of what trials compute.

    Args:
        begun: The configuration that was begun with.
        wanted: The one to go on with.
        what: What goes on, for the message.
        hint: What else there is, for the message.
        may_differ: Beginnings of keys that may differ all the same.

    Raises:
        ConfigError: If a key differs that says more than where trials run.
    """
    before, now = (dict(dotted(each.model_dump(mode="json"))) for each in (begun, wanted))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key) and not (_says_where(key) or key.startswith(may_differ)):
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
    """Whether a key may change between a sweep and its resumption: where trials run, and how long a search may be."""
    section, _, rest = key.removeprefix("base.").partition(".")
    if section == "resources" or key in ("trial.checkpoint_share", *limits.FREE):
        return True
    return key.startswith("base.") and rest in rocore.WHERE_ONLY.get(section, ())
