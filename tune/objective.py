"""What a trial trains and what it reports each epoch; knows no Ray.

Gold relations of novel instances reach `OracleRun`, and `FinalRun`, whose numbers nobody selects by.
`PseudoNovelRun` scores relations that are hidden but known.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rocore.config import Config, override
from rocore.errors import CheckpointError, ConfigError
from tune.config import ObjectiveConfig
from tune.representations import FILE as REPRESENTATIONS
from tune.representations import Representations

if TYPE_CHECKING:
    from rocore import EpochReport, Evaluator, Prepared, Trainer, TrainingTask

FLOOR = 0.0
"""Objective before the joint phase, while the novel classifier is untrained."""
ORACLE_STAMP = "selected on novel gold labels"
HIDING = ("num_relations", "seed", "share", "instances_per_relation", "labeled_per_epoch", "read_novel")
"""Keys of the objective that are the hidden task's, too."""
ORACLE = "B-cubed F1 on the novel test split against its gold relations, the released program's way"


class Engine(Protocol):
    """What a run needs of `rocore`; tests bring their own."""

    @property
    def prepare(self) -> "Callable[[Config], Prepared]":
        """Loads data, encoder and trunk."""

    @property
    def save_run(self) -> "Callable[[Path, Trainer, Prepared], None]":
        """Writes a run directory."""

    @property
    def Trainer(self) -> "Callable[[Config, TrainingTask], Trainer]":  # noqa: N802
        """Builds a trainer."""


@dataclass(frozen=True)
class EpochScore:
    """One epoch of a run.

    Attributes:
        epoch: Epochs done, from 1.
        phase: "pretrain" or "joint"; with several folds, of the one that is behind.
        objective: The number that the search maximizes; FLOOR where it isn't defined yet.
        finished: Whether the run is over.
        scalars: For the curves: losses and label-free figures, means over folds.
        metrics: Final figures, in the last epoch of a re-evaluation.
        stop_reason: In the last epoch, why training ended: `converged`, or `max_epochs` where one of the folds did so.
    """

    epoch: int
    phase: str
    objective: float
    finished: bool
    scalars: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] | None = None
    stop_reason: str | None = None


class Run:
    """Trainers in lock-step, scored each epoch.

    Attributes:
        evaluators: One a trainer, where the run also measures the accuracy on known relations; else none.
    """

    def __init__(self, trainers: "Sequence[Trainer]", evaluators: "Sequence[Evaluator]" = ()) -> None:
        self.trainers, self.evaluators = list(trainers), list(evaluators)
        self.scores = [FLOOR] * len(self.trainers)

    @property
    def finished(self) -> bool:
        """Whether every trainer is."""
        return all(trainer.finished for trainer in self.trainers)

    def run_epoch(self) -> EpochScore:
        """Train one epoch of every trainer that isn't finished; finished ones keep their last score.

        Raises:
            DivergedError: If a loss isn't finite.
        """
        return self.score_epoch([(index, trainer.run_epoch()) for index, trainer in self.active()])

    def active(self) -> "list[tuple[int, Trainer]]":
        """Return the trainers that aren't finished, with their numbers."""
        return [(index, trainer) for index, trainer in enumerate(self.trainers) if not trainer.finished]

    def score_epoch(self, reports: "Sequence[tuple[int, EpochReport]]") -> EpochScore:
        """Score an epoch that every active trainer has run; `reports` come with the trainers' numbers."""
        for index, report in reports:
            self.scores[index] = FLOOR if report.phase == "pretrain" else self.score(index, report)
        plain = [report for _, report in reports]
        finished = self.finished
        return EpochScore(
            epoch=max(trainer.epoch for trainer in self.trainers),
            phase="pretrain" if any(report.phase == "pretrain" for report in plain) else "joint",
            objective=sum(self.scores) / len(self.scores),
            finished=finished,
            scalars=_mean_scalars(plain),
            metrics=self.final_metrics(plain) if finished else None,
            stop_reason=self._stop_reason() if finished else None,
        )

    def _stop_reason(self) -> str | None:
        reasons = [trainer.stop_reason for trainer in self.trainers]
        return next((reason for reason in reasons if reason != "converged"), "converged")

    def score(self, index: int, report: "EpochReport") -> float:
        """Return the score of one trainer after a joint epoch."""
        raise NotImplementedError

    def final_metrics(self, reports: "Sequence[EpochReport]") -> dict[str, float] | None:  # noqa: ARG002
        """Return the figures of the last epoch, where the run has any beyond its objective."""
        pairs = zip(self.evaluators, self.trainers, strict=False)
        accuracies = [evaluator.known_accuracy(trainer) for evaluator, trainer in pairs]
        known = [accuracy for accuracy in accuracies if accuracy is not None]
        if self.evaluators and not known:
            raise ConfigError(
                "`objective.second` known_accuracy needs known test instances, but there are none; raise "
                "`data.known_test_size`"
            )
        return {"known_accuracy": sum(known) / len(known)} if known else None

    def save(self, folder: Path) -> None:
        """Write every trainer and the scores."""
        for index, trainer in enumerate(self.trainers):
            target = folder / f"fold-{index}"
            target.mkdir(parents=True, exist_ok=True)
            trainer.save(target)
        (folder / "scores.json").write_text(json.dumps(self.scores), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            CheckpointError: If the folder is torn or belongs to another configuration.
        """
        try:
            scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder} must hold scores.json, but {error}; use an older checkpoint"
            ) from error
        for index, trainer in enumerate(self.trainers):
            trainer.load(folder / f"fold-{index}")
        self.scores = [float(score) for score in scores]

    def keep(self, folder: Path) -> None:
        """Write what is of use after the run's end: nothing of a search trial."""

    def close(self) -> None:
        """Free the memory of every trainer."""
        for trainer in self.trainers:
            trainer.close()


class PseudoNovelRun(Run):
    """One trainer a fold of hidden known relations, scored against their labels."""

    def __init__(self, config: Config, objective: ObjectiveConfig, engine: Engine) -> None:
        folds = [(fold, engine.prepare(fold)) for fold in pseudo_novel_configs(config, objective)]
        self._unified = scores_unified(config, objective)
        self._evaluators = [
            evaluator for _, prepared in folds if (evaluator := prepared.evaluator) is not None
        ]
        assert len(self._evaluators) == len(folds)
        super().__init__(
            [engine.Trainer(fold, prepared.task) for fold, prepared in folds],
            self._evaluators if objective.second == "known_accuracy" else (),
        )

    def score(self, index: int, report: "EpochReport") -> float:  # noqa: ARG002
        """B-cubed F1 on all hidden instances; by the unified classifier, on known and hidden test instances."""
        return float(self._evaluators[index].score_hidden(self.trainers[index], unified=self._unified))


class OracleRun(Run):
    """The released program's way: scored against the gold relations of the novel test split."""

    def __init__(self, trainer: "Trainer", evaluator: "Evaluator", objective: ObjectiveConfig) -> None:
        super().__init__([trainer], [evaluator] if objective.second == "known_accuracy" else ())
        self._evaluator = evaluator

    def score(self, index: int, report: "EpochReport") -> float:  # noqa: ARG002
        """B-cubed F1 on the novel test split."""
        return float(self._evaluator.score_novel(self.trainers[index], split="test")["b3_f1"])


class FinalRun(Run):
    """One seed of the final comparison: the real split, evaluated once, after the last epoch."""

    def __init__(self, config: Config, engine: Engine) -> None:
        self._engine, self._prepared = engine, engine.prepare(config)
        super().__init__([engine.Trainer(config, self._prepared.task)])
        self.representations = Representations()
        self.representations.take("start", self.trainers[0])

    def score_epoch(self, reports: "Sequence[tuple[int, EpochReport]]") -> EpochScore:
        """Score an epoch, and keep h' after pre-training and after training."""
        score, trainer = super().score_epoch(reports), self.trainers[0]
        if trainer.epoch == trainer.config.train.pretrain_epochs:
            self.representations.take("pretrained", trainer)
        if score.finished:
            self.representations.take("trained", trainer)
            self.representations.label(trainer, self._prepared.evaluator)
        return score

    def keep(self, folder: Path) -> None:
        """Write a run directory, for predictions and for export, and the representations."""
        self._engine.save_run(folder, self.trainers[0], self._prepared)
        self.representations.save(folder / REPRESENTATIONS)

    def score(self, index: int, report: "EpochReport") -> float:  # noqa: ARG002
        """Nobody selects by a re-evaluation: no score before its end."""
        return FLOOR

    def final_metrics(self, reports: "Sequence[EpochReport]") -> dict[str, float]:
        """Evaluate; without gold, the label-free figures of the last epoch."""
        if self._prepared.evaluator is not None:
            figures = self._prepared.evaluator.evaluate(self.trainers[0])
            return {name: float(value) for name, value in figures.items()}
        return label_free(reports[-1]) if reports else {}

    def save(self, folder: Path) -> None:
        """Write the trainer and the representations so far."""
        super().save(folder)
        self.representations.save(folder / REPRESENTATIONS)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        super().load(folder)
        self.representations = Representations.load(folder / REPRESENTATIONS)


def label_free(report: "EpochReport") -> dict[str, float]:
    """Return the figures of an epoch report that need no gold."""
    figures = {"silhouette": report.silhouette, "pseudo_label_change": report.pseudo_label_change}
    return {name: float(value) for name, value in figures.items() if value is not None}


def pseudo_novel_configs(config: Config, objective: ObjectiveConfig) -> list[Config]:
    """Return one configuration a fold; each hides other known relations."""
    changes: dict[str, Any] = {f"data.pseudo_novel.{key}": getattr(objective, key) for key in HIDING}
    if (config.data.novel_test_size or 0) >= 1:
        # A count is meant for the real novel instances; of the hidden ones it could leave none to train on.
        changes["data.novel_test_size"] = None
    return [
        override(config, {**changes, "data.pseudo_novel.fold": fold}) for fold in range(objective.num_folds)
    ]


def scores_unified(config: Config, objective: ObjectiveConfig) -> bool:
    """Tell whether the unified classifier is judged."""
    asked = objective.name == "pseudo_novel" and objective.incremental_score == "all_test"
    return asked and config.incremental.enabled


def search_run(config: Config, objective: ObjectiveConfig, engine: Engine) -> Run:
    """Build the run of a search trial.

    Raises:
        ConfigError: If the oracle is asked for and the novel instances carry no gold.
    """
    if objective.name == "pseudo_novel":
        return PseudoNovelRun(config, objective, engine)
    prepared = engine.prepare(config)
    if prepared.evaluator is None:
        raise ConfigError(
            "objective `oracle` needs gold novel relations, but there are none; use pseudo_novel"
        )
    return OracleRun(engine.Trainer(config, prepared.task), prepared.evaluator, objective)


def final_run(config: Config, engine: Engine) -> FinalRun:
    """Build one run of the final comparison, on the real split."""
    return FinalRun(config, engine)


def describe(config: Config, objective: ObjectiveConfig) -> dict[str, Any]:
    """Return what the report says about an objective; `final_metric` is the same measure on the real split."""
    group = "all_test" if scores_unified(config, objective) else "novel_test"
    return {
        **objective.model_dump(mode="json", exclude={"seed"}),
        "description": ORACLE if objective.name == "oracle" else _describe_hidden(objective, group),
        "stamp": ORACLE_STAMP if objective.name == "oracle" else None,
        "final_metric": f"{group}.b3_f1",
    }


def _describe_hidden(objective: ObjectiveConfig, group: str) -> str:
    scored, read = "hidden known relations", "relations of novel instances are never read"
    if group == "all_test":
        scored = "test instances of known and of hidden known relations together (unified classifier)"
    if objective.read_novel:
        read = f"trained beside as many real novel sentences; {read}"
    folds = f"mean over {objective.num_folds} fold(s) of {objective.num_relations} relations"
    return f"B-cubed F1 on {scored}, {folds}; {read}"


def _mean_scalars(reports: "Sequence[EpochReport]") -> dict[str, float]:
    gathered: dict[str, list[float]] = {}
    for report in reports:
        named = {f"loss/{name}": float(value) for name, value in report.losses.items()}
        for name, value in {**named, **label_free(report)}.items():
            gathered.setdefault(name, []).append(value)
    return {name: sum(figures) / len(figures) for name, figures in gathered.items()}
