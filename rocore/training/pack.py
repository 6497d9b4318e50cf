"""Several trainings as one batched computation: members of a pack share shapes and nothing else.

The weights of all members are stacked, so that every product is one batched product; attention and pooling have none,
and run over the sentences of all members. Each member keeps its own data order, dropout noise, loss weights, optimizer
and checkpoints. Between epochs members are ordinary trainers: they may come and go, be saved, or run alone.

Shapes: K members, R rows of each.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rocore.encoder.tokens import Rows
from rocore.losses import rampup
from rocore.model import JointLogits, RoCORE
from rocore.training.objective import LossMeans, clustering_terms, joint_terms, weighted_sum
from rocore.training.order import PairedBatch
from rocore.training.steps import JointPlan, Plan, PretrainPlan, batches, dropout_masks, token_rows
from rocore.training.trainer import EpochReport, Trainer


def pack_key(trainer: Trainer) -> tuple[Any, ...]:
    """Return what members of a pack must share: everything but seeds, learning rates and the weights of losses."""
    config, task = trainer.config, trainer.task
    loss = config.loss.model_dump(exclude={"center_weight", "pair_margin", "weight_decay"})
    return (
        id(task.bank),
        task.precision,
        config.encoder.output_layer,
        config.model,
        config.train.batch_size,
        config.train.dropout,
        tuple(loss.items()),
        config.incremental.enabled,
        len(task.known_train),
        len(task.novel_train),
        task.num_known_relations,
        task.num_novel_relations,
        trainer.joint,
    )


def run_packed_epoch(trainers: Sequence[Trainer]) -> list[EpochReport | Exception]:
    """Run the next epoch of every trainer, their steps together.

    An error before or after the steps ends the epoch of its own member alone; one of the steps themselves, such as too
    little memory, ends it for all: their weights have moved by then, and only checkpoints are good.

    Args:
        trainers: K trainers of one `pack_key`.
    """
    results: list[EpochReport | Exception] = [RuntimeError("not run")] * len(trainers)
    begun: list[tuple[int, Plan]] = []
    for i, trainer in enumerate(trainers):
        try:
            begun.append((i, trainer.begin_epoch()))
        except Exception as error:
            results[i] = error
    members = [trainers[i] for i, _ in begun]
    try:
        losses = _run_steps(members, [plan for _, plan in begun]) if members else []
    except Exception as error:
        for i, _ in begun:
            results[i] = error
        return results
    for (i, plan), of_member in zip(begun, losses, strict=True):
        try:
            results[i] = trainers[i].end_epoch(plan, of_member)
        except Exception as error:
            results[i] = error
    return results


def _run_steps(trainers: Sequence[Trainer], plans: Sequence[Plan]) -> list[dict[str, float]]:
    """Run the steps of an epoch; the trainers' weights are views of the stacked ones meanwhile."""
    model = stack_models([trainer.model for trainer in trainers])
    steps = _PretrainSteps if isinstance(plans[0], PretrainPlan) else _JointSteps
    objective, means = steps(trainers, plans, model), LossMeans()
    for paired in zip(*(batches(t.config, t.task, t.epoch) for t in trainers), strict=True):
        loss = objective(paired, means).sum()
        model.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        _share_gradients(model, trainers)
        for trainer in trainers:
            trainer.optimizer.step()
    for trainer in trainers:
        for parameter in trainer.model.parameters():
            parameter.data, parameter.grad = parameter.data.clone(), None
    found = means.read()
    return found if len(found) == len(trainers) else [{} for _ in trainers]


def _share_gradients(model: RoCORE, trainers: Sequence[Trainer]) -> None:
    for packed, *own in zip(model.parameters(), *(t.model.parameters() for t in trainers), strict=True):
        for k, parameter in enumerate(own):
            parameter.grad = None if packed.grad is None else packed.grad[k]


class _PretrainSteps:
    """The clustering loss (6) of every member on its constant features."""

    def __init__(self, trainers: Sequence[Trainer], plans: Sequence[Plan], model: RoCORE) -> None:
        self._plans = cast("Sequence[PretrainPlan]", plans)
        self._model = model
        self._clustering = _Clustering(trainers, plans, pretraining=True)

    def __call__(self, paired: Sequence[PairedBatch], means: LossMeans) -> Tensor:
        h = torch.stack(
            [
                torch.cat([plan.labeled[_index(b.labeled, plan)], plan.unlabeled[_index(b.unlabeled, plan)]])
                for plan, b in zip(self._plans, paired, strict=True)
            ]
        )
        return self._clustering(self._model, h, _labels(self._plans, paired), means)


class _JointSteps:
    """Equation 16 (or 17) and the clustering loss (6) of every member, on one forward pass."""

    def __init__(self, trainers: Sequence[Trainer], plans: Sequence[Plan], model: RoCORE) -> None:
        self._trainers = trainers
        self._plans = cast("Sequence[JointPlan]", plans)
        self._model = model
        self._clustering = _Clustering(trainers, plans, pretraining=False)
        self._masks = [dropout_masks(t.config, t.task, t.epoch) for t in trainers]
        self._margin = _column([t.config.loss.pair_margin for t in trainers], plans)
        mu = [
            rampup(plan.joint_epoch, peak=mode.rampup_peak, num_epochs=mode.rampup_epochs)
            for plan, mode in zip(self._plans, (t.config.incremental for t in trainers), strict=True)
        ]
        self._weights = {"incremental": _column(mu, plans)}

    def __call__(self, paired: Sequence[PairedBatch], means: LossMeans) -> Tensor:
        rows: list[Rows] = [token_rows(t.task, b) for t, b in zip(self._trainers, paired, strict=True)]
        batch = self._trainers[0].task.bank.batch(*rows)
        h = self._model.entity_pair_repr(batch, self._masks).view(len(rows), len(rows[0]), -1)
        labels = _labels(self._plans, paired)
        pseudo_labels = torch.stack(
            [p.pseudo_labels[_index(b.unlabeled, p)] for p, b in zip(self._plans, paired, strict=True)]
        )
        config, num_known = self._trainers[0].config.loss, self._model.num_known_relations

        def terms(logits: JointLogits, labels: Tensor, pseudo: Tensor, margin: Tensor) -> dict[str, Tensor]:
            return joint_terms(config, logits, labels, pseudo, margin=margin, num_known_relations=num_known)

        logits = self._logits(h, labels.shape[1])
        found = torch.vmap(
            lambda *a: terms(JointLogits(*a[:3]), *a[3:]), in_dims=(0, 0, _axis(logits[2]), 0, 0, 0)
        )(*logits, labels, pseudo_labels, self._margin)
        joint = weighted_sum(found, self._weights, means, h)
        return joint + self._clustering(self._model, h.detach(), labels, means)

    def _logits(self, h: Tensor, num_labeled: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what `RoCORE.logits` does, with a leading dimension of members."""
        model, members = self._model, len(h)
        labeled, unlabeled = h[:, :num_labeled].flatten(0, 1), h[:, num_labeled:].flatten(0, 1)
        unified = (
            model.known_classifier(unlabeled).view(members, -1, _outputs(model))
            if model.incremental
            else None
        )
        return (
            model.known_classifier(labeled).view(members, num_labeled, -1),
            model.novel_classifier(unlabeled).view(members, -1, model.num_novel_relations),
            unified,
        )


class _Clustering:
    """Equation 6 of every member."""

    def __init__(self, trainers: Sequence[Trainer], plans: Sequence[Plan], *, pretraining: bool) -> None:
        self._config = trainers[0].config.loss
        self._center = self._config.use_center and (self._config.pretrain_center or not pretraining)
        self._centroids = torch.stack([plan.centroids for plan in plans])
        self._weights = {"center": _column([t.config.loss.center_weight for t in trainers], plans)}

    def __call__(self, model: RoCORE, h: Tensor, labels: Tensor, means: LossMeans) -> Tensor:
        """Return a loss for each member; `h` is (K, R, D)."""
        relation_repr, reconstruction = (
            rows.view(*h.shape[:2], -1) for rows in model.reconstruct(h.flatten(0, 1))
        )

        def terms(*arrays: Tensor) -> dict[str, Tensor]:
            return clustering_terms(self._config, *arrays, center=self._center)

        found = torch.vmap(terms)(h, relation_repr, reconstruction, labels, self._centroids)
        return weighted_sum(found, self._weights, means, h)


def _labels(plans: Sequence[Plan], paired: Sequence[PairedBatch]) -> Tensor:
    return torch.stack([p.labels[_index(b.labeled, p)] for p, b in zip(plans, paired, strict=True)])


def _index(positions: np.ndarray[tuple[int], np.dtype[np.int64]], plan: Plan) -> Tensor:
    return torch.from_numpy(positions).to(plan.labels.device, non_blocking=True)


def _column(values: Sequence[float], plans: Sequence[Plan]) -> Tensor:
    return torch.tensor(values, device=plans[0].labels.device)


def _axis(tensor: Tensor | None) -> int | None:
    return None if tensor is None else 0


def _outputs(model: RoCORE) -> int:
    return model.num_known_relations + model.num_novel_relations


class PackedLinear(nn.Module):
    """K linear layers: member k's rows, the k-th share of the input's, meet its own weights."""

    def __init__(self, members: Sequence[nn.Linear]) -> None:
        """Stack the weights; those of the members become views of the stack."""
        super().__init__()
        self.weight = _stacked([member.weight for member in members])  # (K, out, in)
        self.bias = _stacked([member.bias for member in members])

    def forward(self, rows: Tensor) -> Tensor:
        """Return (K R, out) for (K R, in)."""
        shares = rows.view(len(self.weight), -1, rows.shape[-1])
        return torch.baddbmm(self.bias[:, None], shares, self.weight.mT).flatten(0, 1)


class PackedLayerNorm(nn.Module):
    """K layer norms."""

    def __init__(self, members: Sequence[nn.LayerNorm]) -> None:
        """Stack the weights; those of the members become views of the stack."""
        super().__init__()
        self.weight = _stacked([member.weight for member in members])  # (K, width)
        self.bias = _stacked([member.bias for member in members])
        self._eps = members[0].eps

    def forward(self, rows: Tensor) -> Tensor:
        """Return (K R, width) for the same."""
        shares = F.layer_norm(rows, rows.shape[-1:], eps=self._eps).view(len(self.weight), -1, rows.shape[-1])
        return torch.addcmul(self.bias[:, None], shares, self.weight[:, None]).flatten(0, 1)


def stack_models(models: Sequence[RoCORE]) -> RoCORE:
    """Return a model that is all of them, member by member; their weights become views of its own."""
    packed = deepcopy(models[0])
    for name, module in models[0].named_modules():
        members = [model.get_submodule(name) for model in models]
        if isinstance(module, nn.Linear):
            packed.set_submodule(name, PackedLinear(cast("list[nn.Linear]", members)))
        elif isinstance(module, nn.LayerNorm):
            packed.set_submodule(name, PackedLayerNorm(cast("list[nn.LayerNorm]", members)))
    return packed


def _stacked(members: Sequence[Tensor]) -> nn.Parameter:
    stack = nn.Parameter(torch.stack([member.detach() for member in members]))
    for k, member in enumerate(members):
        member.data = stack.data[k]
    return stack
