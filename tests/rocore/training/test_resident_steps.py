"""Training as on an accelerator, here on the CPU by plain tensors and without a recording, against the CPU's own."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import Mock
from weakref import ref

import pytest
import torch

from rocore.config import Config
from rocore.encoder.tokens import TokenBank, TokenStore
from rocore.errors import DeviceError
from rocore.training.pack import run_packed_epoch
from rocore.training.resident_steps import RECORDING, ResidentSteps
from rocore.training.stack import LowPrecisionCopy, stack_models
from rocore.training.trainer import EpochReport, Trainer

CPU = torch.device("cpu")
EPOCHS = {"train.pretrain_epochs": 2, "train.max_epochs": 3, "train.batch_size": 7}


@pytest.fixture
def resident_of(trainer_of: Callable[[Config], Trainer]) -> Callable[[Config], Trainer]:
    """A trainer whose bank is resident; trainers of one task share the bank."""
    banks: dict[int, TokenBank] = {}

    def make(config: Config) -> Trainer:
        task = trainer_of(config).task
        bank = task.bank
        if id(bank) not in banks:
            ends = [*bank.first_row[1:].tolist()]
            starts = [0, *ends[:-1]]
            stores = [
                TokenStore(hidden, _offsets(bank, start, end), bank._spans[start:end])
                for hidden, start, end in zip(bank._hidden, starts, ends, strict=True)
            ]
            banks[id(bank)] = TokenBank(stores, CPU, resident=True)
        return Trainer(config, replace(task, bank=banks[id(bank)]))

    return make


def _offsets(bank: TokenBank, start: int, end: int) -> Any:
    return [*bank._starts[start:end], bank._starts[end - 1] + bank.lengths[end - 1]]


@pytest.mark.parametrize("incremental", [False, True], ids=["standard", "incremental"])
def test_resident_training_equals_that_of_the_cpu(
    incremental: bool,
    config_of: Callable[..., Config],
    trainer_of: Callable[[Config], Trainer],
    resident_of: Callable[[Config], Trainer],
) -> None:
    """Both phases, with a last batch of fewer rows."""
    config = config_of({**EPOCHS, "train.dropout": 0.0, "incremental.enabled": incremental})
    ours, theirs = resident_of(config), trainer_of(config)
    assert len(theirs.task.known_train) % 7
    while not theirs.finished:
        found, expected = ours.run_epoch(), theirs.run_epoch()
        assert found.losses == pytest.approx(expected.losses, rel=1e-3)
        assert found.pseudo_label_change == expected.pseudo_label_change
    assert ours.predict_novel("test").classes.tolist() == theirs.predict_novel("test").classes.tolist()


def test_resident_pack_equals_its_members_alone_dropout_included(
    config_of: Callable[..., Config], resident_of: Callable[[Config], Trainer]
) -> None:
    """Members come and go: each time the weights are stacked anew."""
    configs = [
        config_of(
            {**EPOCHS, "train.max_epochs": 4, "train.dropout": 0.3, "seed": 3, "loss.center_weight": weight}
        )
        for weight in (0.01, 0.05, 0.3)
    ]
    alone, packed = ([resident_of(config) for config in configs] for _ in range(2))
    for members in ((0, 1, 2), (0, 1, 2), (1, 2), (2,), (1, 2), (1, 2)):
        chosen = [packed[k] for k in members]
        for found, trainer in zip(run_packed_epoch(chosen), [alone[k] for k in members], strict=True):
            assert isinstance(found, EpochReport)
            assert found.losses == pytest.approx(trainer.run_epoch().losses, rel=1e-5)


def test_resident_steps_of_a_training_that_loaded_a_checkpoint_are_made_anew(
    config_of: Callable[..., Config], resident_of: Callable[[Config], Trainer], tmp_path: Any
) -> None:
    """What was recorded reads and writes Adam's moments of before."""
    config = config_of(EPOCHS)
    first = resident_of(config)
    for _ in range(3):
        first.run_epoch()
    first.save(tmp_path)
    expected = first.run_epoch()
    kept = first.resident_steps
    assert isinstance(kept, ResidentSteps)
    first.load(tmp_path)
    assert first.run_epoch().losses == expected.losses
    assert first.resident_steps is not kept
    again = first.resident_steps
    first.run_epoch()
    assert first.resident_steps is again


def test_resident_steps_that_fail_leave_nothing_recorded(
    config_of: Callable[..., Config],
    resident_of: Callable[[Config], Trainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = resident_of(config_of(EPOCHS))
    trainer.run_epoch()

    def broken(*_args: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(ResidentSteps, "run", broken)
    with pytest.raises(MemoryError, match="no room"):
        trainer.run_epoch()
    assert trainer.resident_steps is None


def test_low_precision_copy_gives_the_gradients_that_autocast_does(
    config_of: Callable[..., Config], resident_of: Callable[[Config], Trainer]
) -> None:
    bf16 = {"encoder.precision": "bf16"}
    trainers = [resident_of(config_of({**bf16, "seed": seed})) for seed in (1, 2)]
    models = [trainer.model for trainer in trainers]
    stacked = stack_models(models)
    batch = trainers[0].task.bank.batch(*([trainers[0].task.rows[:9]] * 2))

    def gradients(model: Any) -> list[torch.Tensor]:
        h = model.entity_pair_repr(batch)
        loss = model.reconstruct(h)[1].square().mean() + model.novel_classifier(h).square().mean()
        loss.backward()
        return [parameter.grad for parameter in stacked.parameters() if parameter.grad is not None]

    copy = LowPrecisionCopy(stacked)
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.mul_(1.5)
    expected = gradients(stacked)
    stacked.zero_grad(set_to_none=True)
    copy.refresh()
    gradients(copy.model)
    copy.hand_over_gradients()
    found = [parameter.grad for parameter in stacked.parameters() if parameter.grad is not None]
    assert len(found) == len(expected) > 20
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_resident_training_in_bf16_is_that_without_a_copy_of_the_weights(
    config_of: Callable[..., Config],
    resident_of: Callable[[Config], Trainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of({**EPOCHS, "encoder.precision": "bf16", "train.dropout": 0.0})
    ours, theirs = resident_of(config), resident_of(config)
    while not ours.finished:
        found = ours.run_epoch()
        assert ours.resident_steps is not None
        assert ours.resident_steps._copy is not None
        with monkeypatch.context() as patch:
            patch.setattr("rocore.training.resident_steps.LowPrecisionCopy", lambda _: None)
            assert found.losses == theirs.run_epoch().losses


def test_recording_of_a_pack_serves_until_its_members_change_and_then_is_nobodys(
    config_of: Callable[..., Config], resident_of: Callable[[Config], Trainer]
) -> None:
    trainers = [resident_of(config_of({**EPOCHS, "seed": 3, "loss.center_weight": w})) for w in (0.01, 0.1)]
    run_packed_epoch(trainers)
    steps = trainers[0].resident_steps
    run_packed_epoch(trainers)
    assert trainers[0].resident_steps is trainers[1].resident_steps is steps
    trainers[1].run_epoch()
    assert trainers[0].resident_steps is None
    assert trainers[1].resident_steps is not steps
    run_packed_epoch(trainers)
    trainers[0].close()
    assert trainers[1].resident_steps is None


def test_trainer_that_nobody_holds_is_freed_at_once(
    config_of: Callable[..., Config], resident_of: Callable[[Config], Trainer]
) -> None:
    """A recording holds much of a device's memory."""
    trainer = resident_of(config_of(EPOCHS))
    trainer.run_epoch()
    steps = ref(trainer.resident_steps)
    gc.collect()
    gc.disable()
    try:
        del trainer
        assert steps() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("while_it_ends", [False, True], ids=["in-the-step", "and-at-the-end"])
def test_recording_that_fails_names_what_failed_first(
    while_it_ends: bool,
    config_of: Callable[..., Config],
    resident_of: Callable[[Config], Trainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What PyTorch says at the end of such a recording hides it."""

    @contextmanager
    def recording(*_args: Any, **_options: Any) -> Iterator[None]:
        try:
            yield
        finally:
            if while_it_ends:
                raise RuntimeError("capturing stream has unjoined work")

    monkeypatch.setattr("torch.cuda.CUDAGraph", object)
    monkeypatch.setattr("torch.cuda.graph", recording)
    monkeypatch.setattr("torch.cuda.stream", lambda _stream: nullcontext())
    trainer = resident_of(config_of(EPOCHS))
    steps = ResidentSteps([trainer], [trainer.begin_epoch()])
    step = Mock(side_effect=torch.OutOfMemoryError("tried to allocate 2 GiB"))
    with pytest.raises(DeviceError, match="recorded on cpu, but tried to allocate 2 GiB; go on"):
        steps._recorded(Mock(), step)
    assert not RECORDING.locked()
