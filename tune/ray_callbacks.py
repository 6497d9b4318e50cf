"""Imports Ray: passes what Ray's trials do to the ledger, as plain rows."""

# ruff: noqa: ARG002 - the signatures are Ray's

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
import ray.tune as ray_tune
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, OutOfMemoryError
from ray.tune.experiment import Trial as RayTrial

from rocore.errors import DiskFullError, StorageAwayError, SweepError
from tune.journal import is_disk_full
from tune.ledger import Ledger
from tune.ray_searcher import LedgerSearcher

NODE_GONE = ("its node has died", "the actor's node was")


class LedgerCallback(ray_tune.Callback):
    """Feeds a ledger, which knows no Ray; how trials end by themselves, the searcher tells it."""

    def __init__(self, ledger: Ledger, searcher: LedgerSearcher) -> None:
        self.ledger, self.searcher = ledger, searcher

    def __getstate__(self) -> dict[str, Any]:
        """Ray stores its callbacks with every experiment; the ledger lives in this process alone."""
        return {}

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: Mapping[str, Any],
        **info: object,
    ) -> None:
        """A trial reported an epoch, or why it failed.

        Raises:
            DiskFullError: If it failed for want of space: the trial is as good as any other, and goes on later.
            StorageAwayError: If it waited for an object store in vain; likewise.
        """
        name = trial.config["spec"]["name"]
        if result.get("disk_full"):
            raise self._disk_full(trial, result, str(result["error"]))
        if result.get("store_away"):
            raise StorageAwayError(str(result["error"]))
        if result.get("failed"):
            self.ledger.end(name, "failed", str(result["error"]), result.get("traceback"))
            return
        texts = {key: json.loads(result.get(key) or "null") for key in ("scalars", "metrics")}
        self.ledger.report(name, {**result, **texts})

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: object) -> None:
        """A trial's process was lost; it goes on in another one, unless memory was what it lacked.

        Raises:
            DiskFullError: If a checkpoint couldn't be written.
            StorageAwayError: If it couldn't reach its object store.
            SweepError: If no pack of trials starts.
        """
        spec, error = trial.config["spec"], _error_of(trial)
        cause = getattr(error, "cause", None)
        if isinstance(cause, StorageAwayError | SweepError):
            raise type(cause)(str(cause))
        if is_disk_full(error if isinstance(error, BaseException) else None):
            raise self._disk_full(trial, trial.last_result or {}, _cause(error))
        again, with_node = not isinstance(error, OutOfMemoryError), went_with_node(error)
        if self.ledger.lose(spec["name"], _cause(error), again=again, with_node=with_node):
            self.searcher.wait(spec)

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: object) -> None:
        """Notice what Ray doesn't: errors of its listeners at the end of a trial, and the death of its own processes.

        Raises:
            DiskFullError: If the journal couldn't be written.
            StorageError: If it couldn't be written to the sweep's object store.
            SweepError: If a Ray of the sweep's own has died.
        """
        self.ledger.journal.check()
        if dead := dead_processes():
            raise SweepError(
                f"Ray must stay alive while trials run, but its {' and '.join(dead)} died; nothing is lost: go on "
                f"with `{self.ledger.directory.resume_command}`"
            )

    def _disk_full(self, trial: RayTrial, result: Mapping[str, Any], error: str) -> DiskFullError:
        return DiskFullError(
            f"every node must have room to write to, but {_node_of(trial, result)}, where trial "
            f"{trial.config['spec']['name']} ran, has none: {error}; nothing is lost: free some there, then go on with "
            f"`{self.ledger.directory.resume_command}`"
        )


def went_with_node(error: object) -> bool:
    """Tell whether a process was lost because its node was: killed, cut off or taken away."""
    # Of a process that died alone, its node tells within a second, before Ray calls it unavailable.
    if isinstance(error, NodeDiedError | ActorUnavailableError):
        return True
    # Ray gives the reason of an actor's death as text alone.
    return isinstance(error, ActorDiedError) and any(words in str(error) for words in NODE_GONE)


def dead_processes() -> list[str]:
    """Return which processes of a Ray that this process started have died; Ray itself may wait for them for ever."""
    node = ray._private.worker._global_node
    dead = [] if node is None else [kind for kind, _ in node.dead_processes()]
    return [kind for kind in dead if kind in ("raylet", "gcs_server")]


def _node_of(trial: RayTrial, result: Mapping[str, Any]) -> str:
    """Return how a user finds the node of a trial: by what failed there, else by what Ray adds to a result."""
    host, address = result.get("hostname"), result.get("node_ip") or trial.node_ip
    failed_on = result.get("failed_on", host)
    if failed_on != host:  # a pack's actor, elsewhere than its proxy
        return f"node {failed_on}"
    return f"node {host} ({address})" if host and address else f"node {host or address or 'unknown'}"


def _error_of(trial: RayTrial) -> object:
    """Return why a trial's process was lost; None where Ray didn't say.

    Ray tells its listeners by a pickle alone. The one that is read was written by this process a moment ago, in Ray's
    folder on this machine; its copy in the sweep's storage, where others may write, is never read, by Ray neither.
    """
    path, trial.run_metadata.pickled_error_filename = trial.pickled_error_file, None
    if path and _is_own(Path(path)):
        return cloudpickle.loads(Path(path).read_bytes())
    if trial.error_file and (text := Path(trial.error_file)).is_file():
        return text.read_text(encoding="utf-8", errors="replace")
    return None


def _is_own(path: Path) -> bool:
    """Tell whether a file is this user's, and not everybody may have written it."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return stat.st_uid == os.getuid() and not stat.st_mode & 0o002


def _cause(error: object) -> str:
    """Return what happened in one line, not Ray's stack."""
    cause = getattr(error, "cause", None) or error
    if cause is None:
        return "the trial's process was lost"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"the trial's process was lost ({type(cause).__name__}): {' '.join(lines[:2])}"
