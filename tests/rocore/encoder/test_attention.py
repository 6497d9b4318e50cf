import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rocore.encoder.attention import (
    attention_masks,
    gather_rows,
    max_pool_spans,
    relative_position_bucket,
    scatter_rows,
    span_attention,
)
from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.tokens import TokenBank, TokenBatch, TokenStore

CPU = torch.device("cpu")
HEADS, HIDDEN = 2, 6


def test_scatter_rows_hand_value() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    grid = scatter_rows(rows, torch.tensor([2, 0]), 4)
    assert grid.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0]]


def test_scatter_rows_gradient_is_right() -> None:
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    slots = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda x: scatter_rows(x, slots, 6), (rows,))


@pytest.mark.parametrize("num_buckets", [8, 32])
def test_relative_position_bucket_equals_mpnet(num_buckets: int) -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    relative = torch.arange(-600, 601)
    expected = MPNetEncoder.relative_position_bucket(relative, num_buckets=num_buckets)
    assert torch.equal(relative_position_bucket(relative, num_buckets), expected)


def test_gather_rows_gradient_is_right() -> None:
    grid = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gather_rows(x, torch.tensor([4, 0, 2])), (grid,))


def test_max_pool_spans_hand_value() -> None:
    rows = torch.tensor([[1.0, 9.0], [3.0, 2.0], [-5.0, -7.0]])
    assert max_pool_spans(rows, torch.tensor([1, 1, 0]), 2).tolist() == [[-5, -7], [3, 9]]


def test_max_pool_spans_gradient_is_right() -> None:
    rows = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    spans = torch.tensor([2, 0, 2, 1, 0, 2, 2])
    assert torch.autograd.gradcheck(lambda x: max_pool_spans(x, spans, 3), (rows,))


def test_max_pool_spans_tie_shares_the_gradient() -> None:
    rows = torch.tensor([[4.0], [4.0], [1.0]], requires_grad=True)
    max_pool_spans(rows, torch.tensor([0, 0, 0]), 1).sum().backward()
    assert rows.grad is not None
    assert rows.grad.flatten().tolist() == [0.5, 0.5, 0]


def random_batch(lengths: list[int], seed: int) -> TokenBatch:
    """Sentences with random, possibly overlapping spans."""
    rng = np.random.default_rng(seed)
    spans = []
    for length in lengths:
        head, tail = (np.sort(rng.integers(0, length, 2)) + [0, 1] for _ in range(2))
        spans.append([*head, *tail])
    offsets = np.cumsum([0, *lengths])
    hidden = torch.zeros(int(offsets[-1]), HIDDEN, dtype=torch.float64)
    store = TokenStore(hidden, offsets, np.array(spans, dtype=np.int64))
    return TokenBank([store], CPU).batch(rng.permutation(len(lengths)))


def plain_attention(query: Tensor, key_value: Tensor, batch: TokenBatch, masks: list[Tensor]) -> Tensor:
    """Sentence by sentence, head by head, with autograd's own gradients."""
    keys, values = key_value.split(HIDDEN, dim=1)
    width = HIDDEN // HEADS
    rows = [torch.zeros(HIDDEN, dtype=query.dtype) for _ in range(batch.num_slots)]
    slot = token = 0
    for group, mask in zip(batch.groups, masks, strict=True):
        for n, q in itertools.product(range(group.size), range(group.queries)):
            mine = torch.arange(group.tokens) + token + n * group.tokens
            mine = mine[batch.key_mask[mine] == 0]
            at = slot + n * group.queries + q
            heads = []
            for a in range(HEADS):
                part = slice(a * width, (a + 1) * width)
                scores = keys[mine, part] @ query[at, part] / math.sqrt(width)
                heads.append((scores.softmax(0) * mask[n, a, q, : len(mine)]) @ values[mine, part])
            rows[at] = torch.cat(heads)
        slot, token = slot + group.size * group.queries, token + group.size * group.tokens
    return torch.stack(rows)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 24), min_size=1, max_size=9), seed=st.integers(0, 1000))
def test_span_attention_random_shapes_equal_plain_loops(rate: float, lengths: list[int], seed: int) -> None:
    batch = random_batch(lengths, seed)
    generator = torch.Generator().manual_seed(seed)
    query, key_value = (
        torch.randn(shape, generator=generator, dtype=torch.float64).float().requires_grad_()
        for shape in ((batch.num_slots, HIDDEN), (len(batch.hidden), 2 * HIDDEN))
    )
    masks = attention_masks(DropoutMasks(seed, CPU), batch, HEADS, rate)
    weights = torch.randn(len(batch.query_slots), HIDDEN, generator=generator)
    found, gradients = [], []
    for attend in (
        lambda q, kv: span_attention(q, kv, batch, num_heads=HEADS, masks=masks if rate else None),
        lambda q, kv: plain_attention(q, kv, batch, masks),
    ):
        rows = attend(query, key_value)[batch.query_slots]
        real = (batch.spans < 2 * batch.size)[:, None]
        gradients.append(torch.autograd.grad((rows * weights * real).sum(), (query, key_value)))
        found.append(rows[real[:, 0]])
    assert torch.allclose(*found, rtol=1e-5, atol=1e-6)
    for ours, plain in zip(*gradients, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-5, atol=1e-5)


def test_dropout_masks_are_scaled_and_drop_at_their_rate() -> None:
    mask = DropoutMasks(0, CPU).draw((100, 1000), 0.1, torch.float32)
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.9], rel=1e-4)
    assert float((mask == 0).float().mean()) == pytest.approx(0.1, abs=0.005)


def test_dropout_masks_same_seed_is_the_same_sequence() -> None:
    first, second = DropoutMasks(7, CPU), DropoutMasks(7, CPU)
    for _ in range(2):
        assert torch.equal(first.draw((50,), 0.5, torch.float32), second.draw((50,), 0.5, torch.float32))
    assert not torch.equal(
        first.draw((50,), 0.5, torch.float32), DropoutMasks(8, CPU).draw((50,), 0.5, torch.float32)
    )
