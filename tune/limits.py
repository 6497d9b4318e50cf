"""When a search ends before its last trial: limits of time, of GPU-hours, and of trials without a gain.

They count what the journal holds, so that interruptions and resumes change nothing. A limit ends the search alone:
what runs goes on to its end, since a trial that early stopping let run on is likely to be among the best, and one that
was cut short would stand behind all complete ones. Race and final comparison follow as usual.
"""

import time
from collections.abc import Mapping
from typing import Any

from rocore.errors import ConfigError
from tune.config import SearchConfig, Sweep
from tune.records import LimitReached, Records

LIMITS = ("max_hours", "max_gpu_hours", "stop_after")
"""Keys of `search`, in the order in which they are asked."""
UNITS = {"max_hours": "hours", "max_gpu_hours": "GPU-hours", "stop_after": "trials without a gain"}
FREE = tuple(f"search.{key}" for key in LIMITS)
"""May change between a sweep and its resumption: they say how many trials are proposed, not what a trial computes."""


def ended_by(search: SearchConfig, records: Records) -> LimitReached | None:
    """Return the limit that has ended a search; None where none has, or where it was changed since.

    It stays so, although a trial that still ran may have found a gain.
    """
    reached = records.limit
    if reached is not None and getattr(search, reached.key) == reached.most:
        return reached
    return None


def find_reached(sweep: Sweep, records: Records, now: float | None = None) -> LimitReached | None:
    """Return the first limit that is reached.

    Args:
        sweep: Its limits, and the GPUs of a trial, for sessions of which the journal doesn't tell them.
        records: What has happened.
        now: Seconds since 1970, while a session searches; None: at the journal's last line.
    """
    known = ended_by(sweep.config.search, records)
    if known is not None:
        return known
    since = 0.0 if now is None else max(0.0, now - records.last_at)
    for key in LIMITS:
        most, used = getattr(sweep.config.search, key), _used(key, sweep, records, since)
        if most is not None and used >= most:
            return LimitReached(key, most, used)
    return None


def search_now(sweep: Sweep, records: Records) -> LimitReached | None:
    """Return the first limit that a search which is running has reached."""
    return find_reached(sweep, records, time.time())


def num_search_trials(search: SearchConfig, records: Records) -> int:
    """Return how many trials a search has in the end: the searcher's, which a limit may cut short, and added ones."""
    if ended_by(search, records) is None:
        return search.num_trials + len(records.added)
    return records.count("search") + len(records.waiting_added)


def check_may_go_on(sweep: Sweep, records: Records) -> None:
    """Refuse more trials where a limit is reached: none would begin.

    Raises:
        ConfigError: If one is.
    """
    reached = find_reached(sweep, records)
    if reached is not None:
        raise ConfigError(
            f"a search that is extended must have room for more trials, but {describe(reached)}; raise that limit, or "
            f"take it away (--set search.{reached.key}=null)"
        )


def describe(reached: LimitReached) -> str:
    """Return what was reached, for reading."""
    used = f"{reached.used:.0f}" if reached.key == "stop_after" else f"{reached.used:.2f}"
    return f"`search.{reached.key}` = {reached.most:g} is reached ({used} {UNITS[reached.key]})"


def as_tree(reached: LimitReached | None) -> dict[str, Any] | None:
    """Return the entry of results.json."""
    return None if reached is None else {"key": reached.key, "most": reached.most, "used": reached.used}


def describe_tree(tree: Mapping[str, Any]) -> str:
    """Return an entry of results.json for reading."""
    return describe(LimitReached(str(tree["key"]), float(tree["most"]), float(tree["used"])))


def _used(key: str, sweep: Sweep, records: Records, since: float) -> float:
    if key == "stop_after":
        return records.num_without_gain
    if key == "max_hours":
        return (records.seconds["search"] + since) / 3600
    return records.gpu_seconds(sweep.config.resources.gpus_per_trial, since) / 3600
