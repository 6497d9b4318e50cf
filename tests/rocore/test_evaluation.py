from dataclasses import dataclass, field

import numpy as np
import pytest

from rocore.data.instance import NovelGold
from rocore.evaluation import Evaluator, Prediction
from rocore.metrics import CLUSTERING_METRICS, clustering_metrics

GOLD = NovelGold(["x", None, "y", "x", None, "y", "x", "y"])
TRAIN, TEST = np.array([0, 1, 4, 5]), np.array([2, 3, 6, 7])
NUM_KNOWN = 3


@dataclass
class FakePredictor:
    """Answers with the classes that it was given, and notes what it was asked."""

    novel: dict[str, list[int]]
    unified: dict[str, list[int]] = field(default_factory=dict)
    incremental: bool = False
    num_known_relations: int = NUM_KNOWN
    asked: list[str] = field(default_factory=list)

    def predict_novel(self, split: str) -> Prediction:
        self.asked.append(f"novel {split}")
        return prediction(self.novel[split])

    def predict_unified(self, role: str) -> Prediction:
        self.asked.append(f"unified {role}")
        return prediction(self.unified[role])


def prediction(classes: list[int]) -> Prediction:
    return Prediction(np.array(classes), np.full(len(classes), 0.5, dtype=np.float32))


def evaluator(
    gold: NovelGold = GOLD, test: list[int] | None = None, known: list[int] | None = None
) -> Evaluator:
    rows = {"train": TRAIN, "test": TEST if test is None else np.array(test)}
    return Evaluator(gold=gold, novel_rows=rows, known_test_labels=np.array(known or [], dtype=np.int64))


def test_score_novel_test_split_compares_classes_with_gold_in_split_order() -> None:
    scores = evaluator().score_novel(FakePredictor({"test": [1, 0, 0, 1]}))
    assert scores == pytest.approx(dict.fromkeys(CLUSTERING_METRICS, 1.0))


def test_score_novel_rows_without_gold_are_left_out() -> None:
    """Rows 1 and 4 of the training split have no gold; whatever their classes are, nothing changes."""
    for absent in (0, 1, 7):
        scores = evaluator().score_novel(FakePredictor({"train": [0, absent, absent, 1]}), "train")
        assert scores == pytest.approx(dict.fromkeys(CLUSTERING_METRICS, 1.0))


def test_score_novel_all_joins_train_and_test() -> None:
    predictor = FakePredictor({"train": [0, 5, 5, 1], "test": [1, 0, 1, 1]})
    scores = evaluator().score_novel(predictor, "all")
    assert predictor.asked == ["novel train", "novel test"]
    assert scores == pytest.approx(clustering_metrics(list("xyyxxy"), [0, 1, 1, 0, 1, 1]))


def test_evaluate_standard_mode_reports_novel_test_alone() -> None:
    predictor = FakePredictor({"test": [0, 0, 1, 1]})
    metrics = evaluator(known=[0, 1]).evaluate(predictor)
    expected = clustering_metrics(list("yxxy"), [0, 0, 1, 1])
    assert metrics == pytest.approx({f"novel_test.{name}": value for name, value in expected.items()})
    assert predictor.asked == ["novel test"]


def test_evaluate_without_gold_in_the_test_split_is_empty() -> None:
    predictor = FakePredictor({})
    assert evaluator(test=[1, 4]).evaluate(predictor) == {}
    assert predictor.asked == []


def incremental(known: list[int], novel: list[int]) -> FakePredictor:
    return FakePredictor({"test": [0] * len(novel)}, {"known": known, "novel": novel}, incremental=True)


def test_evaluate_incremental_perfect_is_one_for_any_names_of_novel_clusters() -> None:
    metrics = evaluator(known=[0, 1, 2, 2]).evaluate(incremental([0, 1, 2, 2], [4, 3, 3, 4]))
    together = {f"all_test.{name}": 1.0 for name in CLUSTERING_METRICS}
    assert {name: metrics[name] for name in together} == pytest.approx(together)
    assert metrics["known_accuracy"] == metrics["novel_accuracy_hungarian"] == 1.0


def test_evaluate_incremental_renamed_known_classes_lose_accuracy_and_not_clusters() -> None:
    metrics = evaluator(known=[0, 1, 1, 1]).evaluate(incremental([1, 0, 0, 1], [4, 3, 3, 4]))
    assert metrics["known_accuracy"] == pytest.approx(0.25)
    swapped = evaluator(known=[0, 1, 1, 1]).evaluate(incremental([1, 0, 0, 0], [4, 3, 3, 4]))
    assert swapped["known_accuracy"] == 0.0
    assert swapped["all_test.b3_f1"] == pytest.approx(1.0)


def test_evaluate_incremental_known_and_novel_relation_in_one_class_are_different() -> None:
    """Known relation 0 and a novel relation that is named "0" stay two relations."""
    gold = NovelGold(["0", "0"])
    judge = Evaluator(
        gold=gold,
        novel_rows={"train": np.array([], dtype=np.int64), "test": np.array([0, 1])},
        known_test_labels=np.array([0, 0]),
    )
    metrics = judge.evaluate(incremental([0, 0], [0, 0]))
    assert metrics["all_test.b3_precision"] == pytest.approx(0.5)
    assert metrics["all_test.b3_recall"] == pytest.approx(1.0)
    assert metrics["known_accuracy"] == 1.0
    assert metrics["novel_accuracy_hungarian"] == 0.0


def test_evaluate_incremental_partial_gold_leaves_out_rows_of_both_classifiers() -> None:
    """Of rows 0, 1, 4, 5 only 0 (x) and 5 (y) carry gold."""
    judge = evaluator(test=[0, 1, 4, 5], known=[2])
    metrics = judge.evaluate(incremental([2], [NUM_KNOWN, 0, 0, NUM_KNOWN + 1]))
    assert metrics["novel_accuracy_hungarian"] == 1.0
    assert metrics["all_test.b3_f1"] == pytest.approx(1.0)


def test_evaluate_incremental_novel_instance_given_to_a_known_relation_is_wrong() -> None:
    metrics = evaluator(known=[0]).evaluate(incremental([0], [3, 4, 4, NUM_KNOWN - 1]))
    assert metrics["novel_accuracy_hungarian"] == pytest.approx(0.75)


def test_evaluate_incremental_without_known_test_instances_has_no_known_accuracy() -> None:
    metrics = evaluator().evaluate(incremental([], [4, 3, 3, 4]))
    assert "known_accuracy" not in metrics
    assert metrics["all_test.b3_f1"] == pytest.approx(1.0)


WHOLE = NovelGold(["x", "y", "y", "x", "x", "y", "x", "y"])


def test_score_hidden_where_all_carry_gold_is_the_b_cubed_f1_of_all() -> None:
    judge, predictor = evaluator(WHOLE), FakePredictor({"train": [0, 1, 1, 1], "test": [1, 0, 1, 1]})
    assert judge.score_hidden(predictor) == pytest.approx(judge.score_novel(predictor, "all")["b3_f1"])


def test_score_hidden_instances_without_gold_count_as_members_of_their_clusters() -> None:
    """Rows 1 and 4 have no gold: beside hidden ones they cost precision, in clusters of their own nothing."""
    apart = FakePredictor({"train": [0, 7, 8, 1], "test": [1, 0, 0, 1]})
    among = FakePredictor({"train": [0, 0, 0, 1], "test": [1, 0, 0, 1]})
    assert evaluator().score_hidden(apart) == pytest.approx(1.0)
    precision = (3 * 3 / 5 + 3) / 6
    assert evaluator().score_hidden(among) == pytest.approx(2 * precision / (precision + 1))


def test_score_hidden_unified_is_the_final_figure_where_all_carry_gold() -> None:
    judge, predictor = evaluator(WHOLE, known=[0, 1, 2, 2]), incremental([0, 1, 1, 2], [4, 3, 0, 4])
    expected = judge.evaluate(predictor)["all_test.b3_f1"]
    assert judge.score_hidden(predictor, unified=True) == pytest.approx(expected)


def test_score_hidden_unified_counts_instances_without_gold() -> None:
    """Of rows 0, 1, 4, 5 only 0 (x) and 5 (y) carry gold; 1 and 4 lie in the cluster of 5, or with the known one."""
    judge = evaluator(test=[0, 1, 4, 5], known=[2])
    apart = judge.score_hidden(incremental([2], [3, 5, 5, 4]), unified=True)
    among = judge.score_hidden(incremental([2], [3, 4, 2, 4]), unified=True)
    assert apart == pytest.approx(1.0)
    precision = (1 + 1 / 2 + 1 / 2) / 3
    assert among == pytest.approx(2 * precision / (precision + 1))
