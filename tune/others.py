"""What other sweeps over the same space have found: several drivers that share one study.

Every driver writes its own journal alone, and reads the others'. What it learns from them it notes in its own before
its searcher hears of it, so that its proposals follow from its own journal, as those of a single driver do.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rocore.errors import ConfigError, StorageAwayError
from tune.config import Sweep, load_sweep
from tune.reading import dotted
from tune.records import Learned, TrialRecord, read_records
from tune.remote.copy import has_begun, snapshot

CONFIG = "config.yaml"
PERIOD_S = 10.0
READ_SHARE = 0.1
"""Of a sweep's time, at most, for reading others' journals."""
OWN = ("seed", "cache", "data.root", "encoder.name", "train.device", "train.num_threads")
"""RoCORE keys that may differ: for data and encoder, their fingerprints are compared."""
log = logging.getLogger(__name__)


class Others:
    """The other sweeps of a study; those that haven't begun yet are looked for again later."""

    def __init__(
        self, sweep: Sweep, place: str, fingerprints: Mapping[str, Any], learned: Iterable[Learned]
    ) -> None:
        """Note whom to ask.

        Args:
            sweep: The one that learns.
            place: Its own directory or URL, which may stand among the others': one file serves all drivers.
            fingerprints: Of its data and encoder.
            learned: What it has learned already.
        """
        self._sweep, self._fingerprints = sweep, fingerprints
        self._places = [
            other for other in sweep.config.search.others if other.rstrip("/") != place.rstrip("/")
        ]
        self._known = {(found.sweep, found.record.name) for found in learned}
        self._checked: set[str] = set()
        self._not_before = 0.0

    def news(self) -> list[tuple[str, TrialRecord]]:
        """Return search trials that have ended well since the last time, with their sweeps; once in a while only.

        Raises:
            ConfigError: If another sweep's objective can't be compared with this one's.
            CheckpointError: If its journal is corrupt.
            StorageError: If it can't be read; one that is away is asked again later.
        """
        begin = time.monotonic()
        if not self._places or begin < self._not_before:
            return []
        found = [(place, record) for place in self._places for record in self._ended(place)]
        end = time.monotonic()
        self._not_before = end + max(PERIOD_S, (end - begin) / READ_SHARE)
        return found

    def _ended(self, place: str) -> Iterator[TrialRecord]:
        try:
            if not has_begun(place):
                return
            folder = snapshot(place, skip=lambda name: name != CONFIG)
        except StorageAwayError as error:
            log.warning("%s", error)
            return
        records = read_records(folder)
        if place not in self._checked:
            self._check(place, load_sweep(folder / CONFIG), records.begin)
            self._checked.add(place)
        for record in records.of("search"):
            if record.state in ("complete", "pruned") and (place, record.name) not in self._known:
                self._known.add((place, record.name))
                yield record

    def _check(self, place: str, other: Sweep, begin: Mapping[str, Any]) -> None:
        ours, theirs = _compared(self._sweep), _compared(other)
        differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        if begin and begin["fingerprints"] != self._fingerprints:
            differing.append("data or encoder")
        if differing:
            raise ConfigError(
                f"sweeps that learn from each other must have the same space, objective and base, but {place} differs "
                f"in {', '.join(differing)}; take it out of `search.others`, or make them the same"
            )
        if other.config.seed in self._sweep.final_seeds:
            raise ConfigError(
                f"the seeds of the re-evaluation must differ from those of sweeps that this one learns from, but "
                f"{place} searches with seed {other.config.seed}, and {list(self._sweep.final_seeds)} hold it; set "
                "`reevaluation.first_seed` above it"
            )


def _compared(sweep: Sweep) -> dict[str, Any]:
    """Return what makes objectives comparable, by what users call it."""
    base = dict(dotted(sweep.search_base.model_dump(mode="json")))
    return {
        "search.space": sweep.config.search.space,
        "objective": sweep.config.objective,
        **{key: value for key, value in base.items() if not {key, key.partition(".")[0]} & set(OWN)},
    }
