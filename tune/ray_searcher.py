"""Imports Ray: what Ray runs next is what the ledger still lacks."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ray.tune.search import Searcher

from tune.checkpoints import newest_first
from tune.ledger import Ledger
from tune.records import outcome
from tune.specification import record_of

METRIC = "objective"
Spec = Mapping[str, Any]


class LedgerSearcher(Searcher):
    """Trials that were cut off go on from their checkpoints; then come new ones, until there are no more.

    Ray retries nothing by itself: a trial that goes on, after the loss of its process or of the whole sweep, is a
    new trial to Ray, which is handed the checkpoints of the old one, and the same trial to the ledger.
    """

    def __init__(
        self, ledger: Ledger, role: str, waiting: Iterable[Spec], propose: Callable[[], Spec | None]
    ) -> None:
        """Make a searcher.

        Args:
            ledger: Told of asks and ends.
            role: Of these trials.
            waiting: Specifications of trials that were cut off.
            propose: Returns the specification of a new trial; None where there are no more.
        """
        super().__init__(metric=METRIC, mode="max")
        self.ledger, self.role, self.propose = ledger, role, propose
        self._waiting = deque(waiting)
        self._active: dict[str, str] = {}
        self.room: Callable[[], float] = lambda: math.inf
        """How many trials may run and wait for room, now."""

    def __getstate__(self) -> dict[str, Any]:
        """Ray stores its searcher with every experiment; the ledger lives in this process alone."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a trial's specification; None while there is no room, or there may be another later."""
        if len(self._active) >= self.room():
            return None
        spec = self._waiting.popleft() if self._waiting else self.propose()
        if spec is None:
            return None if self._active else str(Searcher.FINISHED)
        # In the journal before it is given away: no process, and no folder, is used by two attempts.
        record = self.ledger.start(record_of(spec))
        self._active[trial_id] = record.name
        checkpoints = newest_first(self.ledger.directory.checkpoints(self.role), record)
        folder = self.ledger.directory.place_of(record)
        return {
            "spec": {**spec, "folder": folder, "attempt": record.num_starts - 1, "checkpoints": checkpoints}
        }

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note the end of a trial; of one whose process was lost, the callback hears why."""
        name = self._active.pop(trial_id)
        if not error:
            self.ledger.end(name, outcome(result))

    def wait(self, spec: Spec) -> None:
        """Let a trial go on in another process, before any new one."""
        self._waiting.append(spec)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal holds it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is restored from its journal."""
