"""One whole sweep: prepare, search, re-evaluate, judge, report."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocore.config import dump_config
from rocore.errors import RocoreError
from tune import reevaluation
from tune.config import Sweep, Value
from tune.ledger import Ledger, Listener, SweepDirectory, TrialRecord
from tune.preparation import Facts, prepare_sweep
from tune.progress import Progress
from tune.results import results_tree, write_reports

if TYPE_CHECKING:
    from tune.trial import Trial

Echo = Callable[[str], None]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep ended with.

    Attributes:
        directory: The sweep directory.
        best_name: `paper` or `trial-N`.
        best_params: Its searched keys.
        objective: Its value of the search's objective.
        verdict: One honest sentence.
    """

    directory: Path
    best_name: str
    best_params: dict[str, Value]
    objective: float
    verdict: str


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    echo: Echo = lambda _text: None,
    trainable: "type[Trial] | None" = None,
    prepare: Callable[[Sweep], Facts] = prepare_sweep,
) -> SweepResult:
    """Run a sweep into a new directory.

    Args:
        sweep: What to do.
        out: The sweep directory; new or empty.
        echo: Told what begins.
        trainable: Runs the trials; None: `tune.trial.Trial`.
        prepare: Runs once, before any trial.

    Raises:
        ConfigError: If the directory is in use, or data or resources don't serve the sweep.
        RocoreError: If every trial failed.
    """
    from tune import ray_backend
    from tune.trial import Trial

    directory = SweepDirectory(out.resolve())
    directory.check_free()
    echo("preparing data, encoder and frozen trunks")
    facts = prepare(sweep)
    for warning in facts.warnings:
        echo(f"note: {warning}")
    directory.create()
    directory.write_text("config.yaml", dump_config(sweep.config))
    directory.write_json("environment.json", facts.environment)
    echo("starting Ray")
    with ray_backend.ray_session(sweep.config.resources, directory.root / "ray"):
        steps = _Steps(sweep, directory, facts, echo, trainable or Trial)
        steps.search()
        steps.reevaluate()
    return steps.conclude()


class _Steps:
    """The steps of one sweep, in their order; Ray is up for the first two."""

    def __init__(
        self, sweep: Sweep, directory: SweepDirectory, facts: Facts, echo: Echo, trainable: "type[Trial]"
    ) -> None:
        self.sweep, self.directory, self.facts = sweep, directory, facts
        self.echo, self.trainable = echo, trainable
        self.trials: list[TrialRecord] = []
        self.finals: list[TrialRecord] = []
        self.chosen: dict[str, dict[str, Value]] = {}
        self.search_facts: dict[str, Any] = {}

    def search(self) -> None:
        """Run the search and write what it found."""
        from tune import ray_backend
        from tune.optuna_searcher import write_study

        num_trials = self.sweep.config.search.num_trials
        self.echo(f"searching: {num_trials} trials")
        start = time.perf_counter()
        with Progress(f"{self.sweep.config.name}: search", num_trials) as progress:
            ledger = Ledger(self.directory, self._listeners(progress))
            searcher = ray_backend.search(self.sweep, self.directory.root / "ray", ledger, self.trainable)
        self.trials = ledger.of("search")
        self.search_facts = {"seconds": time.perf_counter() - start, "study_name": searcher.study.study_name}
        write_study(searcher, self.directory.root / "study.db")
        self._write_results()
        if not reevaluation.rank(self.trials):
            raise RocoreError(
                f"at least one trial must end well, but all {len(self.trials)} failed; see error.txt in "
                f"{self.directory.root / 'trials'}; the first one: {self.trials[0].error}"
            )

    def reevaluate(self) -> None:
        """Run the final comparison."""
        from tune import ray_backend

        self.chosen = reevaluation.finalists(
            self.trials, self.sweep.paper, self.sweep.config.reevaluation.top_k
        )
        specs = reevaluation.final_specs(self.sweep, self.chosen)
        self.echo(
            f"re-evaluating {', '.join(self.chosen)} over seeds {', '.join(map(str, self.sweep.final_seeds))}"
        )
        with Progress(f"{self.sweep.config.name}: final comparison", len(specs)) as progress:
            ledger = Ledger(self.directory, self._listeners(progress))
            ray_backend.run_all(self.sweep, specs, self.directory.root / "ray", ledger, self.trainable)
        self.finals = ledger.of("final")

    def conclude(self) -> SweepResult:
        """Judge and report."""
        best = reevaluation.rank(self.trials)[0]
        name = reevaluation.name_of(best, self.sweep.paper)
        final = reevaluation.summarize_final(self.chosen, self.finals)
        verdict = reevaluation.judge(name, self.finals)
        write_reports(self.directory.root, self._write_results(final=final, verdict=verdict))
        return SweepResult(
            directory=self.directory.root,
            best_name=name,
            best_params=best.params,
            objective=best.objective or 0.0,
            verdict=verdict["text"],
        )

    def _listeners(self, progress: Progress) -> tuple[Listener, ...]:
        from tune.curves import CurveLogger

        return (progress, CurveLogger(self.directory.root))

    def _write_results(
        self, final: list[dict[str, Any]] | None = None, verdict: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        results = results_tree(
            self.sweep, self.facts, trials=self.trials, **self.search_facts, final=final, verdict=verdict
        )
        self.directory.write_json("results.json", results)
        return results
