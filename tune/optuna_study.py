"""Imports Optuna: proposals, from a study that is told the truth about how trials end; knows no Ray."""

import logging
import math
import sqlite3
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from rocore.errors import CheckpointError
from tune.config import Dimension, Sweep, Value
from tune.records import Learned, TrialRecord
from tune.space import is_inside
from tune.startup import startup_point
from tune.trade_off import directions, values

STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

NUM_STARTUP = 10
"""Optuna's own number for both samplers: until as many trials have ended they draw at random."""
MIRROR_SHARE = 0.1
"""Of a sweep's time, for study.db."""
MIRROR_SLICE_S = 0.5
"""How long the sweep waits for study.db at most."""


class Study:
    """The study of a sweep, in memory: a function of the ledger's records, whose listener it is.

    A proposal is a function of the seed, the number of the trial and the trials so far, so that a resumed sweep
    proposes what the uninterrupted one would have.
    """

    def __init__(
        self,
        sweep: Sweep,
        name: str,
        records: Sequence[TrialRecord] = (),
        learned: Sequence[Learned] = (),
    ) -> None:
        """Rebuild the study from the sweep's records and from what it learned of others, in the order that it had.

        Raises:
            CheckpointError: If the records miss a number.
        """
        self.sweep = sweep
        self.distributions = distributions(sweep.config.search.space)
        self._objective = sweep.config.objective
        self.optuna = optuna.create_study(directions=directions(self._objective), study_name=name)
        self._positions: list[int | None] = []
        """Where the sweep's own trials are in Optuna's study, by number; None: outside the space as it is now."""
        waiting = deque(learned)
        for number, record in enumerate(records):
            while waiting and waiting[0].before <= number:
                self.learn(waiting.popleft())
            if record.number != number:
                raise CheckpointError(
                    f"trial {number} must be in the journal, but isn't; start the sweep anew"
                )
            self._restore(record)
        for found in waiting:
            self.learn(found)

    def _restore(self, record: TrialRecord) -> None:
        """Take in a trial, unless an extension has made the space narrower since.

        Optuna takes one range for a key, and its samplers expect all values in it.
        """
        if not is_inside(record.params, self.sweep.config.search.space):
            self._positions.append(None)
            return
        self._positions.append(len(self.optuna.get_trials(deepcopy=False)))
        self.optuna.add_trial(self.frozen(record))

    def learn(self, found: Learned) -> None:
        """Take in a trial of another sweep."""
        self.optuna.add_trial(self.frozen(found.record, sweep=found.sweep, trial=found.record.name))

    def propose(self, params: Mapping[str, Value] | None = None) -> tuple[int, dict[str, Value]]:
        """Return the number and the parameters of a new trial; the first one is the paper's.

        Args:
            params: A point of the user's own; None: the searcher's.
        """
        number = len(self._positions)
        config = self.sweep.config
        given = self.sweep.paper if number == 0 else params
        if given is None and self._is_starting_evenly:
            given = startup_point(config.search.space, config.seed, number)
        if given is not None:
            self.optuna.enqueue_trial(dict(given))
        self.optuna.sampler = make_sampler(
            config.search.searcher, seed_of(config.seed, number), self.distributions
        )
        trial = self.optuna.ask(self.distributions)
        self._positions.append(trial.number)
        return number, dict(trial.params)

    def started(self, record: TrialRecord) -> None:
        """A trial runs already, as far as the study is concerned."""

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:  # noqa: ARG002
        """Report the newest epoch of a search trial."""
        if record.role == "search" and record.objective is not None and self._has_curves:
            trial = self._trial(record)
            if trial is not None:
                trial.report(record.objective, record.epochs)

    def ended(self, record: TrialRecord) -> None:
        """Tell how a search trial ended: pruned with its last value, failed with its cause."""
        if record.role != "search":
            return
        trial = self._trial(record)
        if trial is None:
            return
        if record.error is not None:
            trial.set_user_attr("error", record.error)
        self.optuna.tell(trial, values(record, self._objective), state=STATES[record.state])

    def frozen(self, record: TrialRecord, **attributes: str | bool) -> FrozenTrial:
        """Return a record as the study's trial."""
        if record.is_paper:
            attributes["is_paper"] = True
        if record.added is not None:
            attributes["is_added"] = True
        return create_trial(
            state=STATES[record.state],
            values=self._values(record),
            params=record.params,
            distributions=self.distributions,
            intermediate_values={row["epoch"]: row["objective"] for row in record.curve if self._has_curves},
            user_attrs=attributes | ({"error": record.error} if record.state == "failed" else {}),
        )

    @property
    def _is_starting_evenly(self) -> bool:
        """Whether points are spread evenly, as Optuna would still draw at random."""
        search = self.sweep.config.search
        if search.startup == "random" or search.searcher == "random":
            return False
        states = (
            (TrialState.COMPLETE,) if search.searcher == "gp" else (TrialState.COMPLETE, TrialState.PRUNED)
        )
        return len(self.optuna.get_trials(deepcopy=False, states=states)) < NUM_STARTUP

    @property
    def _has_curves(self) -> bool:
        """Whether Optuna takes values of epochs: not where there are two objectives."""
        return self._objective.second is None

    def _values(self, record: TrialRecord) -> list[float] | None:
        """Return what Optuna keeps of a trial that has ended; of a stopped one, it makes its last epoch's value."""
        if record.state == "pruned" and self._has_curves and record.objective is not None:
            return [record.objective]
        return values(record, self._objective)

    def _trial(self, record: TrialRecord) -> optuna.Trial | None:
        position = self._positions[record.number]
        if position is None:
            return None
        frozen = self.optuna.get_trials(deepcopy=False)[position]
        return optuna.Trial(self.optuna, frozen._trial_id)


class StudyMirror:
    """Keeps study.db up to date while a sweep runs, for optuna-dashboard; the journal stays the truth.

    It takes at most a tenth of the sweep's time: what doesn't fit in, as in a long sweep that has just been resumed,
    comes later, at the latest at the end.
    """

    def __init__(self, study: Study, path: Path) -> None:
        """Write the file anew: what a killed sweep left there may be torn."""
        self.study = study
        path.unlink(missing_ok=True)
        Path(f"{path}-journal").unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
            self._storage = optuna.storages.RDBStorage(
                f"sqlite:///{path}", engine_kwargs={"creator": partial(_connect, path)}
            )
        source = study.optuna
        self._id = self._storage.create_new_study(source.directions, source.study_name)
        self._open: dict[int, tuple[int, int]] = {}
        """Trials that run: their id in the file, and how many epochs of theirs it holds."""
        self._num_known = 0
        self._not_before = -math.inf
        self._follow()

    def sync(self, seconds: float = math.inf) -> None:
        """Bring the file up to the study, as far as the time suffices: new trials, new epochs, ends."""
        end = time.monotonic() + seconds
        trials = self.study.optuna.get_trials(deepcopy=False)
        for number in list(self._open):
            if time.monotonic() < end:
                self._update(trials[number])
        for trial in trials[self._num_known :]:
            if time.monotonic() >= end:
                break
            copy = self._storage.create_new_trial(self._id, template_trial=trial)
            if not trial.state.is_finished():
                self._open[trial.number] = (copy, len(trial.intermediate_values))
            self._num_known += 1

    def _follow(self) -> None:
        begin = time.monotonic()
        if begin >= self._not_before:
            self.sync(MIRROR_SLICE_S)
            end = time.monotonic()
            self._not_before = end + (end - begin) * (1 / MIRROR_SHARE - 1)

    def _update(self, trial: FrozenTrial) -> None:
        copy, num_known = self._open[trial.number]
        for epoch, value in list(trial.intermediate_values.items())[num_known:]:
            self._storage.set_trial_intermediate_value(copy, epoch, value)
        self._open[trial.number] = (copy, len(trial.intermediate_values))
        if trial.state.is_finished():
            for name, text in trial.user_attrs.items():
                self._storage.set_trial_user_attr(copy, name, text)
            self._storage.set_trial_state_values(copy, trial.state, trial.values)
            del self._open[trial.number]

    def started(self, record: TrialRecord) -> None:
        """Show that a trial runs."""
        if record.role == "search":
            self._follow()

    def advanced(self, record: TrialRecord, scalars: Mapping[str, float]) -> None:  # noqa: ARG002
        """Show an epoch."""
        if record.role == "search":
            self._follow()

    def ended(self, record: TrialRecord) -> None:
        """Show how a trial ended."""
        if record.role == "search":
            self._follow()

    def close(self) -> None:
        """Bring the file up to the study a last time, and let go of it."""
        self.sync()
        self._storage.remove_session()
        self._storage.engine.dispose()


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database that needn't outlive a power cut: it is written anew at every start."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA synchronous=OFF")
    return connection


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


class KnownSpaceTPE(optuna.samplers.TPESampler):
    """TPE that is told the space, where Optuna's own finds it out from all trials so far, at every proposal."""

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed)
        # In Optuna's order, on which the draws depend.
        self._space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return what is drawn jointly: everything, for one objective."""
        if len(study.directions) > 1:
            return super().infer_relative_search_space(study, trial)
        return self._space


def make_sampler(name: str, seed: int, space: Mapping[str, BaseDistribution]) -> optuna.samplers.BaseSampler:
    """Return Optuna's sampler: TPE (over all keys jointly) or a Gaussian process, both random at first, or random."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return KnownSpaceTPE(space, seed)


def seed_of(seed: int, number: int) -> int:
    """Return the sampler's seed for a trial."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def quiet_optuna() -> None:
    """Silence Optuna's log lines; warnings stay, but for one that says that its optimizer isn't the fastest."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)
