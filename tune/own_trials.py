"""`rocore sweep add`: points of the user's own, which the next session of a sweep tries first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rocore.config import nearest, override
from rocore.errors import ConfigError
from tune.config import Sweep, Value, load_sweep
from tune.ledger import Ledger
from tune.records import Records
from tune.remote.sweep import opened
from tune.resumption import find_config
from tune.space import check_point


def add_trial(place: Path | str, given: Mapping[str, Any]) -> dict[str, Value]:
    """Note a point in the journal of a sweep that isn't running.

    Args:
        place: The sweep directory, or its URL.
        given: Values of searched keys; the others have the paper's.

    Returns:
        The whole point.

    Raises:
        CheckpointError: If there is no sweep.
        ConfigError: If the sweep runs or hasn't tried anything yet; if the point lies outside its space, or was tried.
    """
    with opened(place) as (directory, remote):
        sweep = load_sweep(find_config(directory))
        params = make_point(sweep, given)
        with Ledger(directory, sink=None if remote is None else remote.sink) as ledger:
            if not ledger.of("search"):
                raise ConfigError(
                    f"a trial is added to a sweep that has begun its search, but {directory.place} hasn't; let it, "
                    f"with `{directory.resume_command}`, and stop it by Ctrl-C"
                )
            check_is_new(params, ledger.state)
            ledger.add(params)
    return params


def make_point(sweep: Sweep, given: Mapping[str, Any]) -> dict[str, Value]:
    """Return the point of the space that has the given values, and the paper's elsewhere.

    Raises:
        ConfigError: If a key isn't searched, or the point isn't one of the space or of RoCORE's.
    """
    space = sweep.config.search.space
    for key in given:
        if key not in space:
            raise ConfigError(
                f"a trial of a sweep has its own values of searched keys alone, but `{key}` isn't searched; "
                f"{nearest(key, list(space))}, or run other configurations by `rocore experiment`"
            )
    params = check_point({**sweep.paper, **given}, space, "`--set`")
    override(sweep.search_base, params)
    return params


def check_is_new(params: Mapping[str, Value], records: Records) -> None:
    """Refuse a point that was tried, or is to be: the same seed would give the same again. A failure may be repeated.

    Raises:
        ConfigError: If it was.
    """
    for record in records.of("search"):
        if record.params == params and record.state != "failed":
            raise ConfigError(
                f"a trial that is added must be new, but trial {record.name} has the same values; change one by --set"
            )
    if any(records.added[index] == params for index in records.waiting_added):
        raise ConfigError(
            "a trial that is added must be new, but the same one has been added and waits; change a value by --set"
        )
