import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rocore.encoder.attention import attention_masks, relative_position_bucket, span_attention
from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.tokens import TokenBank, TokenBatch, TokenStore

CPU = torch.device("cpu")
HEADS, HIDDEN = 2, 6


@pytest.mark.parametrize("num_buckets", [8, 32])
def test_relative_position_bucket_equals_mpnet(num_buckets: int) -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    relative = torch.arange(-600, 601)
    expected = MPNetEncoder.relative_position_bucket(relative, num_buckets=num_buckets)
    assert torch.equal(relative_position_bucket(relative, num_buckets), expected)


def random_batch(lengths: list[int], seed: int) -> TokenBatch:
    """Sentences with random, possibly overlapping spans."""
    rng = np.random.default_rng(seed)
    spans = []
    for length in lengths:
        head, tail = (np.sort(rng.integers(0, length, 2)) + np.array([0, 1]) for _ in range(2))
        spans.append([*head, *tail])
    offsets = np.cumsum([0, *lengths])
    hidden = torch.from_numpy(rng.standard_normal((int(offsets[-1]), HIDDEN)).astype(np.float32))
    store = TokenStore(hidden, offsets, np.array(spans, dtype=np.int64))
    return TokenBank([store], CPU).batch(rng.permutation(len(lengths)))


def plain_attention(
    query: Tensor, weight: Tensor, bias: Tensor, batch: TokenBatch, masks: list[Tensor]
) -> Tensor:
    """With keys and values of every token; sentence by sentence, head by head, with autograd's own gradients."""
    keys, values = (batch.hidden @ weight.T + bias).split(HIDDEN, dim=1)
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
                heads.append((scores.softmax(0) * mask[n, : len(mine), q, a]) @ values[mine, part])
            rows[at] = torch.cat(heads)
        slot, token = slot + group.size * group.queries, token + group.size * group.tokens
    return torch.stack(rows)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 24), min_size=1, max_size=9), seed=st.integers(0, 1000))
def test_span_attention_random_shapes_equal_plain_loops(rate: float, lengths: list[int], seed: int) -> None:
    batch = random_batch(lengths, seed)
    generator = torch.Generator().manual_seed(seed)
    operands = [
        torch.randn(shape, generator=generator, dtype=torch.float64).float().requires_grad_()
        for shape in ((batch.num_slots, HIDDEN), (2 * HIDDEN, HIDDEN), (2 * HIDDEN,))
    ]
    masks = attention_masks([DropoutMasks(seed, CPU)], batch, HEADS, rate)
    weights = torch.randn(len(batch.query_slots), HIDDEN, generator=generator)
    found, gradients = [], []
    for attend in (
        lambda q, w, b: span_attention(q, w, b, batch, num_heads=HEADS, masks=masks if rate else None),
        lambda q, w, b: plain_attention(q, w, b, batch, masks),
    ):
        rows = attend(*operands)[batch.query_slots]
        real = (batch.spans < 2 * batch.size)[:, None]
        gradients.append(torch.autograd.grad((rows * weights * real).sum(), operands))
        found.append(rows[real[:, 0]])
    assert torch.allclose(*found, rtol=1e-5, atol=1e-5)
    for ours, plain in zip(*gradients, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-5, atol=1e-4)
    assert not gradients[0][2][
        :HIDDEN
    ].any()  # the keys' bias: softmax doesn't see what is added to all scores


def test_span_attention_has_no_part_in_autocast() -> None:
    """On the CPU its small products are in fp32 whatever the large ones around them are in."""
    batch = random_batch([9, 12, 7], seed=0)
    query, weight, bias = (
        torch.randn(batch.num_slots, HIDDEN),
        torch.randn(2 * HIDDEN, HIDDEN),
        torch.randn(2 * HIDDEN),
    )
    expected = span_attention(query, weight, bias, batch, num_heads=HEADS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(span_attention(query, weight, bias, batch, num_heads=HEADS), expected)


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
