"""Keeps a second driver away from a sweep on an object store: an object that its holder rewrites.

Whoever finds one waits whether it changes, and takes it over if it doesn't; two drivers that begin within the same
second aren't told apart.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import rocore
from rocore.errors import ConfigError, StorageAwayError, StorageError

LEASE = "lease.json"
HEARTBEAT_S, TAKEOVER_S = 5.0, 20.0
log = logging.getLogger(__name__)


class Lease:
    """The right to write to a sweep; renewed by a thread of its own, which nothing else holds up."""

    def __init__(self, storage: rocore.Storage) -> None:
        self._storage = storage
        self._owner = f"{socket.gethostname()}, process {os.getpid()}, {uuid.uuid4().hex[:8]}"
        self._renewed_at = 0.0
        self._lost: StorageError | None = None
        self._end = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take it, renew it until the end, and give it back.

        Raises:
            ConfigError: If another process runs the sweep.
            StorageError: If the store can't be used.
        """
        self.take()
        thread = threading.Thread(target=self._renew_until_end, name="sweep-lease", daemon=True)
        thread.start()
        is_away = False
        try:
            yield
        except StorageAwayError:
            is_away = True
            raise
        finally:
            self._end.set()
            thread.join()
            if not is_away:
                self._give_back()

    def take(self) -> None:
        """Take it, at once or after a holder that is silent."""
        if self._storage.exists(LEASE):
            seen = self._storage.read(LEASE)
            log.warning("waiting %g s to see whether another process runs %s", TAKEOVER_S, self._storage.url)
            time.sleep(TAKEOVER_S)
            if self._storage.exists(LEASE) and self._storage.read(LEASE) != seen:
                owner = self._holder()
                raise ConfigError(
                    "one process at a time may run a sweep, but another one is running "
                    f"{self._storage.url} ({owner}); wait for its end, or stop it"
                )
        self._write()

    def check(self) -> None:
        """Refuse to go on after another process took the sweep over, as it may where this one was silent for long.

        Raises:
            StorageError: If one did.
        """
        # A process that slept may not have noticed yet.
        if self._lost is None and abs(time.time() - self._renewed_at) > TAKEOVER_S / 2:
            self._renew()
        if self._lost is not None:
            raise self._lost

    def _renew(self) -> None:
        owner = self._holder()
        if owner == self._owner:
            self._write()
        else:
            self._lost = StorageError(
                f"{self._storage.url} must be this process's alone while it runs the sweep, but {owner} has taken it "
                "over, as nothing was heard from here; let that one go on"
            )

    def _holder(self) -> str:
        if not self._storage.exists(LEASE):
            return "nobody"
        return str(json.loads(self._storage.read(LEASE))["owner"])

    def _write(self) -> None:
        now = time.time()
        self._storage.write(LEASE, json.dumps({"owner": self._owner, "at": now}).encode())
        self._renewed_at = now

    def _renew_until_end(self) -> None:
        while self._lost is None and not self._end.wait(HEARTBEAT_S):
            try:
                self._renew()
            except StorageAwayError as error:
                # Nobody else can take it over meanwhile; how long is too long, the journal decides.
                log.warning("%s", error)
            except StorageError as error:
                self._lost = error

    def _give_back(self) -> None:
        if self._lost is not None:
            return
        try:
            self._renew()
            if self._lost is None:
                self._storage.remove(LEASE)
        except StorageError as error:
            log.warning("the next process will wait %g s for this one's lease: %s", TAKEOVER_S, error)
