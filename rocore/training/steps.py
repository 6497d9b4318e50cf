"""The steps of one epoch: what is fixed while they run, and the loop over batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rocore.config import Config
from rocore.data.instance import Rows
from rocore.encoder.dropout import DropoutMasks
from rocore.model import RoCORE
from rocore.training.objective import ClusteringObjective, JointObjective, LossMeans
from rocore.training.order import PairedBatch, derive_seed, paired_batches
from rocore.training.task import TrainingTask


@dataclass(frozen=True)
class PretrainPlan:
    """An epoch of lines 1-3: g and d on constant features.

    Attributes:
        epoch: Epochs done before it.
        labels: (N,) relation ids of the labeled instances.
        centroids: (C_l, M), equation 5.
        labeled: (N, D) their h.
        unlabeled: (M, D) h of the unlabeled training instances.
    """

    epoch: int
    labels: Tensor
    centroids: Tensor
    labeled: Tensor
    unlabeled: Tensor


@dataclass(frozen=True)
class JointPlan:
    """An epoch of lines 5-9: layer r, the classifiers, g and d.

    Attributes:
        epoch: Epochs done before it.
        labels: (N,) relation ids of the labeled instances.
        centroids: (C_l, M), equation 5.
        pseudo_labels: (M,) cluster ids of the unlabeled training instances, equation 7.
        joint_epoch: t of equation 17, from 1.
    """

    epoch: int
    labels: Tensor
    centroids: Tensor
    pseudo_labels: Tensor
    joint_epoch: int


Plan = PretrainPlan | JointPlan


def run_steps(
    config: Config, task: TrainingTask, model: RoCORE, optimizer: torch.optim.Optimizer, plan: Plan
) -> dict[str, float]:
    """Run every step of an epoch on the CPU and return the mean losses by name."""
    means, num_steps = LossMeans(), 0
    losses = _pretrain_losses if isinstance(plan, PretrainPlan) else _joint_losses
    for loss in losses(config, task, model, plan, means):  # type: ignore[arg-type]
        optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:  # an ablation can leave pre-training nothing to do
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        num_steps += 1
    return means.read(num_steps)[0]


def batches(config: Config, task: TrainingTask, epoch: int) -> Iterator[PairedBatch]:
    """Yield the batches of an epoch."""
    return paired_batches(
        len(task.known_train),
        len(task.novel_train),
        batch_size=config.train.batch_size,
        seed=config.seed,
        epoch=epoch,
        num_steps=task.num_steps(config.train.batch_size),
    )


def token_rows(task: TrainingTask, batch: PairedBatch) -> Rows:
    """Return the rows of the token bank of a batch, labeled ones first."""
    return np.concatenate([task.known_train[batch.labeled], task.novel_train[batch.unlabeled]])


def dropout_masks(config: Config, epoch: int) -> DropoutMasks:
    """Return the epoch's own sequence of masks, on the CPU."""
    return DropoutMasks(derive_seed(config.seed, "dropout", epoch))


def _pretrain_losses(
    config: Config, task: TrainingTask, model: RoCORE, plan: PretrainPlan, means: LossMeans
) -> Iterator[Tensor]:
    objective = ClusteringObjective(config.loss, model, plan.centroids, pretraining=True)
    for batch in batches(config, task, plan.epoch):
        labeled = _index(batch.labeled)
        h = torch.cat([plan.labeled[labeled], plan.unlabeled[_index(batch.unlabeled)]])
        yield objective(h, plan.labels[labeled], means)


def _joint_losses(
    config: Config, task: TrainingTask, model: RoCORE, plan: JointPlan, means: LossMeans
) -> Iterator[Tensor]:
    """One forward pass a batch serves both objectives."""
    clustering = ClusteringObjective(config.loss, model, plan.centroids, pretraining=False)
    joint = JointObjective(config, model, joint_epoch=plan.joint_epoch)
    masks = dropout_masks(config, plan.epoch)
    for batch in batches(config, task, plan.epoch):
        h = model.entity_pair_repr(task.bank.batch(token_rows(task, batch)), [masks])
        labels = plan.labels[_index(batch.labeled)]
        pseudo_labels = plan.pseudo_labels[_index(batch.unlabeled)]
        yield joint(h, labels, pseudo_labels, means) + clustering(h.detach(), labels, means)


def _index(positions: Rows) -> Tensor:
    return torch.from_numpy(positions)
