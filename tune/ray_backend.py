"""Imports Ray: starts or joins a Ray, runs trials on it, and leaves nothing behind."""

import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.tune as ray_tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import TrialScheduler

import rocore
from rocore.errors import ConfigError, SweepError
from tune.checkpoints import KEPT_WHILE_RUNNING, attempt_name, keep_newest
from tune.config import ResourcesConfig, Sweep
from tune.interruption import take_signals
from tune.ledger import Ledger
from tune.limits import search_now
from tune.optuna_study import Study, quiet_optuna
from tune.others import Others
from tune.ray_callbacks import LedgerCallback
from tune.ray_nodes import ClusterRoom, concurrency, node_resources
from tune.ray_pack import PROXY_CPU, PackedTrial, packs
from tune.ray_scheduler import FirstCome, NamedASHA, make_scheduler
from tune.ray_searcher import LedgerSearcher
from tune.ray_snapshots import without_snapshots
from tune.specification import search_spec
from tune.sweep_directory import RAY, SweepDirectory
from tune.trial import Trial

if TYPE_CHECKING:
    from tune.experiments.config import Experiment

START_TRIES = 3
LONGEST_TEMPORARY = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""Bytes: what the system's 107 of a socket's path leave."""
MOST_AT_ONCE = 1000
"""Tune's own limit where the cluster's room decides; Tune takes no limit for one trial at a time."""
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Ray's environment: no usage reports, no output of its own, Ctrl-C is ours."""


@contextmanager
def ray_session(resources: ResourcesConfig, log_folder: Path) -> Iterator[None]:
    """Start or join a Ray; shut down (or left) in the end, on errors and on Ctrl-C too.

    Raises:
        ConfigError: If Ray can't be reached, or holds less than one trial needs.
    """
    log_folder.mkdir(parents=True, exist_ok=True)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    quiet_optuna()
    own = resources.address is None
    temporary = _temporary(resources)
    with _log_to(log_folder / "driver.log"):
        try:
            _connect(resources, temporary)
            check_resources(resources, ray.cluster_resources())
            take_signals()
            yield
        finally:
            ray.shutdown()
            if own and resources.temp_dir is None:
                shutil.rmtree(temporary, ignore_errors=True)


def check_temporary(resources: ResourcesConfig) -> None:
    """Refuse a folder for the files of a Ray of our own that can't be written, or is too long for its sockets.

    Raises:
        ConfigError: If it can't be used.
    """
    if resources.address is not None:
        return
    try:
        temporary = _temporary(resources)
    except FileNotFoundError as error:
        raise ConfigError(
            f"Ray needs a folder for its files, but: {error.strerror}; set `resources.temp_dir` to a short folder"
        ) from error
    rocore.check_folder(temporary, "`resources.temp_dir`, or TMPDIR,")
    num_bytes = len(os.fsencode(temporary))
    if num_bytes > LONGEST_TEMPORARY:
        raise ConfigError(
            f"the folder of Ray's files must have at most {LONGEST_TEMPORARY} bytes in its name, as sockets lie in it, "
            f"but {temporary} has {num_bytes}; set `resources.temp_dir` to a short folder "
            "(--set resources.temp_dir=/tmp/ray-NAME)"
        )


def _temporary(resources: ResourcesConfig) -> Path:
    """Return the folder of a local Ray's files."""
    if resources.temp_dir is not None:
        return Path(resources.temp_dir).expanduser().absolute()
    return Path(tempfile.gettempdir()) / f"rt-{uuid.uuid4().hex[:8]}"


def check_resources(resources: ResourcesConfig, available: Mapping[str, float]) -> None:
    """Refuse a share that a Ray of our own can never give; a cluster may still grow.

    Raises:
        ConfigError: If it can't.
    """
    if resources.address is not None:
        return
    shares = [
        ("CPU", "cpus_per_trial", resources.cpus_per_trial),
        ("GPU", "gpus_per_trial", resources.gpus_per_trial),
        *((kind, f"custom.{kind}", wanted) for kind, wanted in resources.custom.items()),
    ]
    for kind, key, wanted in shares:
        there = available.get(kind, 0.0)
        if wanted > there:
            raise ConfigError(
                f"`resources.{key}` must be at most what is here, {there:g} {kind}s, but is {wanted:g}; "
                f"lower it (--set resources.{key}={there:g}) or give `resources.address` of a cluster"
            )


def search(
    sweep: Sweep, ledger: Ledger, study: Study, others: Others, trainable: type[Trial] = Trial
) -> None:
    """Run the search to its end, from wherever the ledger stands.

    Args:
        sweep: What to do.
        ledger: Holds what has happened, and is told what happens.
        study: Proposes; agrees with the ledger, and listens to it.
        others: What the study learns from beside.
        trainable: Runs a trial.
    """
    scheduler = make_scheduler(sweep)
    stopped = scheduler.replay(ledger.past("search")) if isinstance(scheduler, NamedASHA) else set()
    _end_what_has_ended(ledger, "search", stopped)

    def learn() -> None:
        for place, record in others.news():
            study.learn(ledger.learn(place, record))

    learn()

    def propose() -> dict[str, Any] | None:
        point = next(iter(ledger.state.waiting_added), None)
        if point is None and not has_room(sweep, ledger):
            return None
        learn()
        if point is None:
            return search_spec(sweep, *study.propose())
        return {**search_spec(sweep, *study.propose(ledger.state.added[point])), "added": point}

    waiting = [
        search_spec(sweep, record.number, record.params)
        for record in ledger.of("search")
        if record.is_running
    ]
    if waiting or ledger.state.waiting_added or has_room(sweep, ledger):
        searcher = LedgerSearcher(ledger, "search", waiting, propose)
        _fit(sweep, searcher, scheduler, trainable)
    # They served lost processes; a search trial's model is of no use after it.
    keep_newest(ledger.directory.checkpoints("search"), ledger.of("search"), 0)


def has_room(sweep: Sweep, ledger: Ledger) -> bool:
    """Tell whether the searcher may propose another trial; note a limit that keeps it from doing so.

    The paper's configuration, the first of all, is tried in any case.
    """
    proposed = sum(record.added is None for record in ledger.of("search"))
    if proposed == 0 or proposed >= sweep.config.search.num_trials:
        return not proposed
    reached = search_now(sweep, ledger.state)
    if reached is not None:
        ledger.reach(reached)
    return reached is None


def run_all(
    sweep: "Sweep | Experiment",
    specs: Sequence[Mapping[str, Any]],
    ledger: Ledger,
    trainable: type[Trial] = Trial,
) -> None:
    """Run given trials of one role to their ends, none stopped early; those that have ended stay as they are."""
    if not specs:
        return
    role = specs[0]["role"]
    _end_what_has_ended(ledger, role, set())
    known = {spec["name"]: ledger.records.get(spec["name"]) for spec in specs}
    waiting = [spec for spec in specs if (record := known[spec["name"]]) and record.is_running]
    new = [spec for spec in specs if known[spec["name"]] is None]
    if waiting or new:
        proposals = iter(new)
        searcher = LedgerSearcher(ledger, role, waiting, lambda: next(proposals, None))
        _fit(sweep, searcher, FirstCome(), trainable)
    # A model of the final comparison is of use after its trial, and lies in a folder of its own by now.
    keep_newest(ledger.directory.checkpoints(role), ledger.of(role), 0)


def _end_what_has_ended(ledger: Ledger, role: str, stopped: Set[str]) -> None:
    """Note ends that a killed sweep saw coming but didn't write down."""
    for record in ledger.of(role):
        if record.is_running and (record.finished or record.name in stopped):
            ledger.end(record.name, "complete" if record.finished else "pruned")


def _fit(
    sweep: "Sweep | Experiment", searcher: LedgerSearcher, scheduler: TrialScheduler, trainable: type[Trial]
) -> None:
    resources, size = sweep.config.resources, sweep.config.trial.pack
    at_once = concurrency(resources, node_resources())
    if searcher.role == "search":
        searcher.ledger.hold(resources.gpus_per_trial, at_once if size > 1 else 0)
    if size == 1:
        if resources.address is not None and resources.max_concurrent_trials is None:
            searcher.room, at_once = ClusterRoom(resources), MOST_AT_ONCE
        share = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial, **resources.custom}
        _tune(ray_tune.with_resources(trainable, share), searcher, scheduler, at_once)
        return
    with packs(resources, at_once, size) as actors:
        member = ray_tune.with_parameters(PackedTrial, packs=actors)
        _tune(ray_tune.with_resources(member, {"cpu": PROXY_CPU}), searcher, scheduler, at_once * size)


def _tune(trainable: Any, searcher: LedgerSearcher, scheduler: TrialScheduler, at_once: int) -> None:
    directory = searcher.ledger.directory
    tuner = ray_tune.Tuner(
        trainable,
        tune_config=ray_tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=ray_tune.RunConfig(
            name=searcher.role,
            **_storage(directory),
            callbacks=[LedgerCallback(searcher.ledger, searcher)],
            failure_config=ray_tune.FailureConfig(max_failures=0),
            checkpoint_config=ray_tune.CheckpointConfig(num_to_keep=KEPT_WHILE_RUNNING),
            verbose=0,
        ),
    )
    with without_snapshots():
        tuner.fit()


def _storage(directory: SweepDirectory) -> dict[str, Any]:
    """Return where Tune keeps its own files, whatever node a trial runs on."""
    if directory.storage is None:
        return {"storage_path": str((directory.root / RAY).resolve())}
    below = directory.storage.below(RAY)
    # Tune writes there first of all, and doesn't wait for a store that is away.
    below.exists(rocore.Storage.manifest_name)
    return {"storage_path": below.path, "storage_filesystem": below.filesystem}


def _trial_name(trial: RayTrial) -> str:
    spec = trial.config["spec"]
    return attempt_name(spec["name"], spec["attempt"])


def _connect(resources: ResourcesConfig, temporary: Path) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if resources.address is None:
        _start(temporary, quiet)
        return
    if resources.address.startswith("ray://"):
        raise ConfigError(
            "`resources.address` must be host:port of a Ray that this machine is a node of, but is "
            f"{resources.address!r}, for Ray's client, under which a sweep can't keep its journal; submit it as a job "
            "(`rocore cluster submit`), or run it on a node, with resources.address=auto"
        )
    try:
        ray.init(address=resources.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"`resources.address` must name a running Ray that this machine is a node of, but {resources.address!r} "
            f"isn't one: {error}; start one, join it with `ray start --address=...`, or set it to null for a Ray of "
            "the sweep's own"
        ) from error


def _start(temporary: Path, quiet: Mapping[str, Any]) -> None:
    temporary.mkdir(parents=True, exist_ok=True)
    # Without its control process nothing goes on; by default Ray waits a minute for it before it ends this process.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "15")
    for tries_left in reversed(range(START_TRIES)):
        try:
            ray.init(address="local", _temp_dir=str(temporary), include_dashboard=False, **quiet)
        except Exception as error:
            # Ray gives itself 30 s and then raises a bare Exception; a busy machine may need longer.
            ray.shutdown()
            if not tries_left:
                raise SweepError(
                    f"Ray must start on this machine, but {error}; nothing is lost: the same command with "
                    "`--resume DIR` tries again, and DIR/ray/driver.log may say more"
                ) from error
        else:
            return


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send Ray's own log lines to a file: the terminal is ours."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.data", "ray.train")]
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before: list[tuple[logging.Logger, list[logging.Handler], bool]] = []
    for logger in loggers:
        before.append((logger, logger.handlers[:], logger.propagate))
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
