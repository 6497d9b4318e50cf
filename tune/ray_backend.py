"""Imports Ray: starts or joins a Ray, runs trials on it, and leaves nothing behind."""

import logging
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.tune as ray_tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from rocore.errors import ConfigError
from tune.config import ResourcesConfig, Sweep
from tune.ledger import Ledger
from tune.optuna_searcher import METRIC, TruthfulOptunaSearch, quiet_optuna
from tune.ray_callbacks import LedgerCallback
from tune.space import joint_budget
from tune.trial import Trial

MAX_LOST_PROCESSES = 2
"""How often a trial whose process was lost goes on from its checkpoint; its own errors aren't tried again."""
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
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
    # Ray's socket paths must be short.
    temporary = Path(resources.temp_dir or Path(tempfile.gettempdir()) / f"rt-{uuid.uuid4().hex[:8]}")
    with _log_to(log_folder / "driver.log"):
        try:
            _connect(resources, temporary)
            check_resources(resources, ray.cluster_resources())
            yield
        finally:
            ray.shutdown()
            if own and resources.temp_dir is None:
                shutil.rmtree(temporary, ignore_errors=True)


def concurrency(resources: ResourcesConfig, available: Mapping[str, float]) -> int:
    """Return how many trials run at once."""
    if resources.max_concurrent_trials is not None:
        return resources.max_concurrent_trials
    limits = [available.get("CPU", 0.0) / resources.cpus_per_trial]
    if resources.gpus_per_trial:
        limits.append(available.get("GPU", 0.0) / resources.gpus_per_trial)
    return max(1, math.floor(min(limits)))


def check_resources(resources: ResourcesConfig, available: Mapping[str, float]) -> None:
    """Refuse a share that a Ray of our own can never give; a cluster may still grow.

    Raises:
        ConfigError: If it can't.
    """
    if resources.address is not None:
        return
    for kind, key in (("CPU", "cpus_per_trial"), ("GPU", "gpus_per_trial")):
        wanted, there = getattr(resources, key), available.get(kind, 0.0)
        if wanted > there:
            raise ConfigError(
                f"`resources.{key}` must be at most what is here, {there:g} {kind}s, but is {wanted:g}; "
                f"lower it (--set resources.{key}={there:g}) or give `resources.address` of a cluster"
            )


def search(
    sweep: Sweep, folder: Path, ledger: Ledger, trainable: type[Trial] = Trial
) -> TruthfulOptunaSearch:
    """Run the search; the ledger holds what happened.

    Returns:
        The searcher, with its study.
    """
    searcher = TruthfulOptunaSearch(sweep, study_name=f"{sweep.config.name}-{uuid.uuid4().hex[:8]}")
    _fit(
        sweep,
        trainable=trainable,
        searcher=searcher,
        scheduler=make_scheduler(sweep),
        num_trials=sweep.config.search.num_trials,
        folder=folder / "search",
        ledger=ledger,
    )
    # They served lost processes; a search trial's model is of no use after it.
    for checkpoint in (folder / "search").glob("*/checkpoint_*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
    return searcher


def run_all(
    sweep: Sweep,
    specs: Sequence[Mapping[str, Any]],
    folder: Path,
    ledger: Ledger,
    trainable: type[Trial] = Trial,
) -> None:
    """Run given trials to their ends, none stopped early; the ledger holds what happened."""
    _fit(
        sweep,
        trainable=trainable,
        searcher=ListSearcher(specs),
        scheduler=FIFOScheduler(),
        num_trials=len(specs),
        folder=folder / "final",
        ledger=ledger,
    )


def make_scheduler(sweep: Sweep) -> TrialScheduler:
    """Return ASHA in joint epochs, or first in, first out.

    Rungs lie in the joint phase alone: scores of pre-training say nothing, and rungs that are powers of the epochs
    in all would be few and late.
    """
    scheduler = sweep.config.scheduler
    if scheduler.name == "none":
        return FIFOScheduler()
    max_epochs = joint_budget(sweep.base, sweep.config.search.space)
    return ASHAScheduler(
        time_attr="joint_epoch",
        metric=METRIC,
        mode="max",
        max_t=max_epochs,
        grace_period=min(scheduler.grace_epochs, max_epochs),
        reduction_factor=scheduler.reduction_factor,
    )


class ListSearcher(Searcher):
    """Proposes given specifications, in order."""

    def __init__(self, specs: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._specs = [dict(spec) for spec in specs]
        self._next = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # noqa: ARG002
        """Return the next specification, or that there is none."""
        if self._next == len(self._specs):
            return str(Searcher.FINISHED)
        self._next += 1
        return {"spec": self._specs[self._next - 1]}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing is learned here."""

    def save(self, checkpoint_path: str) -> None:
        """Write the position; Ray asks for it with every snapshot."""
        Path(checkpoint_path).write_text(str(self._next), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read the position."""
        self._next = int(Path(checkpoint_path).read_text(encoding="utf-8"))


def _fit(
    sweep: Sweep,
    *,
    trainable: type[Trial],
    searcher: Searcher,
    scheduler: TrialScheduler,
    num_trials: int,
    folder: Path,
    ledger: Ledger,
) -> None:
    resources = sweep.config.resources
    share = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, share),
        tune_config=ray_tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=num_trials,
            max_concurrent_trials=concurrency(resources, ray.cluster_resources()),
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=ray_tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent.resolve()),
            callbacks=[LedgerCallback(ledger)],
            failure_config=ray_tune.FailureConfig(max_failures=MAX_LOST_PROCESSES),
            checkpoint_config=ray_tune.CheckpointConfig(checkpoint_frequency=1, num_to_keep=1),
            verbose=0,
        ),
    )
    tuner.fit()


def _trial_name(trial: RayTrial) -> str:
    return str(trial.config["spec"]["name"])


def _connect(resources: ResourcesConfig, temporary: Path) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if resources.address is None:
        temporary.mkdir(parents=True, exist_ok=True)
        ray.init(address="local", _temp_dir=str(temporary), include_dashboard=False, **quiet)
        return
    try:
        ray.init(address=resources.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"`resources.address` must name a running Ray, but {resources.address!r} isn't one: {error}; "
            f"start one, or set it to null for a Ray of the sweep's own"
        ) from error


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
