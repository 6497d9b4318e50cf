"""The two objectives of a joint step, on one forward pass: which loss trains which weights."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from rocore.config import Config, LossConfig
from rocore.losses import (
    center_loss,
    incremental_loss,
    novel_cross_entropy,
    pair_loss,
    rampup,
    reconstruction_loss,
)
from rocore.model import JointLogits, RoCORE


class Record(Protocol):
    """Where losses are noted by name."""

    def __call__(self, name: str, loss: Tensor) -> None:
        """Note one step's loss."""
        ...


class LossMeans:
    """Means of detached losses over an epoch's steps; summed on the device, read back once.

    A loss is a scalar or, in a pack, one value for each member. The sums stay in their place: a recorded step adds to
    them, too.
    """

    def __init__(self) -> None:
        """Start an epoch."""
        self._sums: dict[str, Tensor] = {}

    def __call__(self, name: str, loss: Tensor) -> None:
        """Add one step's loss."""
        if name in self._sums:
            self._sums[name].add_(loss.detach())
        else:
            self._sums[name] = loss.detach().clone()

    def restart(self) -> None:
        """Start another epoch."""
        for total in self._sums.values():
            total.zero_()

    def read(self, num_steps: int) -> list[dict[str, float]]:
        """Return the means by name, for each member; every step has noted the same losses."""
        columns = {name: (total / num_steps).reshape(-1).tolist() for name, total in self._sums.items()}
        members = max((len(column) for column in columns.values()), default=1)
        return [{name: column[k] for name, column in columns.items()} for k in range(members)]


class ClusteringObjective:
    """Equation 6, for g and d: reconstruction + lambda * center; h is a constant."""

    def __init__(self, config: LossConfig, model: RoCORE, centroids: Tensor, *, pretraining: bool) -> None:
        """`centroids` are those of equation 5, fixed for the epoch."""
        self._config = config
        self._model = model
        self._centroids = centroids
        self._center = config.use_center and (config.pretrain_center or not pretraining)

    def __call__(self, entity_pair_repr: Tensor, labels: Tensor, record: Record) -> Tensor:
        """Return the loss of a batch whose first `len(labels)` rows are labeled."""
        relation_repr, reconstruction = self._model.reconstruct(entity_pair_repr)
        terms = clustering_terms(
            self._config,
            entity_pair_repr,
            relation_repr,
            reconstruction,
            labels,
            self._centroids,
            center=self._center,
        )
        return weighted_sum(terms, {"center": self._config.center_weight}, record, entity_pair_repr)


def clustering_terms(
    config: LossConfig,
    entity_pair_repr: Tensor,
    relation_repr: Tensor,
    reconstruction: Tensor,
    labels: Tensor,
    centroids: Tensor,
    *,
    center: bool,
) -> dict[str, Tensor]:
    """Return the terms of equation 6 by name; of the batch's rows the first `len(labels)` are labeled.

    The reconstruction error is averaged over the labeled and the unlabeled half, each of equal weight.
    """
    num_labeled = len(labels)
    terms = {}
    if config.use_reconstruction:
        halves = (slice(None, num_labeled), slice(num_labeled, None))
        errors = [
            reconstruction_loss(reconstruction[half], entity_pair_repr[half], scale=config.scale)
            for half in halves
        ]
        terms["reconstruction"] = (errors[0] + errors[1]) / 2
    if center:
        terms["center"] = center_loss(relation_repr[:num_labeled], labels, centroids)
    return terms


def joint_terms(
    config: LossConfig,
    logits: JointLogits,
    labels: Tensor,
    pseudo_labels: Tensor,
    *,
    margin: float | Tensor,
    num_known_relations: int,
) -> dict[str, Tensor]:
    """Return the terms of equation 16 (or 17 in incremental mode) by name, and what is switched on beside them."""
    terms = {"pair": pair_loss(logits.novel, pseudo_labels, margin=margin)}
    if config.use_cross_entropy:
        terms["cross_entropy"] = F.cross_entropy(logits.labeled, labels)
    if config.novel_cross_entropy:
        terms["novel_cross_entropy"] = novel_cross_entropy(logits.novel, pseudo_labels)
    if logits.unified is not None:
        terms["incremental"] = incremental_loss(logits.unified, logits.novel, num_known_relations)
    return terms


def weighted_sum(
    terms: Mapping[str, Tensor], weights: Mapping[str, float | Tensor], record: Record, like: Tensor
) -> Tensor:
    """Note every term and return their sum; a term without a weight counts once, no term at all is 0."""
    total = like.new_zeros(())
    for name, term in terms.items():
        record(name, term)
        total = total + weights.get(name, 1.0) * term
    return total


class JointObjective:
    """Equation 16 (or 17 in incremental mode), for layer r and the classifiers: cross entropy + pair loss."""

    def __init__(self, config: Config, model: RoCORE, *, joint_epoch: int) -> None:
        """`joint_epoch` is t of equation 17, from 1."""
        self._config = config.loss
        self._model = model
        mode = config.incremental
        self._rampup = rampup(joint_epoch, peak=mode.rampup_peak, num_epochs=mode.rampup_epochs)

    def __call__(
        self, entity_pair_repr: Tensor, labels: Tensor, pseudo_labels: Tensor, record: Record
    ) -> Tensor:
        """Return the loss of a batch whose first `len(labels)` rows are labeled."""
        terms = joint_terms(
            self._config,
            self._model.logits(entity_pair_repr, len(labels)),
            labels,
            pseudo_labels,
            margin=self._config.pair_margin,
            num_known_relations=self._model.num_known_relations,
        )
        weights = {"incremental": self._rampup, "novel_cross_entropy": self._config.novel_cross_entropy}
        return weighted_sum(terms, weights, record, entity_pair_repr)
