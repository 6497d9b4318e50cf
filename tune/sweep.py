"""One whole sweep: prepare, search, re-evaluate, judge, report; new, resumed or extended."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocore.errors import SweepError
from tune import limits, racing, reevaluation
from tune.config import Sweep, Value, load_sweep
from tune.decision import Decision, compared_configurations, decide, decide_without_race, describe_decision
from tune.interruption import stoppable
from tune.ledger import Ledger, Listener
from tune.preparation import Facts, prepare_sweep, trunk_needs
from tune.progress import Progress
from tune.records import TrialRecord
from tune.remote.sweep import RemoteSweep, opened
from tune.results import results_tree, write_reports
from tune.resumption import check_unchanged, find_config, load_begun, load_extended
from tune.retention import Retention
from tune.session import Echo, begun_precision, prepare_once, run_steps, write_begin
from tune.space import space_tree
from tune.sweep_directory import CONFIG, STUDY, SweepDirectory
from tune.verdict import judge

if TYPE_CHECKING:
    from tune.trial import Trial


@dataclass(frozen=True)
class SweepResult:
    """What a sweep ended with.

    Attributes:
        directory: The sweep directory, or the copy here of one on an object store.
        place: How users name it: its path or URL.
        best_name: `paper` or `trial-N`.
        best_params: Its searched keys.
        objective: Its value of the search's objective in the search; 0 where it failed there.
        verdict: One honest sentence.
    """

    directory: Path
    place: str
    best_name: str
    best_params: dict[str, Value]
    objective: float
    verdict: str


def run_sweep(
    sweep: Sweep,
    out: Path | str,
    *,
    echo: Echo = lambda _text: None,
    trainable: "type[Trial] | None" = None,
    prepare: Callable[[Sweep], Facts] = prepare_sweep,
) -> SweepResult:
    """Run a sweep into a new directory.

    Args:
        sweep: What to do.
        out: The sweep directory, or its URL; new or empty.
        echo: Told what begins.
        trainable: Runs the trials; None: `tune.trial.Trial`.
        prepare: Runs once, before any trial.

    Raises:
        ConfigError: If the directory is in use, or data or resources don't serve the sweep.
        SweepError: If every trial failed.
        SweepInterrupted: If it was stopped.
        DiskFullError: If no space is left.
    """
    with opened(out) as (directory, remote):
        directory.check_free()
        facts = _prepare(sweep, prepare, echo)
        directory.create()
        return _run(sweep, directory, remote, facts, echo, trainable)


def resume_sweep(
    out: Path | str,
    *,
    num_more: int = 0,
    space: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    echo: Echo = lambda _text: None,
    trainable: "type[Trial] | None" = None,
    prepare: Callable[[Sweep], Facts] = prepare_sweep,
) -> SweepResult:
    """Go on with the sweep of a directory: what ended stays, what was cut off goes on, what is missing comes.

    Args:
        out: The sweep directory, or its URL.
        num_more: Trials to add to the search; the final comparison is brought up to date.
        space: Dimensions that those are drawn from, by searched key; the others stay as they are.
        overrides: Dotted keys that say anew where and with what trials run, or how long the search may be; kept from
            then on.
        echo: Told what begins.
        trainable: Runs the trials; None: `tune.trial.Trial`.
        prepare: Runs once, before any trial.

    Raises:
        CheckpointError: If the directory holds no sweep, its journal is corrupt, or data or encoder have changed.
        ConfigError: If an override would change what trials compute.
        RocoreError: Like `run_sweep`.
    """
    with opened(out) as (directory, remote):
        path = find_config(directory)
        if num_more:
            sweep = load_extended(path, num_more, space or {}, overrides or {})
        else:
            sweep = load_begun(path, overrides or {})
        settled = sweep.in_precision(begun_precision(directory.root))
        return _run(sweep, directory, remote, _prepare(settled, prepare, echo), echo, trainable)


def _prepare(sweep: Sweep, prepare: Callable[[Sweep], Facts], echo: Echo) -> Facts:
    resources = sweep.config.resources
    what = "data, encoder and frozen trunks" if resources.address is None else "data and encoder"
    return prepare_once(resources, lambda: prepare(sweep), what, echo)


def _run(
    sweep: Sweep,
    directory: SweepDirectory,
    remote: RemoteSweep | None,
    facts: Facts,
    echo: Echo,
    trainable: "type[Trial] | None",
) -> SweepResult:
    from tune.trial import Trial

    sink = None if remote is None else remote.sink
    with Ledger(directory, sink=sink) as ledger, stoppable():
        steps = _Steps(sweep, directory, facts, echo, trainable or Trial, ledger)
        steps.first_listeners = () if remote is None else (remote,)
        return run_steps(steps, ledger, sweep.config.resources, echo)


class _Steps:
    """The steps of one sweep; see `tune.session.Steps`."""

    def __init__(
        self,
        sweep: Sweep,
        directory: SweepDirectory,
        facts: Facts,
        echo: Echo,
        trainable: "type[Trial]",
        ledger: Ledger,
    ) -> None:
        self.sweep, self.directory, self.facts = sweep, directory, facts
        self.echo, self.trainable, self.ledger = echo, trainable, ledger
        self.candidates: dict[str, dict[str, Value]] = {}
        self.chosen: dict[str, dict[str, Value]] = {}
        self.decision: Decision | None = None
        self.first_listeners: tuple[Listener, ...] = ()

    @property
    def trials(self) -> list[TrialRecord]:
        """The trials of the search that have ended."""
        return [record for record in self.ledger.of("search") if not record.is_running]

    @property
    def races(self) -> list[TrialRecord]:
        """The runs of the race that have ended."""
        return [record for record in self.ledger.of("race") if not record.is_running]

    @property
    def finals(self) -> list[TrialRecord]:
        """The runs of the final comparison that have ended, of the configurations that are in it."""
        names = {spec["name"] for spec in reevaluation.final_specs(self.sweep, self.chosen)}
        return [r for r in self.ledger.of("final") if r.name in names and not r.is_running]

    def begin(self) -> None:
        """Write down what the sweep is, or check that it is still the same.

        Raises:
            ConfigError: If data or encoder have changed since the sweep began.
        """
        same = {
            "fingerprints": self.facts.environment.get("fingerprints", {}),
            "files": self.facts.data.get("files", {}),
        }
        study = f"{self.sweep.config.name}-{uuid.uuid4().hex[:8]}"
        if self.ledger.records:
            check_unchanged(self.ledger, same)
            # In the journal before config.yaml: proposals so far were made in the space that stood there.
            before = load_sweep(self.directory.root / CONFIG).config.search.space
            self.ledger.change_space(space_tree(before), space_tree(self.sweep.config.search.space))
        write_begin(self.ledger, self.sweep.config, self.facts.environment, same, study=study)

    def settle(self) -> None:
        """Have the nodes of a cluster build frozen trunks, and settle the precision that all trials compute in."""
        from tune.ray_trunks import build_trunks

        precision = self.ledger.state.precision or self.facts.precision
        if self.facts.on_nodes and not self._is_over():
            precision = build_trunks(trunk_needs(self.sweep.in_precision(precision)), self.echo)
        if precision is not None:
            self.ledger.settle(precision)
            self.facts = replace(self.facts, encoder={**self.facts.encoder, "precision": precision})

    @property
    def given(self) -> Sweep:
        """The sweep as trials are given it, its precision settled; reports and exports keep the user's."""
        return self.sweep.in_precision(self.ledger.state.precision)

    def train(self) -> None:
        """Search, race and compare."""
        self.search()
        self.race()
        self.reevaluate()

    def search(self) -> None:
        """Run the search and write what it found.

        Raises:
            SweepError: If no trial ended well.
        """
        from tune import ray_backend
        from tune.optuna_study import Study, StudyMirror
        from tune.others import Others

        state, rules = self.ledger.state, self.sweep.config.search
        num_trials = limits.num_search_trials(rules, state)
        self.echo(f"searching: {num_trials} trials{self._done(self.trials)}")
        study = Study(self.sweep, state.begin["study"], self.ledger.of("search"), state.learned)
        others = Others(
            self.sweep, self.directory.place, self.facts.environment.get("fingerprints", {}), state.learned
        )
        mirror = StudyMirror(study, self.directory.root / STUDY)
        with Progress(f"{self.sweep.config.name}: search", num_trials) as progress:
            self._listen(progress, self.trials, study, mirror)
            ray_backend.search(self.given, self.ledger, study, others, self.trainable)
        mirror.close()
        if (reached := limits.ended_by(rules, state)) is not None:
            self.echo(f"the search has ended after {len(self.trials)} trials: {limits.describe(reached)}")
        results = self._write_results("searched")
        if not reevaluation.rank(self.trials):
            write_reports(self.directory.root, results)
            raise SweepError(
                f"at least one trial must end well, but all {len(self.trials)} failed; see error.txt in "
                f"{self.directory.root / 'trials'}; the first one: {self.trials[0].error}"
            )

    def race(self) -> None:
        """Decide what the sweep stands for, by a race where it has one, and what the final comparison measures."""
        from tune import ray_backend

        rules, top_k = self.sweep.config.racing, self.sweep.config.reevaluation.top_k
        candidates = reevaluation.candidates(self.trials, self.sweep.paper, rules.num_candidates or top_k)
        if len(candidates) < 2 or not rules.num_candidates:
            self.decision = decide_without_race(self.trials, self.sweep.paper)
            self.chosen = compared_configurations(self.decision, list(candidates), candidates, top_k)
            return
        self.candidates = candidates
        self.echo(f"racing {', '.join(candidates)} over up to {rules.num_pairs} splits and seeds")
        with Progress(f"{self.sweep.config.name}: race", len(candidates) * rules.num_pairs) as progress:
            for record in self.races:
                progress.restored(record)
            self.ledger.listeners = (*self.first_listeners, progress)
            where = racing.run_race(
                self.given,
                candidates,
                lambda specs: ray_backend.run_all(self.given, specs, self.ledger, self.trainable),
                lambda: self.races,
            )
        scores = racing.scores_of(list(candidates), racing.race_pairs(self.sweep), self.races)
        self.decision = decide(where, scores, rules.alpha)
        self.chosen = compared_configurations(self.decision, where.survivors, candidates, top_k)
        self._write_results("searched")

    def reevaluate(self) -> None:
        """Run the final comparison."""
        from tune import ray_backend

        specs = reevaluation.final_specs(self.given, self.chosen)
        seeds = ", ".join(map(str, self.sweep.final_seeds))
        self.echo(f"re-evaluating {', '.join(self.chosen)} over seeds {seeds}{self._done(self.finals)}")
        with Progress(f"{self.sweep.config.name}: final comparison", len(specs)) as progress:
            self._listen(progress, self.finals)
            ray_backend.run_all(self.given, specs, self.ledger, self.trainable)

    def conclude(self) -> SweepResult:
        """Judge and report."""
        assert self.decision is not None
        name, params = self.decision.choice, self.chosen[self.decision.choice]
        objectives = {
            reevaluation.name_of(record, self.sweep.paper): record.objective
            for record in reevaluation.rank(self.trials)
        }
        verdict = judge(self.decision, list(self.chosen), self.finals)
        write_reports(self.directory.root, self._write_results("complete", verdict))
        return SweepResult(
            directory=self.directory.root,
            place=self.directory.place,
            best_name=name,
            best_params=params,
            objective=objectives.get(name) or 0.0,
            verdict=verdict["text"],
        )

    def write_partial(self) -> None:
        """Report what is known, where anything has ended."""
        if self.trials:
            write_reports(self.directory.root, self._write_results("interrupted"))

    def _is_over(self) -> bool:
        """Tell whether there is nothing left to train: no node need be waited for."""
        results = self.directory.root / "results.json"
        num_trials = limits.num_search_trials(self.sweep.config.search, self.ledger.state)
        if not results.is_file() or len(self.trials) < num_trials:
            return False
        return bool(json.loads(results.read_text(encoding="utf-8"))["status"] == "complete")

    def _race(self) -> dict[str, Any]:
        return racing.describe_race(self.sweep, self.candidates, self.races)

    def _listen(self, progress: Progress, ended: list[TrialRecord], *others: Listener) -> None:
        from tune.curves import CurveLogger

        for record in ended:
            progress.restored(record)
        retention = Retention(self.ledger, list(self.chosen)[: self.sweep.config.retention.keep_best])
        if self.chosen:
            retention.thin()
        # Those who decide come before those who show.
        curves = CurveLogger(self.directory.root)
        self.ledger.listeners = (*self.first_listeners, *others, retention, progress, curves)

    def _done(self, records: list[TrialRecord]) -> str:
        return f", {len(records)} of them done" if records else ""

    def _write_results(self, status: str, verdict: Mapping[str, Any] | None = None) -> dict[str, Any]:
        race = self._race() if self.candidates else None
        results = results_tree(
            self.sweep,
            self.facts,
            status=status,
            trials=self.trials,
            records=self.ledger.state,
            race=race,
            decision=None if self.decision is None else describe_decision(self.decision),
            final=reevaluation.summarize_final(self.chosen, self.finals),
            verdict=verdict,
        )
        self.directory.write_json("results.json", results)
        return results
