"""Does the fast path end where the plain one does? Whole runs of both on a cut of FewRel, over seeds.

python -m benchmarks.equality [--data-root data/fewrel] [--seeds 3] [--first-seed 0]

The plain path is benchmarks/plain.py (whole encoder, padded, fp32, five passes a step) with the engine's own
hyper-parameters, data order and k-means. Its initial weights and its dropout come from another generator: the two
differ by seed noise at least. Both start from the same pretrained layer.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rocore
from benchmarks.plain import PlainTrainer, pad, tokenized_pools
from benchmarks.workload import CASES, Instances, Workload, write_cut
from rocore.clustering import kmeans
from rocore.losses import known_centroids
from rocore.training.steps import batches

RELATIONS = 10
"""Of each file."""
INSTANCES = 40
"""Of each relation."""
KEYS = {
    "train__pretrain_epochs": 10,
    "train__max_epochs": 10,
    "train__convergence_tolerance": 0.0,
    "train__batch_size": 50,
    "data__novel_test_size": 0.3,
}


class PlainRun(PlainTrainer):
    """A whole training by plain steps."""

    def run(self) -> None:
        """Pre-train g and d, then run the joint loop."""
        for epoch in range(self.config.train.pretrain_epochs):
            self._begin()
            for batch in batches(self.config, self.task, epoch):
                known, novel = self.task.known_train[batch.labeled], self.task.novel_train[batch.unlabeled]
                loss = self.clustering_loss(known, novel, self.labels[torch.from_numpy(batch.labeled)])
                self._update(self.optimizers[1], loss)
        centers = None
        for epoch in range(self.config.train.max_epochs):
            self._begin()
            points = self._repr(self.task.novel_train)
            found = kmeans(points, self.task.num_novel_relations, seed=epoch, start=centers, num_restarts=4)
            self.cluster_centers = centers = found.centroids
            for batch in batches(self.config, self.task, self.config.train.pretrain_epochs + epoch):
                self.step(batch.labeled, batch.unlabeled)

    @torch.no_grad()
    def predict(self, rows: Any) -> Any:
        """Classes of the novel classifier, without dropout."""
        self.encoder.eval()
        return self.novel_classifier(torch.cat([self.embed(part) for part in _parts(rows)])).argmax(1).numpy()

    def _begin(self) -> None:
        """Centroids of the epoch (5)."""
        points = self._repr(self.task.known_train)
        self.centroids = known_centroids(points, self.labels, self.task.num_known_relations)

    def _repr(self, rows: Any) -> torch.Tensor:
        layer = self.encoder.encoder.layer[self.config.encoder.output_layer - 1]
        layer.eval()
        found = torch.cat([self.relation_repr(part) for part in _parts(rows)])
        layer.train()
        return found


class Predictions:
    """What an evaluator asks of a trainer."""

    incremental = False

    def __init__(self, run: PlainRun) -> None:
        self._run = run
        self.num_known_relations = run.task.num_known_relations

    def predict_novel(self, split: str) -> rocore.Prediction:
        """Predict a split of the novel instances."""
        rows = self._run.task.novel_train if split == "train" else self._run.task.novel_test
        classes = self._run.predict(rows)
        return rocore.Prediction(classes, np.ones(len(classes), np.float32))

    def predict_unified(self, role: str) -> rocore.Prediction:
        """Not in standard mode."""
        raise NotImplementedError(role)


def _parts(rows: Any) -> list[Any]:
    return np.array_split(rows, max(1, len(rows) // 100))


def cut(relations: Instances) -> Instances:
    """Take the first instances of the first relations."""
    names = sorted(relations)[:RELATIONS]
    return {name: relations[name][:INSTANCES] for name in names}


def scores(prepared: rocore.Prepared, predictor: Any) -> dict[str, float]:
    """Return the metrics on all novel instances."""
    assert prepared.evaluator is not None
    return prepared.evaluator.score_novel(predictor, split="all")


def compare(config: rocore.Config) -> dict[str, dict[str, float]]:
    """Train both ways with one seed."""
    prepared = rocore.prepare(config)
    fast = rocore.Trainer(config, prepared.task)
    while not fast.finished:
        fast.run_epoch()
    torch.manual_seed(config.seed)
    plain = PlainRun(config, prepared.task, pad(tokenized_pools(prepared, config)))
    plain.run()
    return {"fast": scores(prepared, fast), "plain": scores(prepared, Predictions(plain))}


def main() -> int:
    """Print the metrics of every seed and their means and standard deviations."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.equality", description=__doc__)
    parser.add_argument("--data-root", default="data/fewrel")
    parser.add_argument("--cache-root")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"fast": [], "plain": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_cut(Path(arguments.data_root), Path(scratch) / "cut", cut)
        workload = Workload(str(folder), arguments.cache_root, scratch)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            for way, figures in compare(workload.config(CASES[0], seed=seed, **KEYS)).items():
                found[way].append(figures)
                named = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
                sys.stdout.write(f"seed {seed}  {way:5}  {named}\n")
                sys.stdout.flush()
    for way, runs in found.items():
        for name in ("b3_f1", "v_measure", "ari"):
            values = [run[name] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            sys.stdout.write(f"{way:5}  {name:10} {statistics.mean(values):.3f} +- {spread:.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
