"""The trainable parts: layer r, projector g, reconstructor d and the classifiers."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rocore.config import ModelConfig
from rocore.encoder.dropout import Noise
from rocore.encoder.linear import Linear
from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.tokens import AnyBatch

RECTIFIERS = {"leaky_relu": nn.LeakyReLU, "relu": nn.ReLU}


def dense_network(sizes: tuple[int, ...], rectifier: str) -> nn.Sequential:
    """Return linear layers of the given sizes with rectifiers between them and a linear output."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        if i:
            layers.append(RECTIFIERS[rectifier]())
        layers.append(Linear(inputs, outputs))
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class JointLogits:
    """Outputs of one joint step.

    Attributes:
        labeled: (B_l, C_l), or (B_l, C_l + C_u) in incremental mode.
        novel: (B_u, C_u).
        unified: (B_u, C_l + C_u) in incremental mode, else None.
    """

    labeled: Tensor
    novel: Tensor
    unified: Tensor | None


class RoCORE(nn.Module):
    """Layer r with the relation-oriented clustering and classification modules on top.

    `known_classifier` is the unified classifier over C_l + C_u relations in incremental mode.
    """

    def __init__(
        self,
        output_layer: OutputLayer,
        config: ModelConfig,
        *,
        num_known_relations: int,
        num_novel_relations: int,
        incremental: bool,
        precision: str = "fp32",
    ) -> None:
        """Draw the initial weights of everything above layer r from torch's global generator.

        With `precision` bf16, the matrix products of layer r, g and d are in bf16; whatever is summed over instances or
        compared (norms, softmax, losses, h' of whole data sets) stays in fp32.
        """
        super().__init__()
        self.precision = precision
        features = 2 * output_layer.query.in_features
        hidden, relation_size = config.hidden_size, config.relation_size
        self.incremental = incremental
        self.num_known_relations = num_known_relations
        self.num_novel_relations = num_novel_relations
        self.output_layer = output_layer
        self.projector = dense_network((features, hidden, hidden, relation_size), config.rectifier)
        self.reconstructor = dense_network((relation_size, hidden, hidden, features), config.rectifier)
        self.known_classifier = nn.Linear(features, num_known_relations + incremental * num_novel_relations)
        self.novel_classifier = nn.Linear(features, num_novel_relations)

    @property
    def unified_classifier(self) -> nn.Linear:
        """The classifier over known and novel relations; only in incremental mode."""
        assert self.incremental
        return self.known_classifier

    def entity_pair_repr(self, batch: AnyBatch, noise: Noise = ()) -> Float[Tensor, "B D"]:
        """Return h of a batch (1-3), fp32; with dropout where there is `noise`."""
        with self._products(batch.spans.device):
            h: Tensor = self.output_layer(batch, noise)
        return h.float()

    def reconstruct(
        self, entity_pair_repr: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B D"]]:
        """Return h' = g(h) and d(h'), fp32."""
        with self._products(entity_pair_repr.device):
            relation_repr = self.projector(entity_pair_repr)
            reconstruction = self.reconstructor(relation_repr)
        return relation_repr.float(), reconstruction.float()

    def _products(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def logits(self, entity_pair_repr: Float[Tensor, "B D"], num_labeled: int) -> JointLogits:
        """Classify a batch whose first `num_labeled` rows are labeled."""
        labeled, unlabeled = entity_pair_repr[:num_labeled], entity_pair_repr[num_labeled:]
        unified = self.known_classifier(unlabeled) if self.incremental else None
        return JointLogits(self.known_classifier(labeled), self.novel_classifier(unlabeled), unified)

    def clustering_weights(self) -> list[Tensor]:
        """Weight matrices of g and d, without their biases."""
        parameters = (*self.projector.parameters(), *self.reconstructor.parameters())
        return [parameter for parameter in parameters if parameter.ndim > 1]

    @torch.no_grad()
    def relation_repr(self, entity_pair_repr: Float[Tensor, "N D"]) -> Float[Tensor, "N M"]:
        """Return h' = g(h), without gradient."""
        projected: Tensor = self.projector(entity_pair_repr)
        return projected
