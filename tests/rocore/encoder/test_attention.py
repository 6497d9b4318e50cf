import itertools
import math
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rocore.encoder import native
from rocore.encoder.attention import attention_masks, relative_position_bucket, span_attention
from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.tokens import TokenBatch

from ..tiny import distance, of_dtype, random_batch

CPU = torch.device("cpu")
HEADS, HIDDEN = 2, 6


def shapes(batch: TokenBatch) -> list[tuple[int, ...]]:
    """Of queries, weight and bias."""
    return [(batch.num_slots, HIDDEN), (2 * HIDDEN, HIDDEN), (2 * HIDDEN,)]


@pytest.mark.parametrize("num_buckets", [8, 32])
def test_relative_position_bucket_equals_mpnet(num_buckets: int) -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    relative = torch.arange(-600, 601)
    expected = MPNetEncoder.relative_position_bucket(relative, num_buckets=num_buckets)
    assert torch.equal(relative_position_bucket(relative, num_buckets), expected)


def plain_attention(
    query: Tensor, weight: Tensor, bias: Tensor, batch: TokenBatch, biases: list[Tensor], masks: list[Tensor]
) -> Tensor:
    """With keys and values of every token; sentence by sentence, head by head, with autograd's own gradients."""
    width = HIDDEN // HEADS
    rows = [torch.zeros(HIDDEN, dtype=query.dtype) for _ in range(batch.num_slots)]
    for group, constant, mask in zip(batch.groups, biases, masks, strict=True):
        projected = batch.hidden @ weight[group.member].T + bias[group.member]
        keys, values = projected.split(HIDDEN, dim=1)
        for n, q in itertools.product(range(group.size), range(group.queries)):
            mine = torch.arange(group.tokens) + group.first_token + n * group.tokens
            mine = mine[batch.key_mask[mine] == 0]
            at = group.first_slot + n * group.queries + q
            heads = []
            for a in range(HEADS):
                part = slice(a * width, (a + 1) * width)
                scores = keys[mine, part] @ query[at, part] / math.sqrt(width)
                weights = (scores + constant[n, : len(mine), q, a]).softmax(0) * mask[n, : len(mine), q, a]
                heads.append(weights @ values[mine, part])
            rows[at] = torch.cat(heads)
    return torch.stack(rows)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("rate", [0.0, 0.3])
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 24), min_size=1, max_size=9), seed=st.integers(0, 1000))
def test_span_attention_random_shapes_equal_plain_loops(
    rate: float, members: int, compiled: bool, lengths: list[int], seed: int
) -> None:
    """Without a compiler both ways are the plain one."""
    batch = random_batch(lengths, HIDDEN, seed=seed, members=members)
    generator = torch.Generator().manual_seed(seed)
    query, weight, bias = operands = [
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((batch.num_slots, HIDDEN), (members, 2 * HIDDEN, HIDDEN), (members, 2 * HIDDEN))
    ]
    masks = attention_masks([DropoutMasks(seed + k) for k in range(members)], batch, HEADS, rate)
    biases = [torch.randn(mask.shape, generator=generator) for mask in masks]
    plain = plain_attention(query, weight, bias, batch, biases, masks)
    real = batch.query_slots[batch.spans < 2 * batch.size]
    outer = torch.randn(plain.shape, generator=generator)
    library = native.library() if compiled else None
    with patch.object(native, "library", lambda: library):
        ours = span_attention(
            query,
            weight[0] if members == 1 else weight,
            bias[0] if members == 1 else bias,
            batch,
            num_heads=HEADS,
            position_bias=biases,
            masks=masks if rate else None,
        )
        gradients = [torch.autograd.grad((rows * outer)[real].sum(), operands) for rows in (ours, plain)]
    assert torch.allclose(ours[real], plain[real], rtol=1e-5, atol=1e-5)
    for mine, expected in zip(*gradients, strict=True):
        assert torch.allclose(mine, expected, rtol=1e-5, atol=1e-4)
    of_key_bias = gradients[0][2][:, :HIDDEN]
    assert not of_key_bias.any()  # softmax doesn't see what is added to all scores


def test_random_batches_hold_groups_of_several_sentences_of_different_lengths() -> None:
    """Else the test above would be of little worth."""
    batch = random_batch([5, 9, 24, 3, 17, 8, 8, 11], HIDDEN)
    assert max(group.size for group in batch.groups) > 1
    assert bool((batch.key_mask == -math.inf).any())


def test_span_attention_without_gradients_is_the_same() -> None:
    batch = random_batch([9, 12, 7, 30], HIDDEN)
    query, weight, bias = (torch.randn(shape) for shape in shapes(batch))
    kept = span_attention(query.requires_grad_(), weight, bias, batch, num_heads=HEADS)
    with torch.no_grad():
        assert torch.equal(span_attention(query, weight, bias, batch, num_heads=HEADS), kept)


@pytest.mark.parametrize("tokens", [torch.float32, torch.bfloat16])
def test_span_attention_of_bf16_queries_lies_within_bound(tokens: torch.dtype) -> None:
    """Under autocast, too, which must not reach into it; in bf16 altogether by C, where there is a compiler."""
    torch.manual_seed(0)
    batch = random_batch([9, 12, 7, 30, 2], HIDDEN)
    batch = of_dtype(batch, tokens)
    query, weight, bias = (torch.randn(shape) for shape in shapes(batch))
    operands = [query.bfloat16().requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    exact = [query.bfloat16().double().requires_grad_(), weight.detach().double().requires_grad_()]
    exact.append(bias.detach().double().requires_grad_())
    real = batch.query_slots[batch.spans < 2 * batch.size]
    outer = torch.randn(batch.num_slots, HIDDEN).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = span_attention(*operands, batch, num_heads=HEADS)
    double = of_dtype(batch, torch.float64)
    expected = span_attention(*exact, double, num_heads=HEADS)
    assert found.dtype == torch.bfloat16
    assert distance(found[real], expected[real]) < 2**-6
    gradients = torch.autograd.grad((found * outer)[real].sum(), operands)
    expected_gradients = torch.autograd.grad((expected * outer.double())[real].sum(), exact)
    for mine, plain in zip(gradients, expected_gradients, strict=True):
        assert distance(mine, plain) < 2**-6


def test_dropout_masks_are_scaled_and_drop_at_their_rate() -> None:
    mask = DropoutMasks(0).draw((100, 1000), 0.1, torch.float32)
    assert mask.unique().tolist() == pytest.approx([0, 1 / 0.9], rel=1e-4)
    assert float((mask == 0).float().mean()) == pytest.approx(0.1, abs=0.005)


def test_dropout_masks_same_seed_is_the_same_sequence() -> None:
    first, second = DropoutMasks(7), DropoutMasks(7)
    for _ in range(2):
        assert torch.equal(first.draw((50,), 0.5, torch.float32), second.draw((50,), 0.5, torch.float32))
    assert not torch.equal(
        first.draw((50,), 0.5, torch.float32), DropoutMasks(8).draw((50,), 0.5, torch.float32)
    )


def test_dropout_masks_with_more_rows_begin_with_those_of_fewer() -> None:
    """What a member of a pack draws, filled up to the largest, must begin with what it draws alone."""
    few, many = (DropoutMasks(3).draw((n, 7), 0.3, torch.float32) for n in (3, 10))
    assert torch.equal(many[:3], few)
