"""How a sweep stands, read from its directory alone: from another process, while it runs or after."""

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.config import Sweep, load_sweep
from tune.ledger import TrialRecord, read_records
from tune.names import params_text
from tune.plan import Plan
from tune.reevaluation import rank

QUIET_S = 600.0
"""A sweep that has written nothing for as long is probably not running any more."""


@dataclass(frozen=True)
class Phase:
    """The trials of one role.

    Attributes:
        role: `search` or `final`.
        total: Trials in all, as far as it is known.
        records: Those that were started.
    """

    role: str
    total: int
    records: tuple[TrialRecord, ...]

    @property
    def running(self) -> list[TrialRecord]:
        """Trials whose end isn't known."""
        return [record for record in self.records if record.is_running]

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that failed; their records say why."""
        return [record for record in self.records if record.state == "failed"]

    @property
    def num_left(self) -> int:
        """Trials that haven't ended."""
        return self.total - len(self.records) + len(self.running)


@dataclass(frozen=True)
class Status:
    """How a sweep stands.

    Attributes:
        search, final: Its phases.
        is_complete: Whether its results are final.
        best: The search's best trial so far.
        left_s: Expected seconds to the end; None before any trial has ended.
        idle_s: Seconds since anything was written.
    """

    search: Phase
    final: Phase
    is_complete: bool
    best: TrialRecord | None
    left_s: float | None
    idle_s: float
