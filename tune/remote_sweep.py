"""A sweep on an object store: a copy on the driver's machine that is told on, and whoever runs it keeps others out.

The journal is the truth, so that its lines reach the store before anything acts on them, as small objects that are put
together from time to time (an object can't be appended to). Checkpoints and the folders of final runs are written there
by the trials themselves. The rest follows in the background and in the end.

A lease keeps a second driver away: an object that its holder rewrites. Whoever finds one waits whether it changes, and
takes it over if it doesn't; two drivers that begin within the same second aren't told apart.
"""

import hashlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rocore
from rocore.errors import CheckpointError, ConfigError, StorageError
from tune.journal import FILE
from tune.ledger import TrialRecord
from tune.sweep_directory import FOLDERS, MODEL, RAY, SweepDirectory

SEGMENTS = "journal"
"""Folder of the journal's lines that aren't in its file yet, each object named by where it begins, in bytes."""
SEGMENTS_TOGETHER = 100
LEASE = "lease.json"
HEARTBEAT_S, TAKEOVER_S = 5.0, 20.0
COPY_PERIOD_S = 20.0
LINK = "remote.json"
"""In the copy: which URL it is the copy of."""
STUDY = "study.db"
log = logging.getLogger(__name__)


def copy_root(url: str) -> Path:
    """Return the folder of the copy on this machine."""
    return rocore.cache_root(None) / "sweeps" / hashlib.sha256(url.encode()).hexdigest()[:24]


def place_of(directory: str | Path) -> str | Path:
    """Return the URL that a local folder is the copy of, else what is given."""
    link = Path(directory) / LINK
    if rocore.is_url(directory) or not link.is_file():
        return directory
    return str(json.loads(link.read_text(encoding="utf-8"))["url"])


def has_begun(place: str | Path) -> bool:
    """Tell whether a sweep directory holds a sweep."""
    if not rocore.is_url(place):
        return (Path(place) / FILE).is_file()
    storage = rocore.Storage.at(str(place))
    return storage.exists(FILE) or bool(storage.files(SEGMENTS))


@contextmanager
def opened(place: str | Path) -> Iterator[tuple[SweepDirectory, "RemoteSweep | None"]]:
    """Hold a sweep directory, local or on a store, for as long as a sweep runs in it."""
    place = place_of(place)
    if not rocore.is_url(place):
        yield SweepDirectory(Path(place).resolve()), None
        return
    remote = RemoteSweep(str(place))
    with remote.held():
        yield remote.directory, remote


def snapshot(place: str | Path, skip: Callable[[str], bool] = lambda _name: False) -> Path:
    """Return a folder with what a sweep directory holds now, to be read; of a local one, itself.

    Args:
        place: A path or a URL.
        skip: Told a file's name; such files aren't copied.
    """
    place = place_of(place)
    if not rocore.is_url(place):
        return Path(place)
    root = copy_root(str(place))
    copy = root.with_name(f"{root.name}-read")
    RemoteSweep(str(place), copy).pull(skip)
    return copy


def has_models(name: str) -> bool:
    """Tell whether a file belongs to a model."""
    return f"/{MODEL}/" in name


def is_no_summary(name: str) -> bool:
    """Tell whether a file lies in a folder of the sweep directory: its status needs none of these."""
    return "/" in name


def collect_remote(url: str, target: Path) -> list[str]:
    """Make `target` a copy of a sweep directory; return the names of what was being written meanwhile."""
    remote = RemoteSweep(url, target)
    remote.pull()
    if not (target / FILE).is_file():
        raise CheckpointError(f"{url} must be a sweep directory, but it holds no journal; check the URL")
    return remote.changed


class RemoteSweep:
    """A sweep directory on a store, and its copy here."""

    def __init__(self, url: str, root: Path | None = None) -> None:
        """Open it; nothing is asked of the store yet. The copy lies in `root`, else in the cache.

        Raises:
            ConfigError: If the URL can't be used.
        """
        self.storage = rocore.Storage.at(url)
        self.root = root or copy_root(url)
        self.changed: list[str] = []
        self._owner = f"{socket.gethostname()}, process {os.getpid()}, {uuid.uuid4().hex[:8]}"
        self._num_segments = 0
        self._first_segment = 0
        self._lost: StorageError | None = None
        self._is_current = False
        self._brought: list[str] = []
        self._end = threading.Event()

    @property
    def directory(self) -> SweepDirectory:
        """What a sweep writes to."""
        return SweepDirectory(self.root, self.storage)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take the lease, bring the copy up to date, and copy back until the end."""
        self._take_lease()
        thread = threading.Thread(target=self._follow, name="sweep-copy", daemon=True)
        thread.start()
        try:
            self.pull()
            if self.root.exists():
                self._link()
            self._is_current = True
            yield
        except StorageError as error:
            self._lost = error
            raise
        finally:
            self._end.set()
            thread.join()
            if self._lost is None:
                self._copy(finally_=True)
                self.storage.remove(LEASE)

    def pull(self, skip: Callable[[str], bool] = lambda _name: False) -> None:
        """Bring the copy up to date, but for files that are skipped.

        Its own journal stays where it goes on from the store's: it was written to last. What was being written when
        the driver was lost is taken as it is: the journal says what counts.
        """
        stored, path = self._stored_journal(), self.root / FILE
        local = path.read_bytes() if path.is_file() else b""
        if not stored and not local:
            return
        if not stored and self.root.exists():
            aside = self.root.with_name(f"{self.root.name}-{time.strftime('%Y%m%d-%H%M%S')}")
            self.root.rename(aside)
            log.warning(
                "%s holds no sweep any more; what this machine had of it is in %s", self.storage, aside
            )
            return
        if self.storage.manifest() is not None:
            self.storage.pull(
                self.root, skip=lambda name: name == FILE or skip(name), changed=self._take_changed
            )
        self._bring_final_folders(skip)
        self.root.mkdir(parents=True, exist_ok=True)
        if not local.startswith(stored):
            path.write_bytes(stored)
        elif len(local) > len(stored):
            self.sink(len(stored), local[len(stored) :])

    def sink(self, begin: int, line: bytes) -> None:
        """Put a line of the journal into the store.

        Raises:
            StorageError: If that can't be done, or another process has taken the sweep over.
        """
        if self._lost is not None:
            raise self._lost
        if not self._num_segments:
            self._first_segment = begin
        self.storage.write(_segment(begin), line)
        self._num_segments += 1
        if self._num_segments >= SEGMENTS_TOGETHER:
            self._put_together(begin + len(line))

    def started(self, record: TrialRecord) -> None:  # noqa: ARG002
        """Nothing ended; see `tune.ledger.Listener`."""
        self._link()

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:
        """Nothing ended."""

    def ended(self, record: TrialRecord) -> None:
        """Bring what a final run has left in the store, wherever it ran."""
        if record.role == "final" and record.state == "complete":
            self._bring(f"{FOLDERS[record.role]}/{record.name}")

    def _link(self) -> None:
        (self.root / LINK).write_text(json.dumps({"url": self.storage.url}), encoding="utf-8")

    def _stored_journal(self) -> bytes:
        """Return the journal as far as the store has it."""
        names = self.storage.files(SEGMENTS)
        whole = self.storage.read(FILE) if self.storage.exists(FILE) else b""
        for name in sorted(names):
            begin, content = int(name.rpartition("/")[2]), self.storage.read(name)
            if begin <= len(whole) < begin + len(content):
                whole += content[len(whole) - begin :]
        return whole

    def _put_together(self, end: int) -> None:
        """Make one object of the last small ones; whatever a kill leaves of this is read the same."""
        with (self.root / FILE).open("rb") as file:
            file.seek(self._first_segment)
            content = file.read(end - self._first_segment)
        self.storage.write(_segment(self._first_segment), content)
        for name in self.storage.files(SEGMENTS):
            if self._first_segment < int(name.rpartition("/")[2]) < end:
                self.storage.remove(name)
        self._num_segments = 0

    def _bring_final_folders(self, skip: Callable[[str], bool]) -> None:
        """Bring folders of final runs that the last driver didn't live to copy."""
        suffix = f"/{rocore.Storage.manifest_name}"
        for name in self.storage.files(FOLDERS["final"]):
            folder = name.removesuffix(suffix)
            if name.endswith(suffix):
                self._bring(folder, skip)

    def _bring(self, folder: str, skip: Callable[[str], bool] = lambda _name: False) -> None:
        """Copy the folder of a final run here; its model may have been removed since."""
        storage = self.storage.below(folder)
        there = storage.files()
        storage.pull(
            self.root / folder,
            skip=lambda name: name not in there or skip(f"{folder}/{name}"),
            changed=self._take_changed,
        )
        self._brought.append(folder)

    def _take_changed(self, name: str) -> bool:
        log.warning(
            "%s is being written, or was when the sweep's process was lost; it is taken as it is", name
        )
        self.changed.append(name)
        return True

    def _take_lease(self) -> None:
        if self.storage.exists(LEASE):
            seen = self.storage.read(LEASE)
            log.warning("waiting %g s to see whether another process runs %s", TAKEOVER_S, self.storage.url)
            time.sleep(TAKEOVER_S)
            if self.storage.exists(LEASE) and self.storage.read(LEASE) != seen:
                owner = json.loads(self.storage.read(LEASE))["owner"]
                raise ConfigError(
                    f"one process at a time may run a sweep, but another one is running {self.storage.url} ({owner}); "
                    "wait for its end, or stop it"
                )
        self._beat()

    def _beat(self) -> None:
        self.storage.write(LEASE, json.dumps({"owner": self._owner, "at": time.time()}).encode())

    def _check_lease(self) -> None:
        owner = json.loads(self.storage.read(LEASE))["owner"] if self.storage.exists(LEASE) else "nobody"
        if owner != self._owner:
            raise StorageError(
                f"{self.storage.url} must be this process's alone while it runs the sweep, but {owner} has taken it "
                "over, as nothing was heard from here; let that one go on"
            )

    def _follow(self) -> None:
        """Keep the lease, and copy what has changed, until the end or until the store is lost."""
        copied_at = time.monotonic()
        try:
            while not self._end.wait(HEARTBEAT_S):
                self._check_lease()
                self._beat()
                if time.monotonic() - copied_at > COPY_PERIOD_S:
                    self._copy()
                    copied_at = time.monotonic()
        except StorageError as error:
            self._lost = error

    def _copy(self, *, finally_: bool = False) -> None:
        """Copy all but the journal; in the end, it and the study, too, which are being written to before."""
        if not self._is_current or not self.root.exists():
            return
        brought, self._brought = self._brought, []
        self.storage.push(self.root, skip=lambda name: _is_left_out(name, finally_=finally_))
        for folder in brought:
            # From now on, it is a part of the copy.
            self.storage.remove(f"{folder}/{rocore.Storage.manifest_name}")
        if finally_ and (self.root / FILE).is_file():
            self.storage.upload(self.root / FILE, FILE)
            for name in self.storage.files(SEGMENTS):
                self.storage.remove(name)


def _segment(begin: int) -> str:
    return f"{SEGMENTS}/{begin:015d}"


def _is_left_out(name: str, *, finally_: bool) -> bool:
    """Tell what isn't copied: Tune's own files, inner manifests, the link, and, until the end, what grows."""
    own = name.startswith(f"{RAY}/") and not name.endswith(".log")
    inner = name.endswith(f"/{rocore.Storage.manifest_name}")
    return own or inner or name in (LINK, FILE, LEASE) or (name == STUDY and not finally_)
