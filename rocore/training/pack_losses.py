"""The losses of a pack's members, on one forward pass of their stacked model.

What stays the same during an epoch is copied into tensors that stay the same from one epoch to the next, so that a
recorded step sees the new values.

Shapes: K members, R rows of each, B_l of them labeled, B_u not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from rocore.encoder.dropout import Noise
from rocore.encoder.tokens import AnyBatch
from rocore.losses import rampup
from rocore.model import JointLogits, RoCORE
from rocore.training.objective import LossMeans, clustering_terms, joint_terms, weighted_sum
from rocore.training.steps import JointPlan, Plan, PretrainPlan
from rocore.training.streams import side_stream

if TYPE_CHECKING:
    from rocore.training.trainer import Trainer


@dataclass(frozen=True)
class PretrainStep:
    """What a step of pre-training is given.

    Attributes:
        entity_pair_repr: (K, R, D) constant h.
        labels: (K, B_l) of its first rows.
    """

    entity_pair_repr: Tensor
    labels: Tensor


@dataclass(frozen=True)
class JointStep:
    """What a joint step is given.

    Attributes:
        tokens: K R sentences.
        labels: (K, B_l) of each member's first rows.
        pseudo_labels: (K, B_u) of the others.
        noise: Of dropout.
    """

    tokens: AnyBatch
    labels: Tensor
    pseudo_labels: Tensor
    noise: Noise


class Constants:
    """Tensors that keep their place while their values change."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: dict[str, Tensor] = {}

    def set(self, **values: Tensor) -> None:
        """Hold new values; a name's shape stays the same."""
        for name, value in values.items():
            if name in self._held:
                self._held[name].copy_(value)
            else:
                self._held[name] = value.clone()

    def __getitem__(self, name: str) -> Tensor:
        """Return the tensor of a name."""
        return self._held[name]


class PackLosses:
    """The sum of losses of every member in a step of the phase that `plans` are of."""

    def __init__(self, trainers: Sequence["Trainer"], plans: Sequence[Plan], model: RoCORE) -> None:
        """Take what the members share from the first of them."""
        loss = trainers[0].config.loss
        self._config, self._model = loss, model
        self._configs = [trainer.config for trainer in trainers]
        self._pretraining = isinstance(plans[0], PretrainPlan)
        self._center = loss.use_center and (loss.pretrain_center or not self._pretraining)
        self._constants = Constants()
        device = plans[0].labels.device
        self._side = side_stream(device) if device.type == "cuda" else None
        self.begin(plans)

    def begin(self, plans: Sequence[Plan]) -> None:
        """Take over what is fixed for the next epoch."""
        device = plans[0].labels.device

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, device=device)

        self._constants.set(
            centroids=torch.stack([plan.centroids for plan in plans]),
            center_weight=column([config.loss.center_weight for config in self._configs]),
            margin=column([config.loss.pair_margin for config in self._configs]),
            novel_cross_entropy=column([config.loss.novel_cross_entropy for config in self._configs]),
        )
        if not self._pretraining:
            modes = [config.incremental for config in self._configs]
            mu = [
                rampup(plan.joint_epoch, peak=mode.rampup_peak, num_epochs=mode.rampup_epochs)
                for plan, mode in zip(cast("Sequence[JointPlan]", plans), modes, strict=True)
            ]
            self._constants.set(rampup=column(mu))

    def __call__(self, step: PretrainStep | JointStep, means: LossMeans) -> Tensor:
        """Return a loss for each member, (K,)."""
        if isinstance(step, PretrainStep):
            return self._clustering(step.entity_pair_repr, step.labels, means)
        members = len(step.labels)
        h = self._model.entity_pair_repr(step.tokens, step.noise).view(members, -1, self._width)
        with self._beside(h, step.labels):
            clustering = self._clustering(h.detach(), step.labels, means)
        joint = self._joint(h, step, means)
        if self._side is not None:
            torch.cuda.current_stream().wait_stream(self._side)
        return joint + clustering

    @contextmanager
    def _beside(self, *given: Tensor) -> Iterator[None]:
        """On an accelerator, run on another stream: two rows of small kernels, neither of which needs the other."""
        if self._side is None:
            yield
            return
        self._side.wait_stream(torch.cuda.current_stream())
        for tensor in given:
            tensor.record_stream(self._side)
        with torch.cuda.stream(self._side):
            yield

    def _joint(self, h: Tensor, step: JointStep, means: LossMeans) -> Tensor:
        """Equation 16 or 17 of every member; `h` is (K, R, D)."""
        config, num_known = self._config, self._model.num_known_relations

        def terms(logits: JointLogits, labels: Tensor, pseudo: Tensor, margin: Tensor) -> dict[str, Tensor]:
            return joint_terms(config, logits, labels, pseudo, margin=margin, num_known_relations=num_known)

        logits = self._logits(h, step.labels.shape[1])
        found = torch.vmap(
            lambda *a: terms(JointLogits(*a[:3]), *a[3:]), in_dims=(0, 0, _axis(logits[2]), 0, 0, 0)
        )(*logits, step.labels, step.pseudo_labels, self._constants["margin"])
        weights = {
            "incremental": self._constants["rampup"],
            "novel_cross_entropy": self._constants["novel_cross_entropy"],
        }
        return weighted_sum(found, weights, means, h)

    @property
    def _width(self) -> int:
        return self._model.known_classifier.weight.shape[-1]

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

    def _clustering(self, h: Tensor, labels: Tensor, means: LossMeans) -> Tensor:
        """Equation 6 of every member; `h` is (K, R, D)."""
        relation_repr, reconstruction = (
            rows.view(*h.shape[:2], -1) for rows in self._model.reconstruct(h.flatten(0, 1))
        )

        def terms(*arrays: Tensor) -> dict[str, Tensor]:
            return clustering_terms(self._config, *arrays, center=self._center)

        found = torch.vmap(terms)(h, relation_repr, reconstruction, labels, self._constants["centroids"])
        return weighted_sum(found, {"center": self._constants["center_weight"]}, means, h)


def _axis(tensor: Tensor | None) -> int | None:
    return None if tensor is None else 0


def _outputs(model: RoCORE) -> int:
    return model.num_known_relations + model.num_novel_relations
