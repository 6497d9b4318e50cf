"""GPUs that a search holds, for its limit: counted from what its journal says."""


class Held:
    """The GPUs that trials of the search hold, from the start of each process to its end; a kill ends all of them.

    A pack holds its share while any trial runs, full or not.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.share: float | None = None
        """Of a trial, or of a pack; None where the journal doesn't tell."""
        self.packs = 0
        """How many there are; 0: trials hold a share each."""
        self._seconds: dict[float | None, float] = {}
        """That shares were held for, by their size."""

    def pass_time(self, seconds: float) -> None:
        """Count what is held."""
        held = self._seconds.get(self.share, 0.0)
        self._seconds[self.share] = held + seconds * self._num_shares

    def end_session(self) -> None:
        """Nothing is held."""
        self.names.clear()
        self.share, self.packs = None, 0

    def gpu_seconds(self, gpus_per_trial: float, since: float) -> float:
        """See `Records.gpu_seconds`."""
        now = {self.share: since * self._num_shares}
        return sum(
            (gpus_per_trial if share is None else share) * seconds
            for table in (self._seconds, now)
            for share, seconds in table.items()
        )

    @property
    def _num_shares(self) -> int:
        return (self.packs or len(self.names)) if self.names else 0
