"""Runs a sweep on an object store: a copy on the driver's machine that is told on.

The journal's lines go to the store one by one (`tune/remote/journal.py`). Checkpoints and the folders of final runs are
written there by the trials themselves. The rest follows in the background and in the end.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rocore
from rocore.errors import StorageAwayError, StorageError
from tune.journal import FILE
from tune.records import TrialRecord
from tune.remote.copy import Copy, copy_root, local_journal, place_of, write_journal
from tune.remote.journal import RemoteJournal, read_journal
from tune.remote.lease import LEASE, Lease
from tune.sweep_directory import LINK, RAY, STUDY, SweepDirectory

COPY_PERIOD_S = 20.0
log = logging.getLogger(__name__)


@contextmanager
def opened(place: str | Path) -> Iterator[tuple[SweepDirectory, "RemoteSweep | None"]]:
    """Hold a sweep directory, local or on a store, for as long as a sweep runs in it."""
    place = place_of(place)
    if not rocore.is_url(place):
        yield SweepDirectory(Path(place).resolve()), None
        return
    remote = RemoteSweep(str(place))
    try:
        with remote.held():
            yield remote.directory, remote
    except StorageAwayError as error:
        raise StorageAwayError(
            f"{error}; nothing is lost: go on with `rocore sweep --resume {place}`"
        ) from error


class RemoteSweep:
    """A sweep directory on a store and the driver's copy of it; the one writer of both."""

    def __init__(self, url: str, root: Path | None = None) -> None:
        """Open it; nothing is asked of the store yet. The copy lies in `root`, else in the cache.

        Raises:
            ConfigError: If the URL can't be used.
        """
        self.storage = rocore.Storage.at(url)
        self.root = root or copy_root(url)
        self.lease = Lease(self.storage)
        self._copy = Copy(self.storage, self.root)
        self._journal = RemoteJournal(self.storage, self.root / FILE)
        self._uncopied: list[str] = []
        """Folders of final runs that are here, but not in the store's manifest yet."""
        self._is_told = False
        """Whether the store knows configuration and environment of this session."""
        self._end = threading.Event()

    @property
    def directory(self) -> SweepDirectory:
        """What a sweep writes to."""
        return SweepDirectory(self.root, self.storage)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take the lease, bring the copy up to date, and copy back until the end.

        Raises:
            ConfigError: If another process runs the sweep.
            StorageError: If something didn't reach the store; the copy here has it, and the next driver brings it.
        """
        with self.lease.held():
            self.catch_up()
            thread = threading.Thread(target=self._copy_until_end, name="sweep-copy", daemon=True)
            thread.start()
            is_usable = True
            try:
                yield
            except StorageError:
                is_usable = False
                raise
            finally:
                self._end.set()
                thread.join()
                if is_usable:
                    self._copy_back(finally_=True)

    def catch_up(self) -> None:
        """Bring the copy up to date.

        Its own journal stays where it goes on from the store's: it was written to last.
        """
        stored, local = read_journal(self.storage), local_journal(self.root)
        if not stored:
            self._set_aside()
            return
        self._uncopied += self._copy.bring()
        if not local.startswith(stored):
            write_journal(self.root, stored)
        elif len(local) > len(stored):
            self._journal.append(len(stored), local[len(stored) :])
        self._link()

    def sink(self, begin: int, line: bytes) -> None:
        """Put a line of the journal into the store; before the first one of all, what the sweep is.

        Raises:
            StorageError: If that can't be done, or another process has taken the sweep over.
        """
        if not self._is_told:
            self._copy_back()
            self._is_told = True
        self.lease.check()
        self._journal.append(begin, line)

    def started(self, record: TrialRecord) -> None:  # noqa: ARG002
        """Nothing ended; see `tune.ledger.Listener`."""
        self._link()

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:
        """Nothing ended."""

    def ended(self, record: TrialRecord) -> None:
        """Bring what a final run has left in the store, wherever it ran."""
        if record.role == "final" and record.state == "complete":
            folder = self.directory.name_of(record)
            self._copy.bring_folder(folder)
            self._uncopied.append(folder)

    def _set_aside(self) -> None:
        """Keep what is here of a sweep that the store has no more."""
        if not self.root.exists():
            return
        aside = self.root.with_name(f"{self.root.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        self.root.rename(aside)
        log.warning("%s holds no sweep any more; what this machine had of it is in %s", self.storage, aside)

    def _link(self) -> None:
        (self.root / LINK).write_text(json.dumps({"url": self.storage.url}), encoding="utf-8")

    def _copy_until_end(self) -> None:
        while not self._end.wait(COPY_PERIOD_S):
            try:
                self._copy_back()
            except StorageError as error:
                # What counts is whether the copy in the end succeeds, and the journal's lines until then.
                log.warning("%s", error)

    def _copy_back(self, *, finally_: bool = False) -> None:
        """Copy all but the journal; in the end, it and the study, too, which are being written to before."""
        self.lease.check()
        if not self.root.exists():
            return
        folders = list(self._uncopied)
        self.storage.push(self.root, skip=lambda name: _is_left_out(name, finally_=finally_))
        for folder in folders:
            # From now on, it is a part of the copy.
            self.storage.remove(f"{folder}/{rocore.Storage.manifest_name}")
            self._uncopied.remove(folder)
        if finally_:
            self._journal.finish()


def _is_left_out(name: str, *, finally_: bool) -> bool:
    """Tell what isn't copied: Tune's own files, inner manifests, the link, and, until the end, what grows."""
    own = name.startswith(f"{RAY}/") and not name.endswith(".log")
    inner = name.endswith(f"/{rocore.Storage.manifest_name}")
    return own or inner or name in (LINK, FILE, LEASE) or (name == STUDY and not finally_)
