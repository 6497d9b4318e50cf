"""The engine on CUDA: the numbers of the CPU within a bound. No data, no download."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.tokens import TokenBank
from rocore.encoder.trunk import hidden_states
from rocore.training.pack import run_packed_epoch
from rocore.training.task import TrainingTask
from rocore.training.trainer import EpochReport, Trainer

from .tiny import config_of, encoder_of, source_of, store_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here"),
]
BOUND = {"fp32": 2e-3, "bf16": 8e-2}
TRAINING = {
    "encoder": {"output_layer": 2},
    "train": {"pretrain_epochs": 1, "max_epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.0},
}


@pytest.fixture(autouse=True)
def _exact_products() -> Any:
    """TensorFloat-32 would hide real differences."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def source() -> Any:
    """Thirty sentences of random length."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(8, 40, 30)
    return source_of([(int(n), (1, int(rng.integers(2, 4))), (4, int(rng.integers(5, 8)))) for n in lengths])


def task_on(name: str, precision: str, model_type: str = "bert") -> TrainingTask:
    device = torch.device(name)
    encoder = encoder_of(model_type)
    hidden = hidden_states(encoder, source(), 2, precision=precision, device=device)
    rows = np.arange(30)
    return TrainingTask(
        encoder=encoder,
        bank=TokenBank([store_of(hidden, source())], device),
        known_train=rows[:14],
        known_test=rows[14:16],
        novel_train=rows[16:26],
        novel_test=rows[26:],
        known_train_labels=rows[:14] % 3,
        num_known_relations=3,
        num_novel_relations=2,
        precision=precision,
        device=device,
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trunk_and_output_layer_on_cuda_equal_those_on_cpu(precision: str) -> None:
    trunk, features = {}, {}
    for name in ("cpu", "cuda"):
        task = task_on(name, precision)
        layer = OutputLayer(task.encoder, 2).to(task.device).eval()
        trunk[name] = hidden_states(
            task.encoder, source(), 2, precision=precision, device=task.device
        ).float()
        with torch.no_grad(), torch.autocast(name, dtype=torch.bfloat16, enabled=precision == "bf16"):
            features[name] = layer(task.bank.batch(np.arange(30))).float().cpu()
    for found in (trunk, features):
        scale = float(found["cpu"].abs().max())
        assert float((found["cuda"] - found["cpu"]).abs().max()) < BOUND[precision] * scale


@pytest.mark.parametrize("incremental", [False, True], ids=["standard", "incremental"])
def test_trainer_on_cuda_reports_the_losses_of_cpu(incremental: bool) -> None:
    config = config_of({**TRAINING, "incremental": {"enabled": incremental}})
    reports = {}
    for name in ("cpu", "cuda"):
        trainer = Trainer(config, task_on(name, "fp32"))
        reports[name] = [trainer.run_epoch() for _ in range(2)]
    for cpu, cuda in zip(reports["cpu"], reports["cuda"], strict=True):
        assert cuda.losses == pytest.approx(cpu.losses, rel=2e-2, abs=1e-4)


def test_trainer_on_cuda_goes_on_from_a_checkpoint_of_cpu(tmp_path: Any) -> None:
    config = config_of(TRAINING)
    first = Trainer(config, task_on("cpu", "fp32"))
    first.run_epoch()
    first.run_epoch()
    first.save(tmp_path)
    second = Trainer(config, task_on("cuda", "fp32"))
    second.load(tmp_path)
    expected, found = (replace(t.run_epoch(), seconds={}) for t in (first, second))
    assert found.epoch == expected.epoch == 3
    assert found.losses == pytest.approx(expected.losses, rel=2e-2, abs=1e-4)
    assert set(second.predict_novel("test").classes.tolist()) <= {0, 1}


def gradients_on(name: str, precision: str) -> dict[str, torch.Tensor]:
    """Of a fixed sum of the output layer's features."""
    task = task_on(name, precision)
    layer = OutputLayer(task.encoder, 2).to(task.device)
    with torch.autocast(name, dtype=torch.bfloat16, enabled=precision == "bf16"):
        features = layer(task.bank.batch(np.arange(30)))
    outer = torch.linspace(-1, 1, features.numel(), device=task.device).view(features.shape)
    (features.float() * outer).sum().backward()
    return {key: weight.grad.float().cpu() for key, weight in layer.named_parameters()}  # type: ignore[union-attr]


def test_gradients_of_the_output_layer_on_cuda_equal_those_on_cpu() -> None:
    expected, found = (gradients_on(name, "fp32") for name in ("cpu", "cuda"))
    for key, gradient in expected.items():
        error = float((found[key] - gradient).abs().max())
        assert error <= BOUND["fp32"] * float(gradient.abs().max()) + 1e-6, key


def test_gradients_in_bf16_on_cuda_are_as_good_as_those_on_cpu() -> None:
    """Rounding lets other tokens of a span win, so that either differs from fp32 by a tenth on this encoder."""
    exact = gradients_on("cpu", "fp32")
    cpu, cuda = (gradients_on(name, "bf16") for name in ("cpu", "cuda"))
    for key, gradient in exact.items():
        errors = [float((found[key] - gradient).norm() / gradient.norm()) for found in (cpu, cuda)]
        assert errors[1] <= 2 * errors[0] + 0.02, key


def test_pack_on_cuda_equals_its_members_alone_dropout_included() -> None:
    task = task_on("cuda", "fp32")
    training = {**TRAINING["train"], "dropout": 0.2, "batch_size": 3, "max_epochs": 4}
    configs = [config_of({**TRAINING, "seed": seed, "train": training}) for seed in (3, 4)]
    alone, packed = ([Trainer(config, task) for config in configs] for _ in range(2))
    while not alone[0].finished:
        for found, trainer in zip(run_packed_epoch(packed), alone, strict=True):
            assert isinstance(found, EpochReport)
            assert found.losses == pytest.approx(trainer.run_epoch().losses, rel=2e-2, abs=1e-4)


def test_recorded_steps_on_cuda_are_those_of_the_plain_ones() -> None:
    """Epochs on a recording, its last batch apart, against the same epochs of the CPU."""
    training = {**TRAINING["train"], "batch_size": 3, "pretrain_epochs": 2, "max_epochs": 4}
    config = config_of({**TRAINING, "train": training})
    cpu, cuda = (Trainer(config, task_on(name, "fp32")) for name in ("cpu", "cuda"))
    while not cpu.finished:
        assert cuda.run_epoch().losses == pytest.approx(cpu.run_epoch().losses, rel=2e-2, abs=1e-4)


def unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every step run by itself, as those do that warm up."""
    monkeypatch.setattr("rocore.training.resident_steps.WARM_UP_STEPS", 10**6)


MANY_STEPS = {**TRAINING["train"], "dropout": 0.2, "batch_size": 2, "pretrain_epochs": 2, "max_epochs": 4}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
def test_recorded_steps_are_those_that_run_by_themselves(
    precision: str, model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_on("cuda", precision, model_type)
    recorded, plain = (Trainer(config_of({**TRAINING, "train": MANY_STEPS}), task) for _ in range(2))
    found = [recorded.run_epoch().losses for _ in range(6)]
    unrecorded(monkeypatch)
    for losses in found:
        assert losses == pytest.approx(plain.run_epoch().losses, rel=2e-2, abs=1e-3)


def test_member_leaves_a_recorded_pack_and_goes_on_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    task = task_on("cuda", "fp32")
    configs = [config_of({**TRAINING, "seed": seed, "train": MANY_STEPS}) for seed in (3, 4)]
    stays, leaves = (Trainer(config, task) for config in configs)
    for _ in range(4):
        run_packed_epoch([stays, leaves])
    leaves.save(tmp_path)
    leaves.close()
    again = Trainer(configs[1], task)
    again.load(tmp_path)
    found = [trainer.run_epoch().losses for trainer in (stays, again)]
    unrecorded(monkeypatch)
    for config, losses in zip(configs, found, strict=True):
        alone = Trainer(config, task)
        for _ in range(4):
            alone.run_epoch()
        assert losses == pytest.approx(alone.run_epoch().losses, rel=2e-2, abs=1e-3)
