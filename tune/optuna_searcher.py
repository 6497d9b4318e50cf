"""Imports Ray and Optuna: proposals by Optuna, which is told the truth about how trials end."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from tune.config import Dimension, Sweep
from tune.ledger import outcome
from tune.specification import search_spec

METRIC = "objective"


class TruthfulOptunaSearch(OptunaSearch):
    """Ray's Optuna searcher with the states that trials really end in.

    Ray's own tells Optuna that an early-stopped trial is complete, forgets its last value, and leaves a trial
    with a NaN running for ever. Here a trial is complete only if it reached its own end, pruned with its last
    value where the scheduler stopped it, and failed on any error.
    """

    def __init__(self, sweep: Sweep, study_name: str) -> None:
        # In memory: a database would run ahead of Ray's snapshots. `write_study` copies it to a file.
        self.study_storage = optuna.storages.InMemoryStorage()
        self.sweep = sweep
        self._reported: dict[str, set[int]] = {}
        super().__init__(
            space=distributions(sweep.config.search.space),
            metric=METRIC,
            mode="max",
            points_to_evaluate=[dict(sweep.paper)],
            sampler=make_sampler(sweep.config.search.searcher, sweep.config.seed),
            study_name=study_name,
            storage=self.study_storage,
        )

    @property
    def study(self) -> optuna.Study:
        """The study; its trial numbers are the sweep's."""
        study: optuna.Study = self._ot_study
        return study

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Propose the next configuration and return its trial's specification."""
        params = super().suggest(trial_id)
        trial = self._ot_trials[trial_id]
        trial.set_user_attr("tune_trial_id", trial_id)
        if trial.number == 0:
            trial.set_user_attr("is_paper", True)
        return {"spec": search_spec(self.sweep, trial.number, params)}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Pass an epoch's value on, once: an epoch that is trained again after a restart is known already."""
        epoch, value = result.get("epoch"), result.get(METRIC)
        reported = self._reported.setdefault(trial_id, set())
        if (
            result.get("failed")
            or epoch is None
            or value is None
            or not math.isfinite(value)
            or epoch in reported
        ):
            return
        reported.add(int(epoch))
        self._ot_trials[trial_id].report(float(value), int(epoch))

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended."""
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        trial, state = self._ot_trials[trial_id], outcome(result, error)
        if state == "failed":
            trial.set_user_attr("error", str((result or {}).get("error") or "the trial's process was lost"))
            self._ot_study.tell(trial, state=TrialState.FAIL)
            return
        assert result is not None
        # Ray doesn't call on_trial_result for the report that a trial ends with.
        self.on_trial_result(trial_id, result)
        if state == "complete":
            self._ot_study.tell(trial, float(result[METRIC]))
        else:
            self._ot_study.tell(trial, state=TrialState.PRUNED)


def distributions(space: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of a checked space."""
    return {key: _distribution(dimension) for key, dimension in space.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.distribution == "categorical":
        return CategoricalDistribution(dimension.choices or ())
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.distribution == "integer":
        return IntDistribution(int(dimension.low), int(dimension.high), step=int(dimension.step or 1))
    log = dimension.distribution == "log_uniform"
    return FloatDistribution(float(dimension.low), float(dimension.high), log=log, step=dimension.step)


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's sampler: TPE (over all keys jointly, random at first) or random."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def quiet_optuna() -> None:
    """Silence Optuna's log lines; warnings stay."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def write_study(searcher: TruthfulOptunaSearch, path: Path) -> None:
    """Copy the study to an SQLite file that optuna-dashboard opens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        optuna.copy_study(
            from_study_name=searcher.study.study_name,
            from_storage=searcher.study_storage,
            to_storage=f"sqlite:///{path}",
        )
