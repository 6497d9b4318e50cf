"""Algorithm 1, one epoch a call.

A joint epoch starts from the features h of every instance under the current layer r. They serve the centroids (5), the
pseudo labels (7) and the evaluation of the epoch before, so layer r runs over the data once for all three.
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rocore.clustering import kmeans, sample_silhouette
from rocore.config import Config
from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.tokens import AnyBatch
from rocore.encoder.trunk import batches_by_length
from rocore.errors import CheckpointError, DivergedError
from rocore.evaluation import Prediction
from rocore.losses import known_centroids
from rocore.model import RoCORE
from rocore.training.optimizer import flatten_adam, make_adam, restore_adam
from rocore.training.order import derive_seed
from rocore.training.resident_steps import RECORDING, ResidentSteps, let_go, run_resident_steps
from rocore.training.state import CLUSTERS, MODEL, OPTIMIZER, load_state, on_cpu, save_state
from rocore.training.steps import JointPlan, Plan, PretrainPlan, run_steps
from rocore.training.task import TrainingTask

FEATURE_BATCH_TOKENS = 7168
FEATURE_BATCH_QUERIES = 32768
"""On an accelerator: enough to fill it."""
FIRST_RESTARTS = 10


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did; nothing here comes from gold.

    Attributes:
        epoch: From 1, pre-training included.
        phase: `pretrain` or `joint`.
        losses: Mean over the steps, by name.
        pseudo_label_change: Share of unlabeled training instances whose pseudo label differs from the epoch before;
            None before there are two.
        silhouette: Of h' under the pseudo labels, on a fixed sample; None in pre-training.
        seconds: Time by part of the epoch.
    """

    epoch: int
    phase: str
    losses: dict[str, float]
    pseudo_label_change: float | None
    silhouette: float | None
    seconds: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Runs pre-training and the joint loop on a task, resumable after every epoch."""

    def __init__(self, config: Config, task: TrainingTask) -> None:
        """Draw the initial weights from the configuration's seed."""
        self.config = config
        self.task = task
        self.epoch = 0
        self.incremental = config.incremental.enabled
        self.num_known_relations = task.num_known_relations
        with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
            torch.manual_seed(derive_seed(config.seed, "weights"))
            self.model = RoCORE(
                OutputLayer(task.encoder, config.encoder.output_layer, config.train.dropout),
                config.model,
                num_known_relations=task.num_known_relations,
                num_novel_relations=task.num_novel_relations,
                incremental=self.incremental,
                precision=task.precision,
            ).to(task.device)
        self._names: dict[Tensor, str] = {
            parameter: name for name, parameter in self.model.named_parameters()
        }
        self.optimizer = make_adam(self.model, config)
        self._labels = torch.from_numpy(task.known_train_labels).to(task.device)
        self._rows = task.rows
        ends = np.cumsum(
            [len(task.known_train), len(task.novel_train), len(task.known_test), len(task.novel_test)]
        )
        self._parts = {
            name: slice(int(start), int(end))
            for name, start, end in zip(
                ("known_train", "novel_train", "known_test", "novel_test"), [0, *ends[:-1]], ends, strict=True
            )
        }
        self.resident_steps: ResidentSteps | None = None
        """Of the pack that this one is a member of, on an accelerator."""
        self._resident_features: list[tuple[Tensor, AnyBatch]] | None = None
        self._features: Tensor | None = None
        self._centroids: Tensor | None = None
        self._pseudo_labels: Tensor | None = None
        self._change: float | None = None
        self._silhouette: float | None = None
        self._unchanged_epochs = 0
        self._seconds: dict[str, float] = {}

    @property
    def total_epochs(self) -> int:
        """Pre-training and joint epochs, at most."""
        return self.config.train.pretrain_epochs + self.config.train.max_epochs

    @property
    def joint_epoch(self) -> int:
        """Joint epochs done."""
        return max(0, self.epoch - self.config.train.pretrain_epochs)

    @property
    def joint(self) -> bool:
        """Whether the next epoch is one of the joint phase."""
        return self.epoch >= self.config.train.pretrain_epochs

    @property
    def stop_reason(self) -> str | None:
        """`converged`, `max_epochs`, or None while there is more to do."""
        if self.joint_epoch and self._unchanged_epochs >= self.config.train.convergence_patience:
            return "converged"
        return "max_epochs" if self.epoch >= self.total_epochs else None

    @property
    def finished(self) -> bool:
        """Whether training has ended."""
        return self.stop_reason is not None

    def run_epoch(self) -> EpochReport:
        """Run the next epoch.

        Raises:
            DivergedError: If a loss isn't a finite number; the last saved checkpoint is still good.
        """
        plan = self.begin_epoch()
        with self._timed("steps"):
            if self.task.bank.resident is None:
                losses = run_steps(self.config, self.task, self.model, self.optimizer, plan)
            else:
                (losses,) = run_resident_steps([self], [plan])
        return self.end_epoch(plan, losses)

    def begin_epoch(self) -> Plan:
        """Fix what stays the same during the next epoch: centroids (5) and, in the joint phase, pseudo labels (7).

        Raises:
            DivergedError: If h' isn't finite.
        """
        assert not self.finished
        self._seconds = {}
        labeled = self._part("known_train")
        centroids = known_centroids(self.model.relation_repr(labeled), self._labels, self.num_known_relations)
        if not self.joint:
            return PretrainPlan(self.epoch, self._labels, centroids, labeled, self._part("novel_train"))
        pseudo_labels = self._assign_pseudo_labels()
        return JointPlan(self.epoch, self._labels, centroids, pseudo_labels, self.joint_epoch + 1)

    def end_epoch(self, plan: Plan, losses: dict[str, float]) -> EpochReport:
        """Take over the epoch's steps, which were run on `model` and `optimizer`.

        Raises:
            DivergedError: If a loss or a weight isn't finite.
        """
        joint = isinstance(plan, JointPlan)
        report = EpochReport(
            epoch=self.epoch + 1,
            phase="joint" if joint else "pretrain",
            losses=losses,
            pseudo_label_change=self._change if joint else None,
            silhouette=self._silhouette if joint else None,
            seconds=self._seconds,
        )
        self._check_finite(report)
        self.epoch += 1
        if joint:
            self._refresh_features()
        return report

    def _check_finite(self, report: EpochReport) -> None:
        """Refuse an epoch with a loss or, after its last step, a weight that isn't finite."""
        advice = f"in epoch {report.epoch}; lower `train.learning_rate` or `loss.center_weight`"
        for name, value in report.losses.items():
            if not math.isfinite(value):
                raise DivergedError(f"every loss must be finite, but {name} is {value} {advice}")
        names, weights = zip(*self.model.named_parameters(), strict=True)
        finite = torch.stack([weight.isfinite().all() for weight in weights]).tolist()  # read back at once
        for name in (name for name, good in zip(names, finite, strict=True) if not good):
            raise DivergedError(f"every weight must be finite, but {name} isn't {advice}")

    def predict_novel(self, split: str) -> Prediction:
        """Classes of the novel classifier (14) on novel instances; `split` is train or test."""
        return self._predict(f"novel_{split}", self.model.novel_classifier)

    def predict_unified(self, role: str) -> Prediction:
        """Classes of the unified classifier on the known or the novel test split; incremental mode only."""
        return self._predict(f"{role}_test", self.model.unified_classifier)

    def relation_repr(self, part: str) -> Tensor:
        """Return h' of known_train, novel_train, known_test or novel_test, shape (rows, M)."""
        return self.model.relation_repr(self._part(part))

    def save(self, folder: Path) -> None:
        """Write a checkpoint from which `load` goes on with the same numbers."""
        clusters = {"centroids": self._centroids, "pseudo_labels": self._pseudo_labels}
        with RECORDING:  # of another pack's step, where this is called from another thread
            model = on_cpu(self.model.state_dict())
            optimizer = on_cpu(flatten_adam(self.optimizer, self._names))
            held = on_cpu({name: value for name, value in clusters.items() if value is not None})
        save_state(
            folder,
            model=model,
            optimizer=optimizer,
            clusters=held,
            state={
                "epoch": self.epoch,
                "unchanged_epochs": self._unchanged_epochs,
                "num_known_relations": self.num_known_relations,
                "num_novel_relations": self.task.num_novel_relations,
            },
        )

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: If it is absent, torn, or of another shape.
        """
        tensors, state = load_state(folder)
        self._check_fits(folder, tensors, state)
        self.model.load_state_dict(tensors[MODEL])
        restore_adam(self.optimizer, self._names, tensors[OPTIMIZER])
        self._centroids = self._moved(tensors[CLUSTERS].get("centroids"))
        self._pseudo_labels = self._moved(tensors[CLUSTERS].get("pseudo_labels"))
        self.epoch = state["epoch"]
        self._unchanged_epochs = state["unchanged_epochs"]
        self._features = None

    def _check_fits(self, folder: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Refuse a checkpoint of another configuration before anything of it is taken over."""
        own = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in tensors[MODEL].items()}
        wrong = [name for name in own.keys() | found.keys() if own.get(name) != found.get(name)]
        pseudo_labels = tensors[CLUSTERS].get("pseudo_labels")
        if pseudo_labels is not None and len(pseudo_labels) != len(self.task.novel_train):
            wrong.append("pseudo_labels")
        wrong += [key for key in ("epoch", "unchanged_epochs") if not isinstance(state.get(key), int)]
        if wrong:
            raise CheckpointError(
                f"checkpoint {folder} must come from this configuration, but its weights don't fit: "
                f"{', '.join(sorted(wrong)[:5])}; resume with the configuration and the data it was written with"
            )

    def close(self) -> None:
        """Free the features and the device's cached memory."""
        let_go(self)
        self._features = self._resident_features = None
        if self.task.device.type == "cuda":
            torch.cuda.empty_cache()

    def _moved(self, tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(self.task.device)

    def _assign_pseudo_labels(self) -> Tensor:
        """Equation 7, warm-started; notes the share that changed and the silhouette."""
        points = self.relation_repr("novel_train")
        if not bool(points.isfinite().all()):
            raise DivergedError(
                f"h' must be finite, but isn't before epoch {self.epoch + 1}; lower `train.learning_rate`"
            )
        with self._timed("pseudo_labels"):
            seed = derive_seed(self.config.seed, "kmeans", self.epoch)
            first = self._centroids is None
            clustering = kmeans(
                points,
                self.task.num_novel_relations,
                seed=seed,
                start=self._centroids,
                num_restarts=FIRST_RESTARTS if first else self.config.train.kmeans_restarts,
            )
            change = None
            if self._pseudo_labels is not None:
                change = float((clustering.labels != self._pseudo_labels).float().mean())
            self._pseudo_labels, self._centroids = clustering.labels, clustering.centroids
            still = change is not None and change <= self.config.train.convergence_tolerance
            self._unchanged_epochs = self._unchanged_epochs + 1 if still else 0
            self._change = change
            self._silhouette = sample_silhouette(points, clustering.labels, self.config.seed)
            return clustering.labels

    def _part(self, name: str) -> Tensor:
        """Return h of one part of the data under the current layer r, shape (rows, 2H)."""
        if self._features is None:
            self._refresh_features()
        assert self._features is not None
        return self._features[self._parts[name]]

    def _refresh_features(self) -> None:
        """One pass of layer r over everything, without dropout."""
        features = torch.empty(len(self._rows), 2 * self.task.bank.hidden_size, device=self.task.device)
        with torch.no_grad(), self._timed("features"):
            for positions, batch in self._feature_batches():
                features.index_copy_(0, positions, self.model.entity_pair_repr(batch))
        self._features = features

    def _feature_batches(self) -> Iterable[tuple[Tensor, AnyBatch]]:
        """Return positions in `_rows` and their sentences.

        On the CPU alike in length, gathered one after another; on an accelerator, which pads nothing and copies
        nothing, in order, and laid out once for all epochs.
        """
        bank, rows, device = self.task.bank, self._rows, self.task.device
        if bank.resident is None:
            groups = batches_by_length(bank.lengths[rows], FEATURE_BATCH_TOKENS)
            return ((torch.from_numpy(positions), bank.batch(rows[positions])) for positions in groups)
        if self._resident_features is None:
            chunk = bank.num_queries[rows].cumsum() // FEATURE_BATCH_QUERIES
            parts = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(chunk)) + 1)
            self._resident_features = [
                (torch.from_numpy(part).to(device), bank.batch(rows[part])) for part in parts
            ]
        return self._resident_features

    def _predict(self, part: str, classifier: torch.nn.Module) -> Prediction:
        with torch.no_grad():
            probabilities, classes = classifier(self._part(part)).softmax(1).max(1)
        return Prediction(classes.cpu().numpy(), probabilities.cpu().numpy())

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.task.device.type == "cuda":
            torch.cuda.synchronize(self.task.device)
        self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - start
