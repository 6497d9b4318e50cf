import math

import pytest
import torch
from torch import Tensor

from rocore import losses

from . import oracle

LN2, LN3 = math.log(2), math.log(3)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    return normal(*shape, seed=seed).requires_grad_()


# Reconstruction, equation 6


@pytest.mark.parametrize(("scale", "expected"), [("released", 30 / 6), ("paper", 30 / 4)])
def test_reconstruction_loss_hand_value(scale: str, expected: float) -> None:
    reconstruction = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    loss = losses.reconstruction_loss(reconstruction, torch.zeros(2, 3), scale=scale)
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("hidden_size", [1, 4, 384])
def test_reconstruction_loss_paper_scale_is_hidden_size_times_released(hidden_size: int) -> None:
    pair = normal(5, 2 * hidden_size), normal(5, 2 * hidden_size, seed=1)
    paper, released = (losses.reconstruction_loss(*pair, scale=scale) for scale in ("paper", "released"))
    assert float(paper / released) == pytest.approx(hidden_size)


@pytest.mark.parametrize("scale", ["released", "paper"])
def test_reconstruction_loss_equals_loop(scale: str) -> None:
    reconstruction, h = leaf(6, 8), normal(6, 8, seed=1)
    loss = losses.reconstruction_loss(reconstruction, h, scale=scale)
    assert torch.allclose(loss, oracle.reconstruction_loss(reconstruction, h, scale))
    assert torch.autograd.gradcheck(
        lambda x: losses.reconstruction_loss(x, h, scale=scale), (reconstruction,)
    )


# Center loss and centroids, equations 4 and 5


def test_center_loss_hand_value() -> None:
    loss = losses.center_loss(
        torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]]),
        torch.tensor([0, 0, 1]),
        torch.tensor([[0.0, 0.0], [2.0, 1.0]]),
    )
    assert float(loss) == pytest.approx((1 + 9 + 1) / 6)


def test_center_loss_equals_loop_and_has_right_gradient() -> None:
    relation_repr, centroids, labels = leaf(7, 3), normal(4, 3, seed=1), torch.tensor([0, 1, 2, 3, 3, 1, 1])
    loss = losses.center_loss(relation_repr, labels, centroids)
    assert torch.allclose(loss, oracle.center_loss(relation_repr, labels.tolist(), centroids))
    assert torch.autograd.gradcheck(lambda x: losses.center_loss(x, labels, centroids), (relation_repr,))


def test_known_centroids_hand_value() -> None:
    centroids = losses.known_centroids(
        torch.tensor([[1.0, 0.0], [4.0, 4.0], [3.0, 2.0]]), torch.tensor([1, 0, 1]), 2
    )
    assert centroids.tolist() == [[4.0, 4.0], [2.0, 1.0]]


def test_known_centroids_equal_loop() -> None:
    relation_repr, labels = normal(40, 5), torch.arange(40) ** 2 % 7 % 3
    expected = oracle.known_centroids(relation_repr, labels.tolist(), 3)
    assert torch.allclose(losses.known_centroids(relation_repr, labels, 3), expected)


# Pair loss, equations 8-13


def logits_of(*distributions: list[float]) -> Tensor:
    return torch.tensor(distributions, dtype=torch.float64).log()


FORTH = LN2 - LN3 / 2
"""KL((1/2, 1/2) || (1/4, 3/4)) = 0.144."""
BACK = 3 / 4 * LN3 - LN2
"""KL((1/4, 3/4) || (1/2, 1/2)) = 0.131."""


def test_pairwise_kl_hand_values() -> None:
    divergence = losses.pairwise_kl(logits_of([1 / 2, 1 / 2], [1 / 4, 3 / 4]))
    assert torch.allclose(divergence, torch.tensor([[0.0, FORTH], [BACK, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("pseudo_labels", "margin", "expected"),
    [
        pytest.param([5, 5], 2.0, (FORTH + BACK) / 2, id="same cluster"),
        pytest.param([0, 1], 2.0, (2 * 2.0 - FORTH - BACK) / 2, id="different, inside the margin"),
        pytest.param([0, 1], 0.1, 0.0, id="different, outside the margin"),
        pytest.param([0, 1], 0.14, (0.14 - BACK) / 2, id="different, one direction inside"),
    ],
)
def test_pair_loss_hand_value(pseudo_labels: list[int], margin: float, expected: float) -> None:
    """The diagonal counts in the mean and costs nothing: two of four ordered pairs are left."""
    logits = logits_of([1 / 2, 1 / 2], [1 / 4, 3 / 4])
    loss = losses.pair_loss(logits, torch.tensor(pseudo_labels), margin=margin)
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("margin", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_pair_loss_and_gradient_equal_loop(margin: float, spread: float) -> None:
    logits, pseudo_labels = (
        (spread * normal(9, 4)).requires_grad_(),
        torch.tensor([0, 1, 2, 0, 1, 2, 2, 2, 3]),
    )
    loss = losses.pair_loss(logits, pseudo_labels, margin=margin)
    slow = oracle.pair_loss(logits, pseudo_labels.tolist(), margin)
    assert torch.allclose(loss, slow)
    (gradient,), (expected,) = torch.autograd.grad(loss, logits), torch.autograd.grad(slow, logits)
    assert torch.allclose(gradient, expected, atol=1e-14)


def test_pairwise_kl_has_no_gradient_through_constant_side() -> None:
    """Row i is the constant: gradient of KL(P_0* || P_1) reaches row 1 alone, where it is minus P_0."""
    log_probs = logits_of([1 / 2, 1 / 2], [1 / 4, 3 / 4]).requires_grad_()
    (gradient,) = torch.autograd.grad(losses.pairwise_kl(log_probs)[0, 1], log_probs)
    assert torch.allclose(gradient, torch.tensor([[0.0, 0.0], [-0.5, -0.5]], dtype=torch.float64))


def test_pair_loss_gradient_is_that_of_cross_entropy_to_the_other() -> None:
    """For one pair of the same cluster, d loss / d logits_i = (P_i - P_j) / 2: only the second argument moves."""
    logits = logits_of([1 / 2, 1 / 2], [1 / 4, 3 / 4]).requires_grad_()
    losses.pair_loss(logits, torch.tensor([0, 0]), margin=2.0).backward()
    expected = torch.tensor([[0.125, -0.125], [-0.125, 0.125]], dtype=torch.float64)
    assert torch.allclose(logits.grad, expected)


def test_pair_loss_beyond_margin_has_no_gradient() -> None:
    logits = (20 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    loss = losses.pair_loss(logits, torch.tensor([0, 1, 2]), margin=2.0)
    loss.backward()
    assert loss.item() == 0.0
    assert float(logits.grad.abs().max()) < 1e-15


def test_pair_loss_identical_distributions_of_different_clusters_cost_twice_the_margin() -> None:
    loss = losses.pair_loss(torch.zeros(4, 3), torch.arange(4), margin=1.5)
    assert float(loss) == pytest.approx(2 * 1.5 * 12 / 16)


def test_pair_loss_saturated_logits_is_finite() -> None:
    logits = torch.tensor([[300.0, 0.0, 0.0], [0.0, 300.0, 0.0], [300.0, 0.0, 0.0]], requires_grad=True)
    loss = losses.pair_loss(logits, torch.tensor([0, 0, 1]), margin=2.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_pair_loss_renamed_clusters_is_the_same() -> None:
    logits, pseudo_labels = normal(8, 3), torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    renamed = torch.tensor([4, 2, 9])[pseudo_labels]
    pair = [losses.pair_loss(logits, labels, margin=2.0) for labels in (pseudo_labels, renamed)]
    assert float(pair[0]) == float(pair[1])


# Incremental mode, equation 17


def test_novel_cross_entropy_hand_value() -> None:
    """Probabilities 3/4 of cluster 0 and 1/5 of cluster 1."""
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(4.0), 0.0]])
    loss = losses.novel_cross_entropy(logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 5)) / 2, rel=1e-6)


def test_novel_cross_entropy_tells_clusters_apart_that_the_pair_loss_has_given_up() -> None:
    """Two clusters on one output, far on the plateau of the softmax: the pair loss has next to no gradient there."""
    logits = torch.tensor([[20.0, 0.0], [20.0, 0.0]], requires_grad=True)
    pseudo_labels = torch.tensor([0, 1])
    (of_pairs,) = torch.autograd.grad(losses.pair_loss(logits, pseudo_labels, margin=2.0), logits)
    (of_clusters,) = torch.autograd.grad(losses.novel_cross_entropy(logits, pseudo_labels), logits)
    assert of_pairs.abs().max() < 1e-6
    assert of_clusters[1].tolist() == pytest.approx([0.5, -0.5], abs=1e-6)


@pytest.mark.parametrize(
    ("joint_epoch", "expected"),
    [
        (10, 0.8),
        (11, 0.8),
        (500, 0.8),
        (5, 0.8 * math.exp(-5 / 4)),
        (1, 0.8 * math.exp(-5 * 0.81)),
    ],
)
def test_rampup_hand_value(joint_epoch: int, expected: float) -> None:
    assert losses.rampup(joint_epoch, peak=0.8, num_epochs=10) == pytest.approx(expected)


def test_rampup_one_epoch_starts_at_peak() -> None:
    assert losses.rampup(1, peak=0.3, num_epochs=1) == 0.3


def test_rampup_never_falls() -> None:
    values = [losses.rampup(t, peak=1.0, num_epochs=8) for t in range(1, 12)]
    assert values == sorted(values)
    assert values == [oracle.rampup(t, 1.0, 8) for t in range(1, 12)]


def test_incremental_loss_hand_value() -> None:
    """One known and two novel relations; the novel classifier chooses 1, hence class 2 of the unified one."""
    unified = torch.tensor([[1 / 2, 1 / 3, 1 / 6]]).log()
    loss = losses.incremental_loss(unified, torch.tensor([[0.1, 0.4]]), 1)
    assert float(loss) == pytest.approx(math.log(6))


def test_incremental_loss_equals_loop_and_passes_no_gradient_to_novel_classifier() -> None:
    unified, novel = leaf(6, 7), leaf(6, 4, seed=1)
    loss, slow = losses.incremental_loss(unified, novel, 3), oracle.incremental_loss(unified, novel, 3)
    assert torch.allclose(loss, slow)
    gradients = torch.autograd.grad(loss, (unified, novel), allow_unused=True)
    assert torch.allclose(gradients[0], torch.autograd.grad(slow, unified)[0])
    assert gradients[1] is None


def test_incremental_loss_gradient_is_right() -> None:
    novel = normal(5, 2, seed=1)
    assert torch.autograd.gradcheck(lambda x: losses.incremental_loss(x, novel, 3), (leaf(5, 5),))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.center_loss(torch.zeros(3, 2), torch.zeros(4).long(), torch.zeros(2, 2)), "labels"),
        (lambda: losses.center_loss(torch.zeros(3, 2), torch.zeros(3), torch.zeros(2, 2)), "labels"),
        (lambda: losses.pair_loss(torch.zeros(3, 2), torch.zeros(4).long(), margin=1.0), "pseudo_labels"),
    ],
    ids=["sizes differ", "labels aren't integers", "pair sizes differ"],
)
def test_losses_wrong_shapes_are_caught_while_tests_run(call: object, message: str) -> None:
    from jaxtyping import TypeCheckError

    with pytest.raises(TypeCheckError, match=message):
        call()
