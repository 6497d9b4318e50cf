"""The losses of RoCORE (equations 4-17), pure functions of arrays.

Shapes: B instances in a batch, D = 2H features, M size of h', C relations.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def reconstruction_loss(
    reconstruction: Float[Tensor, "B D"], entity_pair_repr: Float[Tensor, "B D"], *, scale: str
) -> Float[Tensor, ""]:
    """Squared error of d(h') against h, the first term of equation 6.

    ``paper``: 1/(2B) sum_i ||d(h'_i) - h_i||^2. ``released``: mean over batch and dimensions, without the 1/2.

    Args:
        reconstruction: d(h').
        entity_pair_repr: h; a constant here.
        scale: `released` or `paper`.

    Returns:
        Scalar.

    Deviation:
        The default is the released program's scale, because Table 1's lambda belongs to it.
    """
    error = F.mse_loss(reconstruction, entity_pair_repr)
    return error * (entity_pair_repr.shape[1] / 2) if scale == "paper" else error


def center_loss(
    relation_repr: Float[Tensor, "B M"], labels: Int[Tensor, " B"], known_centroids: Float[Tensor, "C M"]
) -> Float[Tensor, ""]:
    """Half the mean squared distance to the centroid of the own relation: 1/(2B) sum_i ||h'_i - c_{y_i}||^2 (4).

    Args:
        relation_repr: h' of labeled instances.
        labels: Known relation ids.
        known_centroids: c, constant inside an epoch.

    Returns:
        Scalar.
    """
    return (relation_repr - known_centroids[labels]).square().sum(1).mean() / 2


def known_centroids(
    relation_repr: Float[Tensor, "N M"], labels: Int[Tensor, " N"], num_relations: int
) -> Float[Tensor, "C M"]:
    """Mean of h' over each known relation: c_r = 1/|D_r| sum_{i in D_r} h'_i (5).

    Args:
        relation_repr: h' of the whole labeled set.
        labels: Known relation ids; every relation has an instance.
        num_relations: C_l.

    Returns:
        One row a relation.
    """
    sums = relation_repr.new_zeros(num_relations, relation_repr.shape[1]).index_add_(0, labels, relation_repr)
    counts = torch.bincount(labels, minlength=num_relations).clamp(min=1)
    return sums / counts[:, None]


def pairwise_kl(log_probs: Float[Tensor, "B C"]) -> Float[Tensor, "B B"]:
    """All divergences KL(P_i* || P_j) = sum_c p_ic log(p_ic / p_jc) (10); no gradient reaches row i's distribution.

    Args:
        log_probs: Log of the novel classifier's distributions.

    Returns:
        Row i: first argument (constant), column j: second argument.
    """
    constant = log_probs.detach()
    probs = constant.exp()
    negative_entropy = (probs * constant).sum(1, keepdim=True)
    return negative_entropy - probs @ log_probs.T


def pair_loss(
    logits: Float[Tensor, "B C"], pseudo_labels: Int[Tensor, " B"], *, margin: float | Tensor
) -> Float[Tensor, ""]:
    """Mean over all ordered pairs, diagonal included, of equation 13.

    Same pseudo label: KL(P*||Q) + KL(Q*||P) (9).
    Different ones: max(0, sigma - KL(P*||Q)) + max(0, sigma - KL(Q*||P)) (11-12).

    Args:
        logits: Novel classifier's outputs for unlabeled instances.
        pseudo_labels: Cluster ids.
        margin: sigma > 0.

    Returns:
        Scalar.
    """
    divergence = pairwise_kl(F.log_softmax(logits, dim=1))
    same = pseudo_labels[:, None] == pseudo_labels[None, :]
    cost = torch.where(same, divergence, (margin - divergence).clamp(min=0))
    return (
        2 * cost.mean()
    )  # the mean over (i, j) already holds both directions; each pair's cost is their sum


def novel_cross_entropy(logits: Float[Tensor, "B K"], pseudo_labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Cross entropy of unlabeled instances against their own cluster: -1/B sum_i log p_(i, y_i); not in the paper.

    The pair loss leaves open which output a cluster takes, and two clusters may take one. This term gives each cluster
    its own. It asks that a cluster keeps its id from epoch to epoch, as those of `rocore.clustering.kmeans` do.

    Source: DeepCluster (Caron et al. 2018, arXiv 1807.05520); DeepAligned (Zhang et al. 2021, arXiv 2012.08987).

    Args:
        logits: Novel classifier's outputs for unlabeled instances.
        pseudo_labels: Cluster ids y, below K.

    Returns:
        Scalar.
    """
    return F.cross_entropy(logits, pseudo_labels)


def rampup(joint_epoch: int, *, peak: float, num_epochs: int) -> float:
    """Return mu(t) = mu0 exp(-5 (1 - t/T)^2), t clipped to T (17).

    Args:
        joint_epoch: t, joint epochs counted from 1 (pre-training apart, as in the released program).
        peak: mu0.
        num_epochs: T.
    """
    progress = min(joint_epoch, num_epochs) / num_epochs
    return peak * math.exp(-5 * (1 - progress) ** 2)


def incremental_loss(
    unified_logits: Float[Tensor, "B C"], novel_logits: Float[Tensor, "B K"], num_known_relations: int
) -> Float[Tensor, ""]:
    """Cross entropy of unlabeled instances against C_l + argmax of the novel classifier (17, second term without mu).

    No gradient passes through the label.

    Args:
        unified_logits: Outputs over C_l + C_u relations.
        novel_logits: Outputs over C_u relations.
        num_known_relations: C_l.

    Returns:
        Scalar.
    """
    return F.cross_entropy(unified_logits, num_known_relations + novel_logits.detach().argmax(1))
