"""The products with tokens that are compiled from C, against plain tensors and fp64."""

import math
import os
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rocore.encoder import native
from rocore.encoder.attention import span_attention
from rocore.encoder.tokens import TokenBank, TokenBatch, TokenStore

compiled = pytest.mark.skipif(native.library() is None, reason="no compiler")


def make_batch(lengths: list[int], hidden_size: int, dtype: torch.dtype, seed: int = 0) -> TokenBatch:
    """Sentences of the given lengths with random spans of one to three tokens."""
    rng = np.random.default_rng(seed)
    spans = []
    for length in lengths:
        starts = rng.integers(0, length, 2)
        spans.append([edge for start in starts for edge in (start, min(length, start + rng.integers(1, 4)))])
    offsets = np.cumsum([0, *lengths])
    hidden = torch.from_numpy(rng.standard_normal((int(offsets[-1]), hidden_size))).to(dtype)
    bank = TokenBank([TokenStore(hidden, offsets, np.array(spans, dtype=np.int64))], torch.device("cpu"))
    batch = bank.batch(rng.permutation(len(lengths)))
    assert isinstance(batch, TokenBatch)
    return batch


def attend(
    batch: TokenBatch, num_heads: int, dtype: torch.dtype, *, plain: bool = False
) -> list[torch.Tensor]:
    """Return the context of real queries and the gradients of query, weight and bias."""
    generator = torch.Generator().manual_seed(0)
    hidden = batch.hidden.shape[1]
    query = torch.randn(batch.num_slots, hidden, generator=generator).to(dtype).requires_grad_()
    weight = (torch.randn(2 * hidden, hidden, generator=generator) / math.sqrt(hidden)).requires_grad_()
    bias = torch.randn(2 * hidden, generator=generator).requires_grad_()
    outer = torch.randn(batch.num_slots, hidden, generator=generator)
    real = batch.query_slots[batch.spans < 2 * batch.size]
    library = None if plain else native.library()
    with patch.object(native, "library", lambda: library):
        context = span_attention(query, weight, bias, batch, num_heads=num_heads)
        gradients = torch.autograd.grad((context.float() * outer)[real].sum(), (query, weight, bias))
    return [context[real].detach(), *gradients]


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).float().norm() / expected.float().norm())


@compiled
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 512)), min_size=1, max_size=6),
    num_heads=st.integers(1, 5),
    width=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 100),
)
def test_compiled_products_equal_plain_ones(lengths, num_heads, width, dtype, seed):
    """In fp32 to 1e-5; in bf16 within the rounding of attention weights, which matrix units take in bf16."""
    batch = make_batch(lengths, num_heads * width, dtype, seed)
    bound = 1e-5 if dtype == torch.float32 else 2**-6
    expected = attend(batch, num_heads, dtype, plain=True)
    for mine, plain in zip(attend(batch, num_heads, dtype), expected, strict=True):
        assert torch.allclose(mine.float(), plain.float(), rtol=bound, atol=bound * float(plain.abs().max()))


@compiled
@pytest.mark.parametrize(("hidden_size", "num_heads"), [(384, 12), (768, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_products_at_the_encoders_sizes(hidden_size, num_heads, dtype):
    batch = make_batch(np.random.default_rng(0).integers(1, 72, 50).tolist(), hidden_size, dtype)
    for mine, plain in zip(
        attend(batch, num_heads, dtype), attend(batch, num_heads, dtype, plain=True), strict=True
    ):
        assert distance(mine, plain) < (1e-5 if dtype == torch.float32 else 2**-7)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_dont_depend_on_threads(dtype):
    """Each sentence is one thread's."""
    batch = make_batch([9, 12, 7, 30, 2, 44, 5], 32, dtype)
    found = []
    for num_threads in (1, 2, 5):
        with patch.object(torch, "get_num_threads", lambda threads=num_threads: threads):
            found.append(attend(batch, 2, dtype))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_isnt_a_number_stays_in_its_sentence(dtype):
    batch = make_batch([9, 12, 30], 32, dtype)
    good, *_ = attend(batch, 2, dtype)
    group = batch.groups[0]
    batch.hidden[group.first_token] = math.nan
    bad, *_ = attend(batch, 2, dtype)
    sentence = batch.spans[batch.spans < 2 * batch.size] // 2
    touched = sentence == sentence[batch.query_slots[: len(sentence)] == group.first_slot]
    assert bool(bad[touched].isnan().all())
    assert torch.equal(bad[~touched], good[~touched])


@pytest.mark.parametrize(
    "environment",
    [{"ROCORE_NATIVE": "0"}, {"CC": "false"}, {"CC": "no-such-compiler"}, {"CC": "gcc -no-such-option"}],
)
def test_without_a_compiler_plain_tensors_compute(environment):
    with patch.dict(os.environ, environment):
        assert native.library.__wrapped__() is None
