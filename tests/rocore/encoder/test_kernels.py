"""Kernels against plain tensors: on a GPU, or where Triton interprets them (TRITON_INTERPRET=1) on the CPU."""

import os
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from rocore.encoder.ragged import RaggedBatch
from rocore.encoder.ragged_attention import Mixtures, plain_gradients, plain_mixtures
from rocore.encoder.rows import max_pool_spans
from rocore.encoder.tokens import TokenBank

from ..tiny import relative_error, source_of, store_of

ON_GPU = torch.cuda.is_available()
INTERPRETED = bool(os.environ.get("TRITON_INTERPRET")) and find_spec("triton") is not None
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not ON_GPU and not INTERPRETED, reason="neither a CUDA device nor Triton's interpreter"
    ),
]
if ON_GPU or INTERPRETED:
    from rocore.encoder import kernels, row_kernels

DEVICE = torch.device("cuda" if ON_GPU else "cpu")
ONE_BLOCK = [2, 3, 31, 32, 33, 70, 120]
LENGTHS = {"one block": ONE_BLOCK, "blocks": [*ONE_BLOCK, 200]}
WIDTH, HEADS = 96, 4
DTYPES = [torch.float32, torch.bfloat16] if ON_GPU else [torch.float32]
BOUND = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.fixture(autouse=True)
def _exact_products() -> Any:
    """TensorFloat-32 would hide real differences."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def batch_of(lengths: list[int], members: int, dtype: torch.dtype = torch.float32) -> RaggedBatch:
    rng = np.random.default_rng(members)

    def span(length: int) -> tuple[int, int]:
        start = int(rng.integers(0, length))
        return start, int(rng.integers(start + 1, min(length, start + 12) + 1))

    sentences = [(length, span(length), span(length)) for length in lengths]
    hidden = torch.randn(sum(lengths), WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(0))
    bank = TokenBank([store_of(hidden, source_of(sentences))], DEVICE, resident=True)
    batch = bank.batch(*(rng.permutation(len(lengths)) for _ in range(members)))
    assert isinstance(batch, RaggedBatch)
    return batch


def rows_of(batch: RaggedBatch, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    shape = batch.num_members * HEADS, batch.queries_per_member, WIDTH
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(DEVICE, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_attention_kernels_equal_plain_tensors(
    lengths: list[int], members: int, biased: bool, dtype: torch.dtype
) -> None:
    batch = batch_of(lengths, members, dtype)
    rows = rows_of(batch, dtype)
    biases = torch.randn(HEADS, 2 * batch.most_tokens, device=DEVICE) if biased else None
    how: dict[str, Any] = {"biases": biases, "scale": 0.1, "keys": None, "rate": 0.0}
    found, plain = kernels.mixtures(rows, batch, **how), plain_mixtures(rows, batch, **how)
    of_mixtures, of_totals = torch.randn_like(rows), torch.randn_like(plain.totals)
    gradients = [
        compute(of_mixtures, of_totals, mixtures, batch, scale=0.1)
        for compute, mixtures in ((kernels.gradients, found), (plain_gradients, plain))
    ]
    real = batch.spans < 2 * batch.size
    assert relative_error(found.rows, plain.rows) < BOUND[dtype]
    assert relative_error(found.totals[real], plain.totals[real]) < 1e-5
    assert relative_error(*gradients) < BOUND[dtype]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_attention_kernels_with_dropout_are_those_of_the_weights_that_were_kept(lengths: list[int]) -> None:
    batch, rate = batch_of(lengths, 2), 0.25
    rows, keys = rows_of(batch), torch.tensor([5, 2**40 + 3], device=DEVICE)
    how: dict[str, Any] = {"biases": None, "scale": 0.1, "rate": rate}
    found = kernels.mixtures(rows, batch, keys=keys, **how)
    plain = plain_mixtures(rows, batch, keys=None, **{**how, "rate": 0.0})
    there = plain.weights > 0
    kept = found.dropped.where(there, 0.0)
    shares = kept[there] / plain.weights[there]
    dropped = shares == 0
    assert float(dropped.float().mean()) == pytest.approx(rate, abs=0.02)
    assert torch.allclose(shares[~dropped], torch.full_like(shares[~dropped], 1 / (1 - rate)), rtol=1e-4)
    expected = Mixtures(found.rows, kept.sum(-1), plain.weights, kept)
    real = batch.spans < 2 * batch.size
    assert relative_error(found.totals[real], expected.totals[real]) < 1e-5
    again = plain_mixtures(rows, batch, keys=None, **{**how, "rate": 0.0})
    mixed = torch.einsum("ral,rlh->rah", kept, tokens_of(batch))
    by_row = found.rows.view(batch.num_members, HEADS, -1, WIDTH).transpose(1, 2).flatten(0, 1)
    assert relative_error(by_row[real], mixed[real]) < 1e-5
    assert relative_error(by_row, again.rows.view(2, HEADS, -1, WIDTH).transpose(1, 2).flatten(0, 1)) > 0.1
    of_mixtures, of_totals = torch.randn_like(rows), torch.randn_like(plain.totals)
    gradients = [
        compute(of_mixtures, of_totals, mixtures, batch, scale=0.1)
        for compute, mixtures in ((kernels.gradients, found), (plain_gradients, expected))
    ]
    assert relative_error(*gradients) < 1e-5


def tokens_of(batch: RaggedBatch) -> torch.Tensor:
    """The tokens of each query's sentence, (R, L, H); what stands behind the last one doesn't matter."""
    sentence = (batch.spans // 2).clamp(max=batch.size - 1)
    at = batch.first_tokens[sentence][:, None] + torch.arange(batch.most_tokens, device=DEVICE)
    return batch.hidden[at.clamp(max=len(batch.hidden) - 1)]


@pytest.mark.parametrize("members", [1, 3])
def test_pool_kernels_equal_plain_tensors_ties_included(members: int) -> None:
    batch = batch_of(ONE_BLOCK, members)
    rows = torch.randint(0, 3, (len(batch.spans), 20), generator=torch.Generator().manual_seed(2))
    rows = rows.float().to(DEVICE).requires_grad_()
    plain = max_pool_spans(rows, batch.spans, 2 * batch.size + 1)[: 2 * batch.size]
    found = row_kernels.pool(rows.detach(), batch)
    assert torch.equal(found, plain)
    grads = torch.randn_like(found)
    (plain * grads).sum().backward()
    assert torch.allclose(
        row_kernels.pool_gradients(grads, rows.detach(), found, batch), rows.grad, atol=1e-6
    )


def test_drop_kernel_keeps_its_share_and_is_the_same_alone_and_in_a_pack() -> None:
    keys = torch.tensor([5, 2**40 + 3], device=DEVICE)
    rows = torch.ones(400, 30, device=DEVICE)
    both, alone = row_kernels.drop(rows, keys, 0.3), row_kernels.drop(rows[:70], keys[1:], 0.3)
    assert torch.equal(both[200:270], alone)
    assert float((both == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert both[both != 0].unique().tolist() == pytest.approx([1 / 0.7])
    assert not torch.equal(both[:200], both[200:])
    assert not torch.equal(row_kernels.drop(rows, keys + (1 << 32), 0.3), both)
