"""One joint step of the engine against the same step written out plainly: losses, and every gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rocore.config import Config
from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.source import Encoder
from rocore.losses import known_centroids
from rocore.model import RoCORE
from rocore.training.objective import ClusteringObjective, JointObjective
from rocore.training.optimizer import make_adam

from . import oracle, tiny
from .tiny import bank_of, config_of, relative_error, source_of

LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-5
OUTPUT_LAYER = 2
NUM_KNOWN, NUM_NOVEL = 3, 4
JOINT_EPOCH = 3
LABELS = [0, 2, 1, 2, 0]
PSEUDO_LABELS = [0, 3, 1, 1, 0, 2]
SENTENCES = [
    *tiny.SENTENCES,
    (9, (4, 6), (6, 8)),
    (25, (20, 25), (0, 3)),
    (4, (1, 3), (2, 4)),
    (41, (30, 31), (7, 8)),
]
SETTINGS: dict[str, dict[str, Any]] = {
    "standard": {},
    "paper scale": {"loss": {"scale": "paper"}},
    "relu": {"model": {"hidden_size": 24, "relation_size": 10, "rectifier": "relu"}},
    "tight margin": {"loss": {"pair_margin": 0.01, "center_weight": 0.7}},
    "incremental": {"incremental": {"enabled": True}},
    "incremental past the ramp-up": {"incremental": {"enabled": True, "rampup_epochs": 2}},
    "no center": {"loss": {"use_center": False}},
    "no reconstruction": {"loss": {"use_reconstruction": False, "center_weight": 0.5}},
    "no cross entropy": {"loss": {"use_cross_entropy": False}},
    "novel cross entropy": {"loss": {"novel_cross_entropy": 0.3}},
}


def model_of(encoder: Encoder, config: Config) -> RoCORE:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return RoCORE(
            OutputLayer(encoder, OUTPUT_LAYER),
            config.model,
            num_known_relations=NUM_KNOWN,
            num_novel_relations=NUM_NOVEL,
            incremental=config.incremental.enabled,
        )


class Recorded(dict[str, Tensor]):
    def __call__(self, name: str, loss: Tensor) -> None:
        self[name] = loss.detach()


def fast_step(model: RoCORE, encoder: Encoder, config: Config) -> tuple[Tensor, Recorded]:
    """One forward pass for both objectives, as the trainer does it."""
    rows = np.arange(len(SENTENCES))
    h = model.output_layer(bank_of(encoder, source_of(SENTENCES), OUTPUT_LAYER).batch(rows))
    labels, recorded = torch.tensor(LABELS), Recorded()
    centroids = known_centroids(model.relation_repr(h.detach()[: len(LABELS)]), labels, NUM_KNOWN)
    joint = JointObjective(config, model, joint_epoch=JOINT_EPOCH)
    clustering = ClusteringObjective(config.loss, model, centroids, pretraining=False)
    total = joint(h, labels, torch.tensor(PSEUDO_LABELS), recorded) + clustering(h.detach(), labels, recorded)
    return total, recorded


def slow_step(
    model: RoCORE, encoder: Encoder, config: Config
) -> tuple[Tensor, dict[str, Tensor], oracle.SlowEncoder]:
    """The whole encoder and loops; returns the total, leaf copies of the weights, and the encoder."""
    slow = oracle.SlowEncoder(encoder, OUTPUT_LAYER)
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    h = slow(source_of(SENTENCES), range(len(SENTENCES)))
    with torch.no_grad():
        labeled = oracle.dense_network(h[: len(LABELS)], weights, "projector", config.model.rectifier)
        centroids = oracle.known_centroids(labeled, LABELS, NUM_KNOWN)
    total = oracle.joint_loss(
        h,
        LABELS,
        PSEUDO_LABELS,
        weights,
        config,
        num_known_relations=NUM_KNOWN,
        joint_epoch=JOINT_EPOCH,
    ) + oracle.clustering_loss(h, LABELS, centroids, weights, config)
    return total, weights, slow


@pytest.mark.parametrize("tree", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
def test_joint_step_losses_and_gradients_equal_oracle(
    tiny_encoder: Callable[[str], Encoder], model_type: str, tree: dict[str, Any]
) -> None:
    encoder, config = tiny_encoder(model_type), config_of(tree)
    model = model_of(encoder, config)
    fast, _ = fast_step(model, encoder, config)
    slow, weights, slow_encoder = slow_step(model, encoder, config)
    assert relative_error(fast, slow) < LOSS_TOLERANCE

    fast.backward()
    slow.backward()
    expected = {name: weight.grad for name, weight in weights.items() if "output_layer." not in name}
    layer = slow_encoder.gradients(encoder.architecture.names)
    expected |= {f"output_layer.{name}": gradient for name, gradient in layer.items()}
    actual = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert actual.keys() == expected.keys()
    assert {n for n, g in actual.items() if g is None} == {n for n, g in expected.items() if g is None}
    for part in ("output_layer", "projector", "reconstructor", "known_classifier", "novel_classifier"):
        gradients = {n: g for n, g in expected.items() if n.startswith(part) and g is not None}
        scale = max((float(g.abs().max()) for g in gradients.values()), default=0.0)  # some biases' are zero
        for name, gradient in gradients.items():
            assert relative_error(actual[name], gradient, scale) < GRADIENT_TOLERANCE, name


def test_joint_step_recorded_losses_are_its_terms(tiny_encoder: Callable[[str], Encoder]) -> None:
    encoder, config = tiny_encoder("bert"), config_of({"incremental": {"enabled": True}})
    total, terms = fast_step(model_of(encoder, config), encoder, config)
    mu = oracle.rampup(JOINT_EPOCH, 1.0, 10)
    expected = (
        terms["pair"]
        + terms["cross_entropy"]
        + mu * terms["incremental"]
        + terms["reconstruction"]
        + config.loss.center_weight * terms["center"]
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_clustering_loss_reaches_g_and_d_alone(tiny_encoder: Callable[[str], Encoder]) -> None:
    """And the joint loss reaches layer r and the classifiers alone."""
    encoder, config = tiny_encoder("bert"), config_of({"loss": {"use_cross_entropy": False}})
    model = model_of(encoder, config)
    h = torch.randn(11, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor(LABELS)
    joint = JointObjective(config, model, joint_epoch=1)
    joint(h, labels, torch.tensor(PSEUDO_LABELS), Recorded()).backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"novel_classifier"}

    model.zero_grad()
    clustering = ClusteringObjective(config.loss, model, torch.zeros(NUM_KNOWN, 10), pretraining=False)
    clustering(h, labels, Recorded()).backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"projector", "reconstructor"}


@pytest.mark.parametrize(
    ("switches", "pretraining", "expected"),
    [
        ({}, True, {"reconstruction", "center"}),
        ({"pretrain_center": False}, True, {"reconstruction"}),
        ({"pretrain_center": False}, False, {"reconstruction", "center"}),
        ({"use_center": False}, False, {"reconstruction"}),
        ({"use_reconstruction": False}, False, {"center"}),
        ({"use_center": False, "use_reconstruction": False}, True, set()),
    ],
)
def test_clustering_objective_switch_chooses_terms(
    tiny_encoder: Callable[[str], Encoder],
    switches: dict[str, bool],
    pretraining: bool,
    expected: set[str],
) -> None:
    config = config_of({"loss": switches})
    model, recorded = model_of(tiny_encoder("bert"), config), Recorded()
    objective = ClusteringObjective(config.loss, model, torch.zeros(NUM_KNOWN, 10), pretraining=pretraining)
    loss = objective(torch.ones(11, 64), torch.tensor(LABELS), recorded)
    assert set(recorded) == expected
    assert loss.requires_grad == bool(expected)


def test_weight_decay_is_that_of_squared_weights_in_the_loss(tiny_encoder: Callable[[str], Encoder]) -> None:
    """The released program adds decay * sum of squared weights of g and d (not biases) to the loss."""
    encoder, decay = tiny_encoder("bert"), 0.03
    config = config_of({"loss": {"weight_decay": decay}})
    model, explicit = model_of(encoder, config), model_of(encoder, config)
    optimizer = make_adam(model, config)
    plain = torch.optim.Adam(explicit.parameters(), lr=config.train.learning_rate)
    for _ in range(3):
        optimizer.zero_grad()
        fast_step(model, encoder, config)[0].backward()
        optimizer.step()

        plain.zero_grad()
        squares = sum(
            parameter.square().sum()
            for name, parameter in explicit.named_parameters()
            if name.startswith(("projector", "reconstructor")) and name.endswith("weight")
        )
        (fast_step(explicit, encoder, config)[0] + decay * squares).backward()
        plain.step()
    expected = dict(explicit.named_parameters())
    for name, actual in model.named_parameters():
        if name.startswith(("projector", "reconstructor")):
            assert torch.allclose(actual, expected[name], atol=1e-6), name
