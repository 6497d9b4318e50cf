"""What each phase trains, what the switches switch off, and when training ends."""

import math

import numpy as np
import pytest
import torch

from rocore.errors import DivergedError
from rocore.losses import known_centroids
from rocore.training.objective import ClusteringObjective, JointObjective

MODULES = ("output_layer", "projector", "reconstructor", "known_classifier", "novel_classifier")
CLUSTERING, CLASSIFYING = (
    {"projector", "reconstructor"},
    {"output_layer", "known_classifier", "novel_classifier"},
)


def changed(before, after):
    """Names of the modules of which a weight changed."""
    return {name.split(".")[0] for name in before if not np.array_equal(before[name], after[name])}


def ignore(_name, _loss):
    pass


@pytest.mark.parametrize("incremental", [False, True], ids=["standard", "incremental"])
def test_epoch_changes_the_weights_of_its_phase_and_no_frozen_ones(
    incremental, config_of, trainer_of, weights
):
    trainer = trainer_of(config_of({"incremental.enabled": incremental}))
    encoder = {name: value.clone() for name, value in trainer.task.encoder.model.state_dict().items()}
    tokens = trainer.task.bank.batch(trainer.task.rows).hidden.clone()
    moved = []
    for _ in range(2):
        before = weights(trainer)
        trainer.run_epoch()
        moved.append(changed(before, weights(trainer)))
    assert moved == [CLUSTERING, set(MODULES)]
    assert torch.equal(trainer.task.bank.batch(trainer.task.rows).hidden, tokens)
    now = trainer.task.encoder.model.state_dict()
    assert all(torch.equal(now[name], value) for name, value in encoder.items())


def test_trainer_starts_from_the_encoders_own_layer(config_of, trainer_of):
    trainer = trainer_of(config_of())
    layer = trainer.task.encoder.model.encoder.layer[1]
    assert torch.equal(trainer.model.output_layer.intermediate.weight, layer.intermediate.dense.weight)
    assert torch.equal(trainer.model.output_layer.query.weight, layer.attention.self.query.weight)


def test_joint_objective_sends_no_gradient_to_g_and_d(config_of, trainer_of):
    trainer = trainer_of(config_of({"incremental.enabled": True}))
    task, model = trainer.task, trainer.model
    h = model.output_layer(task.bank.batch(np.concatenate([task.known_train[:6], task.novel_train[:6]])))
    labels = torch.from_numpy(task.known_train_labels[:6])
    pseudo_labels = torch.tensor([0, 0, 1, 1, 2, 2])
    JointObjective(trainer.config, model, joint_epoch=1)(h, labels, pseudo_labels, ignore).backward()
    assert with_gradient(model) == CLASSIFYING


def test_clustering_objective_sends_no_gradient_to_layer_r_and_classifiers(config_of, trainer_of):
    trainer = trainer_of(config_of())
    task, model = trainer.task, trainer.model
    h = model.output_layer(task.bank.batch(np.concatenate([task.known_train[:6], task.novel_train[:6]])))
    labels = torch.from_numpy(task.known_train_labels[:6])
    centroids = known_centroids(trainer.relation_repr("known_train"), trainer._labels, 4)
    objective = ClusteringObjective(trainer.config.loss, model, centroids, pretraining=False)
    objective(h.detach(), labels, ignore).backward()
    assert with_gradient(model) == CLUSTERING


def with_gradient(model):
    return {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


def test_joint_epoch_without_clustering_losses_leaves_g_and_d(config_of, trainer_of, train, weights):
    off = {"loss.use_center": False, "loss.use_reconstruction": False, "loss.weight_decay": 0}
    trainer = trainer_of(config_of({**off, "train.pretrain_epochs": 0}))
    before = weights(trainer)
    train(trainer)
    assert changed(before, weights(trainer)) == CLASSIFYING


def test_joint_epoch_with_other_center_weight_leaves_layer_r_and_classifiers(config_of, trainer_of, weights):
    after = []
    for center_weight in (0.001, 3.0):
        once = {"train.pretrain_epochs": 0, "train.max_epochs": 1, "loss.center_weight": center_weight}
        trainer = trainer_of(config_of(once))
        trainer.run_epoch()
        after.append(weights(trainer))
    assert changed(*after) == CLUSTERING


PRETRAIN, JOINT = {"reconstruction", "center"}, {"pair", "cross_entropy", "reconstruction", "center"}


@pytest.mark.parametrize(
    ("overrides", "pretrain", "joint"),
    [
        ({}, PRETRAIN, JOINT),
        ({"loss.use_center": False}, {"reconstruction"}, JOINT - {"center"}),
        ({"loss.use_reconstruction": False}, {"center"}, JOINT - {"reconstruction"}),
        ({"loss.use_cross_entropy": False}, PRETRAIN, JOINT - {"cross_entropy"}),
        ({"loss.pretrain_center": False}, {"reconstruction"}, JOINT),
        ({"incremental.enabled": True}, PRETRAIN, JOINT | {"incremental"}),
    ],
    ids=lambda value: str(sorted(value)),  # a set has no order
)
def test_switch_changes_the_losses_reported(overrides, pretrain, joint, config_of, trainer_of, train):
    reports = train(trainer_of(config_of(overrides))).reports
    assert [(report.phase, set(report.losses)) for report in reports] == [
        ("pretrain", pretrain),
        ("joint", joint),
        ("joint", joint),
    ]
    assert all(math.isfinite(loss) for report in reports for loss in report.losses.values())


def test_scale_paper_multiplies_the_reconstruction_loss_by_half_the_dimensions(config_of, trainer_of):
    still = {"train.learning_rate": 1e-12}
    released, paper = (
        trainer_of(config_of({**still, "loss.scale": scale})).run_epoch() for scale in ("released", "paper")
    )
    assert paper.losses["reconstruction"] == pytest.approx(released.losses["reconstruction"] * 32, rel=1e-4)
    assert paper.losses["center"] == pytest.approx(released.losses["center"], rel=1e-4)


@pytest.mark.parametrize(("joint_epoch", "share"), [(1, math.exp(-5 * 0.75**2)), (4, 1.0), (9, 1.0)])
def test_joint_objective_weighs_the_incremental_loss_by_the_rampup(joint_epoch, share, config_of, trainer_of):
    mode = {"enabled": True, "rampup_peak": 0.5, "rampup_epochs": 4}
    trainer = trainer_of(config_of({"incremental": mode}))
    h = trainer.model.output_layer(trainer.task.bank.batch(np.arange(12))).detach()
    losses = {}
    objective = JointObjective(trainer.config, trainer.model, joint_epoch=joint_epoch)
    total = objective(h, torch.arange(6) % 4, torch.arange(6) % 3, losses.__setitem__)
    expected = losses["pair"] + losses["cross_entropy"] + 0.5 * share * losses["incremental"]
    assert total.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("pretraining", [True, False])
def test_clustering_objective_weighs_the_center_loss_by_lambda(pretraining, config_of, trainer_of):
    trainer = trainer_of(config_of({"loss.center_weight": 0.7}))
    h = trainer.model.output_layer(trainer.task.bank.batch(np.arange(12))).detach()
    losses = {}
    objective = ClusteringObjective(
        trainer.config.loss, trainer.model, torch.ones(4, 16), pretraining=pretraining
    )
    total = objective(h, torch.arange(6) % 4, losses.__setitem__)
    expected = losses["reconstruction"] + 0.7 * losses["center"]
    assert total.item() == pytest.approx(expected.item())


def test_pretraining_with_nothing_to_learn_goes_on_to_the_joint_phase(config_of, trainer_of, train, weights):
    off = {"loss.use_center": False, "loss.use_reconstruction": False, "loss.weight_decay": 0}
    trainer = trainer_of(config_of(off))
    before = weights(trainer)
    assert trainer.run_epoch().losses == {}
    assert changed(before, weights(trainer)) == set()
    assert [report.phase for report in train(trainer).reports] == ["joint", "joint"]


def test_report_holds_pseudo_label_change_from_the_second_joint_epoch(config_of, trainer_of, train):
    reports = train(trainer_of(config_of())).reports
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [report.pseudo_label_change is None for report in reports] == [True, True, False]
    assert [report.silhouette is None for report in reports] == [True, False, False]
    assert 0 <= reports[2].pseudo_label_change <= 1
    assert -1 <= reports[2].silhouette <= 1


@pytest.mark.parametrize(
    ("overrides", "stop_reason", "num_epochs"),
    [
        ({"train.convergence_tolerance": 1.0, "train.convergence_patience": 1}, "converged", 3),
        ({"train.convergence_tolerance": 1.0, "train.convergence_patience": 2}, "converged", 4),
        ({"train.convergence_tolerance": 1.0, "train.convergence_patience": 5}, "max_epochs", 6),
        ({"train.convergence_tolerance": 0.0, "train.learning_rate": 1e-12}, "converged", 5),
    ],
    ids=str,
)
def test_training_ends_when_pseudo_labels_stand_still_or_at_the_maximum(
    overrides, stop_reason, num_epochs, config_of, trainer_of, train
):
    trainer = trainer_of(config_of({"train.max_epochs": 5, **overrides}))
    reports = train(trainer).reports
    assert (trainer.stop_reason, len(reports)) == (stop_reason, num_epochs)


@pytest.mark.parametrize("batch_size", [8, 100], ids=["several-steps", "one-step"])
@pytest.mark.parametrize("pretrain_epochs", [0, 2])
def test_training_that_diverges_says_so_and_what_to_do(
    pretrain_epochs, batch_size, config_of, trainer_of, train
):
    wild = {"train.learning_rate": 1e30, "train.batch_size": batch_size}
    trainer = trainer_of(config_of({**wild, "train.pretrain_epochs": pretrain_epochs, "train.max_epochs": 3}))
    with pytest.raises(DivergedError, match=r"must be finite.* lower `train.learning_rate`"):
        train(trainer)


def test_trainer_that_diverged_leaves_the_checkpoint_before_whole(config_of, trainer_of, tmp_path):
    trainer = trainer_of(config_of())
    trainer.run_epoch()
    trainer.save(tmp_path)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 1e30
    with pytest.raises(DivergedError, match="must be finite"):
        trainer.run_epoch()
    again = trainer_of(config_of())
    again.load(tmp_path)
    assert math.isfinite(again.run_epoch().losses["pair"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_predict_novel_gives_a_class_and_its_probability_for_each_instance(split, config_of, trainer_of):
    trainer = trainer_of(config_of())
    prediction = trainer.predict_novel(split)
    rows = getattr(trainer.task, f"novel_{split}")
    assert prediction.classes.shape == prediction.probabilities.shape == rows.shape
    assert set(prediction.classes.tolist()) <= {0, 1, 2}
    assert (prediction.probabilities >= 1 / 3).all()
    assert (prediction.probabilities <= 1).all()


@pytest.mark.parametrize("role", ["known", "novel"])
def test_predict_unified_chooses_among_known_and_novel_relations(role, config_of, trainer_of):
    trainer = trainer_of(config_of({"incremental.enabled": True}))
    prediction = trainer.predict_unified(role)
    assert prediction.classes.shape == getattr(trainer.task, f"{role}_test").shape
    assert set(prediction.classes.tolist()) <= set(range(7))


def test_epochs_with_fewer_unlabeled_instances_than_a_batch_run(config_of, trainer_of, train):
    few = {"data.novel_test_size": 25, "train.batch_size": 16}
    trainer = trainer_of(config_of(few))
    assert len(trainer.task.novel_train) == 5
    assert len(train(trainer).reports) == 3


def test_trainer_in_bf16_stays_near_fp32(config_of, trainer_of, train):
    losses = [
        train(trainer_of(config_of({"encoder.precision": precision}))).reports[-1].losses
        for precision in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
