"""A packed training against the same training alone."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from rocore.config import Config
from rocore.errors import DivergedError
from rocore.training.pack import pack_key, run_packed_epoch, stack_models
from rocore.training.trainer import EpochReport, Trainer

VARIANTS = [
    {"seed": 3, "loss.center_weight": 0.05, "loss.pair_margin": 2.0},
    {"seed": 4, "loss.center_weight": 0.5, "loss.pair_margin": 1.0, "train.learning_rate": 5e-4},
    {"seed": 5, "loss.center_weight": 0.0, "loss.pair_margin": 3.0, "loss.weight_decay": 0.01},
]
TOLERANCE = {"incremental": 1e-2}
"""Its labels are an argmax: where two classes are all but equal, rounding decides, and one instance's loss moves."""


@pytest.fixture(params=[False, True], ids=["standard", "incremental"])
def configs(request: pytest.FixtureRequest, config_of: Callable[..., Config]) -> list[Config]:
    shared = {"incremental.enabled": request.param, "train.dropout": 0.2, "train.max_epochs": 3}
    key = "incremental.rampup_peak" if request.param else "loss.novel_cross_entropy"
    weights = [{key: weight} for weight in (0.3, 1.0, 2.0)]
    return [config_of({**shared, **own, **weight}) for own, weight in zip(VARIANTS, weights, strict=True)]


def assert_alike(packed: Trainer, alone: Trainer) -> None:
    """Weights, up to what no output depends on: there a gradient is rounding noise, which Adam scales to full steps."""
    for (name, ours), theirs in zip(packed.model.named_parameters(), alone.model.parameters(), strict=True):
        difference = (ours - theirs).detach()
        if name == "novel_classifier.bias":
            continue  # the two halves of each pair's cost (13) pull it apart equally: its gradient is rounding, too
        if name == "known_classifier.bias":
            difference = (
                difference - difference.mean()
            )  # nor does that over classes see a shift of all logits
        assert float(difference.abs().max()) < 1e-3 * float(theirs.detach().abs().max()) + 1e-4, name
    ours, theirs = packed.predict_novel("test"), alone.predict_novel("test")
    assert ours.classes.tolist() == theirs.classes.tolist()


def test_pack_equals_every_member_alone(
    configs: list[Config], trainer_of: Callable[[Config], Trainer]
) -> None:
    """Through pre-training and the joint phase, dropout included."""
    alone, packed = ([trainer_of(config) for config in configs] for _ in range(2))
    while not packed[0].finished:
        expected = [replace(trainer.run_epoch(), seconds={}) for trainer in alone]
        for found, report in zip(run_packed_epoch(packed), expected, strict=True):
            assert isinstance(found, EpochReport)
            for name, loss in found.losses.items():
                assert loss == pytest.approx(report.losses[name], rel=TOLERANCE.get(name, 1e-4), abs=1e-5)
            assert found.losses.keys() == report.losses.keys()
            assert found.pseudo_label_change == report.pseudo_label_change
    for ours, theirs in zip(packed, alone, strict=True):
        assert_alike(ours, theirs)


def test_pack_member_may_leave_and_go_on_alone(
    configs: list[Config], trainer_of: Callable[[Config], Trainer]
) -> None:
    alone, packed = ([trainer_of(config) for config in configs] for _ in range(2))
    for trainer in alone:
        for _ in range(3):
            trainer.run_epoch()
    run_packed_epoch(packed)
    run_packed_epoch(packed[:2])
    packed[0].run_epoch()
    run_packed_epoch(packed[1:2])
    for ours, theirs in zip(packed[:2], alone, strict=False):
        assert_alike(ours, theirs)
    assert packed[2].epoch == 1


def test_pack_members_of_other_epochs_train_together(
    configs: list[Config], trainer_of: Callable[[Config], Trainer]
) -> None:
    """Optimizer steps and ramp-up are each member's own."""
    alone, packed = ([trainer_of(config) for config in configs[:2]] for _ in range(2))
    for pair in (alone, packed):
        pair[0].run_epoch()
        pair[0].run_epoch()
        pair[1].run_epoch()
    run_packed_epoch(packed)
    for trainer in alone:
        trainer.run_epoch()
    for ours, theirs in zip(packed, alone, strict=True):
        assert_alike(ours, theirs)


def test_pack_member_that_diverges_leaves_the_others_alone(
    configs: list[Config], trainer_of: Callable[[Config], Trainer]
) -> None:
    alone, *packed = (trainer_of(config) for config in (configs[0], configs[0], configs[1]))
    for trainer in (alone, *packed):
        trainer.run_epoch()
    with torch.no_grad():
        packed[1].model.novel_classifier.weight.fill_(math.nan)
    first, second = run_packed_epoch(packed)
    assert isinstance(first, EpochReport)
    assert isinstance(second, DivergedError)
    alone.run_epoch()
    assert_alike(packed[0], alone)


def test_pack_error_of_the_steps_is_every_members(
    configs: list[Config], trainer_of: Callable[[Config], Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("rocore.training.pack.stack_models", broken)
    trainers = [trainer_of(config) for config in configs]
    assert [str(found) for found in run_packed_epoch(trainers)] == ["no room"] * 3
    assert [trainer.epoch for trainer in trainers] == [0, 0, 0]


def test_pack_key_tells_what_can_be_stacked(
    config_of: Callable[..., Config], trainer_of: Callable[[Config], Trainer]
) -> None:
    key = pack_key(trainer_of(config_of()))
    assert pack_key(trainer_of(config_of({"loss.center_weight": 0.7, "seed": 9}))) == key
    for other in (
        {"train.batch_size": 8},
        {"loss.use_center": False},
        {"incremental.enabled": True},
        {"loss.novel_cross_entropy": 0.1},
    ):
        assert pack_key(trainer_of(config_of(other))) != key
    one, other = (trainer_of(config_of({"loss.novel_cross_entropy": weight})) for weight in (0.1, 0.7))
    assert pack_key(one) == pack_key(other)
    joint = trainer_of(config_of())
    joint.run_epoch()
    assert pack_key(joint) != key
    hidden = [
        trainer_of(config_of({"data.pseudo_novel": {"num_relations": 2, "labeled_per_epoch": asked}}))
        for asked in (None, "real")
    ]
    assert pack_key(hidden[0]) != pack_key(hidden[1])


def test_stack_models_weights_of_members_are_views(
    config_of: Callable[..., Config], trainer_of: Callable[[Config], Trainer]
) -> None:
    models = [trainer_of(config_of({"seed": seed})).model for seed in (1, 2)]
    packed = stack_models(models)
    with torch.no_grad():
        packed.novel_classifier.weight[1].fill_(7.0)
    assert bool((models[1].novel_classifier.weight == 7).all())
    assert not bool((models[0].novel_classifier.weight == 7).any())
