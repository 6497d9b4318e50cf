"""The only place where gold relations of novel instances are seen."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rocore.data.instance import NovelGold, Rows
from rocore.metrics import b_cubed, clustering_metrics, hungarian_accuracy


@dataclass(frozen=True)
class Prediction:
    """Classes and their probabilities, both (N,)."""

    classes: Rows
    probabilities: np.ndarray[tuple[int], np.dtype[np.float32]]


class Predictor(Protocol):
    """What an evaluator asks of a trainer."""

    num_known_relations: int
    incremental: bool

    def predict_novel(self, split: str) -> Prediction:
        """Classes of the novel classifier on novel instances of a split: train or test."""
        ...

    def predict_unified(self, role: str) -> Prediction:
        """Classes of the unified classifier on the known or the novel test split."""
        ...


@dataclass(frozen=True)
class Evaluator:
    """Compares predictions with gold, for the final report.

    Attributes:
        gold: By row of the novel pool.
        novel_rows: Rows of the novel pool by split: train, test.
        known_test_labels: Relation ids of the known test split, in its order.
    """

    gold: NovelGold
    novel_rows: dict[str, Rows]
    known_test_labels: Rows

    def score_novel(self, predictor: Predictor, split: str = "test") -> dict[str, float]:
        """Return the seven metrics on novel instances with gold; `split` is train, test or all."""
        gold: list[str] = []
        clusters: list[int] = []
        for part in ("train", "test") if split == "all" else (split,):
            positions, relations = self.gold.of(self.novel_rows[part])
            clusters += predictor.predict_novel(part).classes[positions].tolist()
            gold += relations
        return clustering_metrics(gold, clusters)

    def score_hidden(self, predictor: Predictor, *, unified: bool = False) -> float:
        """Return B-cubed F1 on the instances with gold; those without count as members of their clusters.

        Args:
            predictor: A trainer.
            unified: Known and novel test instances, by the unified classifier; else all novel ones, by the novel
                classifier.

        Raises:
            ValueError: If no instance carries gold.
        """
        if unified:
            rows, classes = self.novel_rows["test"], predictor.predict_unified("novel").classes
        else:
            rows = np.concatenate(list(self.novel_rows.values()))
            classes = np.concatenate([predictor.predict_novel(split).classes for split in self.novel_rows])
        positions, relations = self.gold.of(rows)
        gold, clusters = [f"novel {name}" for name in relations], classes[positions]
        if unified:
            gold += [f"known {label}" for label in self.known_test_labels]
            clusters = np.concatenate([clusters, predictor.predict_unified("known").classes])
        return b_cubed(gold, clusters, others=np.delete(classes, positions))[2]

    def evaluate(self, predictor: Predictor) -> dict[str, float]:
        """Return the metrics of the final report by dotted name.

        `novel_test.*`; in incremental mode also `all_test.*` (known and novel test together, unified classifier),
        `known_accuracy` (where there is a known test instance) and `novel_accuracy_hungarian`. Empty where no novel
        test instance carries gold.
        """
        positions, relations = self.gold.of(self.novel_rows["test"])
        if not relations:
            return {}
        metrics = {f"novel_test.{name}": value for name, value in self.score_novel(predictor).items()}
        if predictor.incremental:
            metrics |= self._evaluate_unified(predictor, positions, relations)
        return metrics

    def known_accuracy(self, predictor: Predictor) -> float | None:
        """Return the share of known test instances that the unified classifier gets right; None without any."""
        known = predictor.predict_unified("known").classes
        return float(np.mean(known == self.known_test_labels)) if len(known) else None

    def _evaluate_unified(
        self, predictor: Predictor, positions: Rows, relations: list[str]
    ) -> dict[str, float]:
        known = predictor.predict_unified("known").classes
        novel = predictor.predict_unified("novel").classes[positions]
        gold = [
            *(f"known {label}" for label in self.known_test_labels),
            *(f"novel {name}" for name in relations),
        ]
        together = clustering_metrics(gold, np.concatenate([known, novel]))
        metrics = {f"all_test.{name}": value for name, value in together.items()}
        accuracy = self.known_accuracy(predictor)
        if accuracy is not None:
            metrics["known_accuracy"] = accuracy
        novel_clusters = novel - predictor.num_known_relations
        return {**metrics, "novel_accuracy_hungarian": hungarian_accuracy(relations, novel_clusters)}
