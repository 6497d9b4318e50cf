"""RoCORE written out plainly, to check the fast engine against: the whole encoder, padded, in fp32; loops for the rest.

Nothing here is meant to be fast, and nothing of the engine's arithmetic is used.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from rocore.config import Config
from rocore.data.tokenization import TokenizedSource
from rocore.encoder.source import Encoder

EXTRA_PADDING = 3


class SlowEncoder:
    """A copy of the encoder with every layer, of which layer r alone takes gradients."""

    def __init__(self, encoder: Encoder, output_layer: int) -> None:
        self.model: Any = deepcopy(encoder.model).eval()
        self.model.set_attn_implementation("eager")
        self.output_layer = output_layer
        self.layer: Any = self.model.encoder.layer[output_layer - 1]
        self.layer.requires_grad_(requires_grad=True)

    def __call__(self, source: TokenizedSource, rows: Sequence[int]) -> Tensor:
        """Return h of some sentences (equations 1-3), shape (B, 2H)."""
        sentences = [source.piece_ids[source.offsets[i] : source.offsets[i + 1]].tolist() for i in rows]
        longest = max(len(pieces) for pieces in sentences) + EXTRA_PADDING
        padding = self.model.config.pad_token_id
        piece_ids = torch.tensor([pieces + [padding] * (longest - len(pieces)) for pieces in sentences])
        mask = torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in sentences])
        out = self.model(input_ids=piece_ids, attention_mask=mask, output_hidden_states=True)
        hidden = out.hidden_states[self.output_layer]
        features = []
        for b, row in enumerate(rows):
            head = max_pool(hidden[b], int(source.head_start[row]), int(source.head_end[row]))
            tail = max_pool(hidden[b], int(source.tail_start[row]), int(source.tail_end[row]))
            features.append(torch.cat([head, tail]))
        return torch.stack(features)

    def gradients(self, names: Mapping[str, str]) -> dict[str, Tensor]:
        """Return layer r's gradients by the engine's names, keys and values one below the other."""
        found = {
            f"{ours}.{kind}": getattr(self.layer.get_submodule(theirs), kind).grad
            for ours, theirs in names.items()
            for kind in ("weight", "bias")
        }
        for kind in ("weight", "bias"):
            found[f"key_value.{kind}"] = torch.cat([found.pop(f"key.{kind}"), found.pop(f"value.{kind}")])
        return found


def max_pool(hidden: Tensor, start: int, end: int) -> Tensor:
    """Equation 2, token by token."""
    pooled = hidden[start]
    for token in range(start + 1, end):
        pooled = torch.maximum(pooled, hidden[token])
    return pooled


def known_centroids(relation_repr: Tensor, labels: Sequence[int], num_relations: int) -> Tensor:
    """Equation 5."""
    rows = []
    for relation in range(num_relations):
        members = [relation_repr[i] for i, label in enumerate(labels) if label == relation]
        rows.append(sum(members) / len(members))
    return torch.stack(rows)


def center_loss(relation_repr: Tensor, labels: Sequence[int], centroids: Tensor) -> Tensor:
    """Equation 4."""
    total = torch.zeros((), dtype=relation_repr.dtype)
    for i, label in enumerate(labels):
        total = total + ((relation_repr[i] - centroids[label]) ** 2).sum()
    return total / (2 * len(labels))


def reconstruction_loss(reconstruction: Tensor, h: Tensor, scale: str) -> Tensor:
    """First term of equation 6, in the text's scale or in that of the released program."""
    total = torch.zeros((), dtype=h.dtype)
    for i in range(len(h)):
        error = ((reconstruction[i] - h[i]) ** 2).sum()
        total = total + (error / 2 if scale == "paper" else error / h.shape[1])
    return total / len(h)


def divergence(constant: Tensor, other: Tensor) -> Tensor:
    """KL(P* || Q) of two distributions (10); the first is a constant."""
    p = constant.detach()
    total = torch.zeros((), dtype=p.dtype)
    for c in range(len(p)):
        total = total + p[c] * (torch.log(p[c]) - torch.log(other[c]))
    return total


def pair_loss(logits: Tensor, pseudo_labels: Sequence[int], margin: float) -> Tensor:
    """Mean of equation 13 over all ordered pairs, an instance with itself included (8-12)."""
    distributions = [row.exp() / row.exp().sum() for row in logits]
    zero = torch.zeros((), dtype=logits.dtype)
    total = zero
    for p, own in zip(distributions, pseudo_labels, strict=True):
        for q, other in zip(distributions, pseudo_labels, strict=True):
            forth, back = divergence(p, q), divergence(q, p)
            if own == other:
                total = total + forth + back
            else:
                total = total + torch.maximum(zero, margin - forth) + torch.maximum(zero, margin - back)
    return total / len(distributions) ** 2


def cross_entropy(logits: Tensor, labels: Sequence[int]) -> Tensor:
    """Equation 15."""
    total = torch.zeros((), dtype=logits.dtype)
    for row, label in zip(logits, labels, strict=True):
        total = total - torch.log(row.exp()[label] / row.exp().sum())
    return total / len(labels)


def incremental_loss(unified_logits: Tensor, novel_logits: Tensor, num_known_relations: int) -> Tensor:
    """Second term of equation 17, without mu."""
    labels = []
    for row in novel_logits.tolist():
        labels.append(num_known_relations + row.index(max(row)))
    return cross_entropy(unified_logits, labels)


def rampup(joint_epoch: int, peak: float, num_epochs: int) -> float:
    """Return mu(t) of equation 17."""
    t = num_epochs if joint_epoch > num_epochs else joint_epoch
    return peak * math.exp(-5.0 * (1.0 - t / num_epochs) ** 2)


def dense_network(x: Tensor, weights: Mapping[str, Tensor], name: str, rectifier: str) -> Tensor:
    """Three linear layers with rectifiers between them; the weights of g or d by the model's names."""
    slope = 0.01 if rectifier == "leaky_relu" else 0.0
    for position in (0, 2, 4):
        if position:
            x = torch.where(x > 0, x, slope * x)
        x = x @ weights[f"{name}.{position}.weight"].T + weights[f"{name}.{position}.bias"]
    return x


def clustering_loss(
    h: Tensor, labels: Sequence[int], centroids: Tensor, weights: Mapping[str, Tensor], config: Config
) -> Tensor:
    """Equation 6 on constant h, whose first rows are labeled; both halves weigh the same in the reconstruction."""
    h = h.detach()
    loss, num_labeled = config.loss, len(labels)
    relation_repr = dense_network(h, weights, "projector", config.model.rectifier)
    reconstruction = dense_network(relation_repr, weights, "reconstructor", config.model.rectifier)
    total = torch.zeros(())
    if loss.use_reconstruction:
        labeled = reconstruction_loss(reconstruction[:num_labeled], h[:num_labeled], loss.scale)
        unlabeled = reconstruction_loss(reconstruction[num_labeled:], h[num_labeled:], loss.scale)
        total = total + (labeled + unlabeled) / 2
    if loss.use_center:
        total = total + loss.center_weight * center_loss(relation_repr[:num_labeled], labels, centroids)
    return total


def joint_loss(
    h: Tensor,
    labels: Sequence[int],
    pseudo_labels: Sequence[int],
    weights: Mapping[str, Tensor],
    config: Config,
    *,
    num_known_relations: int,
    joint_epoch: int,
) -> Tensor:
    """Equation 16, or 17 in incremental mode."""
    labeled, unlabeled = h[: len(labels)], h[len(labels) :]
    known = labeled @ weights["known_classifier.weight"].T + weights["known_classifier.bias"]
    novel = unlabeled @ weights["novel_classifier.weight"].T + weights["novel_classifier.bias"]
    total = pair_loss(novel, pseudo_labels, config.loss.pair_margin)
    if config.loss.use_cross_entropy:
        total = total + cross_entropy(known, labels)
    if config.loss.novel_cross_entropy:
        total = total + config.loss.novel_cross_entropy * cross_entropy(novel, pseudo_labels)
    if config.incremental.enabled:
        unified = unlabeled @ weights["known_classifier.weight"].T + weights["known_classifier.bias"]
        mu = rampup(joint_epoch, config.incremental.rampup_peak, config.incremental.rampup_epochs)
        total = total + mu * incremental_loss(unified, novel, num_known_relations)
    return total
