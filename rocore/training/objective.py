"""The two objectives of a joint step, on one forward pass: which loss trains which weights."""

from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from rocore.config import Config, LossConfig
from rocore.losses import center_loss, incremental_loss, pair_loss, rampup, reconstruction_loss
from rocore.model import RoCORE


class Record(Protocol):
    """Where losses are noted by name."""

    def __call__(self, name: str, loss: Tensor) -> None:
        """Note one step's loss."""
        ...


class LossMeans:
    """Means of detached losses over an epoch's steps; summed on the device, read back once."""

    def __init__(self) -> None:
        """Start an epoch."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, name: str, loss: Tensor) -> None:
        """Add one step's loss."""
        loss = loss.detach()
        self._sums[name] = self._sums[name] + loss if name in self._sums else loss
        self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """Return the means by name."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


class ClusteringObjective:
    """Equation 6, for g and d: reconstruction + lambda * center; h is a constant."""

    def __init__(self, config: LossConfig, model: RoCORE, centroids: Tensor, *, pretraining: bool) -> None:
        """`centroids` are those of equation 5, fixed for the epoch."""
        self._config = config
        self._model = model
        self._centroids = centroids
        self._center = config.use_center and (config.pretrain_center or not pretraining)

    def __call__(self, entity_pair_repr: Tensor, labels: Tensor, record: Record) -> Tensor:
        """Return the loss of a batch whose first `len(labels)` rows are labeled.

        The reconstruction error is averaged over the labeled and the unlabeled half, each of equal weight.
        """
        relation_repr, reconstruction = self._model.reconstruct(entity_pair_repr)
        num_labeled = len(labels)
        total = entity_pair_repr.new_zeros(())
        if self._config.use_reconstruction:
            halves = (slice(None, num_labeled), slice(num_labeled, None))
            errors = [
                reconstruction_loss(reconstruction[half], entity_pair_repr[half], scale=self._config.scale)
                for half in halves
            ]
            error = (errors[0] + errors[1]) / 2
            record("reconstruction", error)
            total = total + error
        if self._center:
            center = center_loss(relation_repr[:num_labeled], labels, self._centroids)
            record("center", center)
            total = total + self._config.center_weight * center
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
        logits = self._model.logits(entity_pair_repr, len(labels))
        total = pair_loss(logits.novel, pseudo_labels, margin=self._config.pair_margin)
        record("pair", total)
        if self._config.use_cross_entropy:
            cross_entropy = F.cross_entropy(logits.labeled, labels)
            record("cross_entropy", cross_entropy)
            total = total + cross_entropy
        if logits.unified is not None:
            unlabeled = incremental_loss(logits.unified, logits.novel, self._model.num_known_relations)
            record("incremental", unlabeled)
            total = total + self._rampup * unlabeled
        return total
