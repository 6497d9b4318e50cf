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


def task_on(name: str, precision: str) -> TrainingTask:
    device = torch.device(name)
    encoder = encoder_of("bert")
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
        batch = task.bank.batch(np.arange(30))
        with torch.no_grad(), torch.autocast(name, dtype=torch.bfloat16, enabled=precision == "bf16"):
            trunk[name], features[name] = batch.hidden.float().cpu(), layer(batch).float().cpu()
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_of_the_output_layer_on_cuda_equal_those_on_cpu(precision: str) -> None:
    """Sentences with different numbers of span tokens share a group there: no slot that is empty may count."""
    gradients: dict[str, dict[str, torch.Tensor]] = {}
    for name in ("cpu", "cuda"):
        task = task_on(name, precision)
        layer = OutputLayer(task.encoder, 2).to(task.device)
        with torch.autocast(name, dtype=torch.bfloat16, enabled=precision == "bf16"):
            features = layer(task.bank.batch(np.arange(30)))
        outer = torch.linspace(-1, 1, features.numel(), device=task.device).view(features.shape)
        (features.float() * outer).sum().backward()
        gradients[name] = {key: weight.grad.float().cpu() for key, weight in layer.named_parameters()}  # type: ignore[union-attr]
    for key, expected in gradients["cpu"].items():
        error = float((gradients["cuda"][key] - expected).abs().max())
        assert error <= BOUND[precision] * float(expected.abs().max()) + 1e-6, key


def test_pack_on_cuda_equals_its_members_alone_and_trains_with_dropout() -> None:
    configs = [config_of({**TRAINING, "seed": seed}) for seed in (3, 4)]
    alone, packed = ([Trainer(config, task_on("cuda", "fp32")) for config in configs] for _ in range(2))
    for trainer in packed[1:]:
        trainer.task = packed[0].task  # members share a bank
    for _ in range(2):
        for found, trainer in zip(run_packed_epoch(packed), alone, strict=True):
            assert isinstance(found, EpochReport)
            assert found.losses == pytest.approx(trainer.run_epoch().losses, rel=2e-2, abs=1e-4)
    noisy = config_of({**TRAINING, "train": {**TRAINING["train"], "dropout": 0.2}})
    trainer = Trainer(noisy, task_on("cuda", "bf16"))
    assert all(np.isfinite(list(trainer.run_epoch().losses.values())).all() for _ in range(2))
