"""A small engine with the public names of rocore: scores are functions of the configuration."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rocore.errors import CheckpointError, DivergedError
from tune.config import load_sweep

SPACE = {
    "loss.center_weight": {"distribution": "log_uniform", "low": 1e-4, "high": 0.1},
    "loss.pair_margin": {"distribution": "uniform", "low": 0.5, "high": 4.0},
    "encoder.output_layer": {"distribution": "integer", "low": 2, "high": 6},
}
PAPER = {"loss.center_weight": 0.005, "loss.pair_margin": 2.0, "encoder.output_layer": 4}


@dataclass
class FakeReport:
    epoch: int
    phase: str
    silhouette: float | None = None
    pseudo_label_change: float | None = None
    losses: dict = field(default_factory=lambda: {"pair": 1.0})
    seconds: dict = field(default_factory=dict)


class FakeTrainer:
    """Ends after its epochs; diverges where the margin is above 3.9; its score falls with the margin."""

    def __init__(self, config, task):
        self.config, self.task, self.epoch, self.closed = config, task, 0, False

    @property
    def total_epochs(self):
        return self.config.train.pretrain_epochs + self.config.train.max_epochs

    @property
    def finished(self):
        return self.epoch >= self.total_epochs

    @property
    def stop_reason(self):
        return "max_epochs" if self.finished else None

    @property
    def quality(self):
        return (5.0 - self.config.loss.pair_margin) / 5.0 * self.epoch / self.total_epochs

    def run_epoch(self):
        assert not self.finished
        self.epoch += 1
        if self.epoch <= self.config.train.pretrain_epochs:
            return FakeReport(self.epoch, "pretrain")
        if self.config.loss.pair_margin > 3.9:
            raise DivergedError("every loss must be finite, but pair is nan in epoch 2; lower it")
        return FakeReport(self.epoch, "joint", silhouette=self.quality, pseudo_label_change=0.5)

    def relation_repr(self, part):
        # Two groups that part as the epochs go by.
        assert part == "novel_test"
        points = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
        return points + torch.arange(20)[:, None] % 2 * float(self.epoch)

    def predict_novel(self, split):
        return SimpleNamespace(classes=torch.arange(20).numpy() % 3)

    def save(self, folder):
        (folder / "fake.json").write_text(json.dumps(self.epoch))

    def load(self, folder):
        if not (folder / "fake.json").exists():
            raise CheckpointError(f"{folder} must hold fake.json; use another")
        self.epoch = json.loads((folder / "fake.json").read_text())

    def close(self):
        self.closed = True


class LosingTrainer(FakeTrainer):
    """Loses its process once, after its first epoch, where the margin is `lost`."""

    lost = None

    def run_epoch(self):
        marker = Path(self.config.data.root) / "lost-once"
        if self.config.loss.pair_margin == self.lost and self.epoch == 1 and not marker.exists():
            marker.touch()
            os._exit(1)
        return super().run_epoch()


class FakeGold:
    """Every instance but the last has a relation."""

    def of(self, rows):
        return list(range(19)), [f"relation {row % 2}" for row in rows[:19]]


class FakeEvaluator:
    gold = FakeGold()
    novel_rows = {"test": list(range(20))}  # noqa: RUF012

    def score_novel(self, trainer, split="test"):
        # The last digit says which split and which fold was asked for.
        fold = trainer.config.data.pseudo_novel.fold if trainer.config.data.pseudo_novel else 0
        return {"b3_f1": trainer.quality - 0.1 * fold + (0.001 if split == "all" else 0.0)}

    def score_hidden(self, trainer, *, unified):
        return self.score_novel(trainer, "all")["b3_f1"] + (0.001 if unified else 0.0)

    def known_accuracy(self, trainer):
        return 0.5 + 0.1 * trainer.config.loss.pair_margin

    def evaluate(self, trainer):
        return {"novel_test.b3_f1": trainer.quality + 0.01 * trainer.config.seed}


class FakeEngine:
    """Stands for the module rocore."""

    gold = True

    def __init__(self):
        self.prepared = []

    def prepare(self, config, progress=None):
        self.prepared.append(config)
        return SimpleNamespace(
            task=SimpleNamespace(config=config),
            evaluator=FakeEvaluator() if self.gold or config.data.pseudo_novel else None,
        )

    def Trainer(self, config, task):  # noqa: N802
        return FakeTrainer(config, task)

    def save_run(self, folder, trainer, prepared):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        trainer.save(folder / "checkpoints")


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def losing_trainer():
    return LosingTrainer


@pytest.fixture
def make_trainable():
    """Return a function that makes the class of trials from that of a trainer; workers can't import tests."""
    from ray import cloudpickle

    from tune.trial import Trial

    def make(trainer):
        class Engine(FakeEngine):
            def Trainer(self, config, task):  # noqa: N802
                return trainer(config, task)

        class FakeTrial(Trial):
            def engine(self):
                return Engine()

        for module in (sys.modules.get(__name__), sys.modules.get(trainer.__module__)):
            if module is not None:
                cloudpickle.register_pickle_by_value(module)
        return FakeTrial

    return make


@pytest.fixture
def pass_time(monkeypatch):
    """Return a function that lets seconds pass, as `CheckpointTimes` counts them."""
    now = [0.0]
    monkeypatch.setattr("tune.checkpoints.time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait(seconds):
        now[0] += seconds

    return wait


@pytest.fixture
def sweep_file(tmp_path):
    """Return a function that writes a sweep file with changes to its tree and returns its path."""

    def write(**changes):
        tree = {
            "base": {"encoder": {"output_layer": 4}, "train": {"pretrain_epochs": 1, "max_epochs": 4}},
            "search": {"num_trials": 6, "space": SPACE},
            "paper": PAPER,
            "objective": {"num_relations": 4, "num_folds": 2},
            "scheduler": {"grace_epochs": 1, "reduction_factor": 2},
            "racing": {"num_candidates": 0},
            "reevaluation": {"top_k": 2, "num_seeds": 2},
        } | changes
        path = tmp_path / "small.yaml"
        path.write_text(json.dumps(tree))
        return path

    return write


@pytest.fixture
def make_sweep(sweep_file):
    """Return a function that makes a checked sweep."""
    return lambda overrides=None, **changes: load_sweep(sweep_file(**changes), overrides or {})


@pytest.fixture
def small_corpus():
    """Keys of real trainings that take a second: the built-in corpus, few epochs, one thread."""
    return {
        "data.format": "builtin",
        "data.builtin.num_known_relations": 6,
        "data.builtin.num_novel_relations": 3,
        "data.builtin.instances_per_relation": 8,
        "encoder.output_layer": 2,
        "train.max_epochs": 2,
        "train.num_threads": 1,
    }
