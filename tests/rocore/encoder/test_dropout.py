"""Masks that are functions of a key; those of the kernels are tested on a GPU."""

import pytest
import torch

from rocore.encoder.dropout import DropoutKeys

SEEDS, STEP = torch.tensor([5, 2**32 - 1]), torch.tensor([7])


def test_keys_drop_their_share_and_scale_the_rest() -> None:
    rows = torch.ones(2000, 100)
    dropped = DropoutKeys(SEEDS, STEP).drop(rows, 0.3, DropoutKeys.OUTPUT)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=5e-3)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / 0.7])


def test_keys_give_a_member_the_same_mask_alone_in_a_pack_and_with_fewer_rows() -> None:
    rows = torch.ones(400, 10)
    both = DropoutKeys(SEEDS, STEP).drop(rows, 0.3, DropoutKeys.OUTPUT)
    alone = DropoutKeys(SEEDS[1:], STEP).drop(rows[:150], 0.3, DropoutKeys.OUTPUT)
    assert torch.equal(both[200:350], alone)
    assert not torch.equal(both[:200], both[200:])


def test_keys_differ_by_place_and_step_and_seed() -> None:
    keys = [DropoutKeys(SEEDS, torch.tensor([step])).at(place) for step in range(50) for place in range(3)]
    assert len(torch.stack(keys).unique()) == 50 * 3 * len(SEEDS)


def test_gradient_of_a_drop_meets_the_same_mask() -> None:
    rows = torch.randn(40, 10, requires_grad=True)
    dropped = DropoutKeys(SEEDS, STEP).drop(rows, 0.3, DropoutKeys.ATTENTION_OUTPUT)
    dropped.sum().backward()
    assert rows.grad is not None
    assert torch.equal(rows.grad * rows.detach(), dropped.detach())
