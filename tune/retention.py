"""Which models of a sweep stay on disk; knows no Ray."""

from collections.abc import Mapping, Sequence

from tune.checkpoints import keep_newest
from tune.ledger import Ledger
from tune.records import TrialRecord
from tune.repetitions import configuration_of


class Retention:
    """Removes models as trials end: a sweep's disk is bounded by the trials that run and the models that are kept.

    Checkpoints in Tune's folders serve lost processes alone and go with the end of their trial. A run of the final
    comparison leaves its model in its own folder, DIR/final/NAME/checkpoints; it stays for the configurations in
    `kept`, of the first seed that finished.
    """

    def __init__(self, ledger: Ledger, kept: Sequence[str]) -> None:
        self.ledger, self.kept = ledger, kept

    def started(self, record: TrialRecord) -> None:
        """Nothing ended."""

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:
        """Nothing ended."""

    def ended(self, record: TrialRecord) -> None:
        """Remove what the trial leaves, and what it makes superfluous."""
        keep_newest(self.ledger.directory.checkpoints(record.role), [record], 0)
        if record.role == "final":
            self.thin()

    def thin(self) -> None:
        """Remove the models of ended runs that aren't kept."""
        ended = [record for record in self.ledger.of("final") if not record.is_running]
        first = {configuration_of(r): r for r in reversed(ended) if r.state == "complete"}
        for record in ended:
            if first.get(configuration_of(record)) is not record or configuration_of(record) not in self.kept:
                self.ledger.directory.remove_model(record)
