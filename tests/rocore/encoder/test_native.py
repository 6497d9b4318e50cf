"""Attention in C, as this processor and others compute them, against plain tensors."""

import ctypes
import math
import os
import platform
import shlex
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rocore.encoder import native
from rocore.encoder.attention import attention_masks, span_attention
from rocore.encoder.attention_chunks import Chunk, is_compiled, mixtures
from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.heads import Heads
from rocore.encoder.tokens import TokenBatch

from ..tiny import distance, of_dtype, random_batch

EMULATED = Path(__file__).parent / "emulated_tiles.h"
BUILDS = {
    "this-processor": "",
    "no-matrix-units": "-mno-amx-bf16",
    "no-bf16-units": "-mno-amx-bf16 -mno-avx512bf16",
    "no-avx512": "-mno-amx-bf16 -mno-avx512f",
    "emulated-matrix-units": f"-include {shlex.quote(str(EMULATED))} -D__AMX_BF16__",
}
BOUNDS = {torch.bfloat16: 2**-6, torch.float32: 1e-5}
IN_HEADS = st.tuples(st.integers(1, 5), st.integers(1, 40)).map(lambda of: (of[0], of[0] * of[1]))
IN_TILES = st.sampled_from(
    [(1, 32), (4, 32), (8, 32), (2, 64), (1, 96), (4, 96), (5, 160), (10, 160), (2, 192)]
)
SHAPES = st.sampled_from(list(BOUNDS)).flatmap(
    lambda dtype: st.tuples(
        st.just(dtype), IN_TILES if dtype == torch.bfloat16 else st.one_of(IN_HEADS, IN_TILES)
    )
)
"""A dtype, and heads and a hidden size that C computes in it."""
both_dtypes = pytest.mark.parametrize("dtype", BOUNDS)
both_ways = pytest.mark.parametrize(
    ("dtype", "hidden_size"),
    [(torch.float32, 30), (torch.float32, 64), (torch.bfloat16, 32), (torch.bfloat16, 64)],
    ids=str,
)


@pytest.fixture(scope="module", params=BUILDS)
def library(request):
    return built(request.param)


def built(name: str) -> native.Library:
    options = BUILDS[name]
    if native.library() is None:
        pytest.skip("no compiler")
    if options and platform.machine() != "x86_64":
        pytest.skip("another kind of processor")
    with patch.dict(os.environ, {"CC": f"{os.environ.get('CC', 'gcc')} {options}"}):
        library = native.library.__wrapped__()
    assert library is not None  # else plain tensors would be compared with themselves
    return library


def attend(
    library: native.Library | None, batch: TokenBatch, num_heads: int, rate: float = 0.0
) -> list[Tensor]:
    """Return the context of real queries and the gradients of query, weight and bias."""
    generator = torch.Generator().manual_seed(0)
    hidden = batch.query_hidden.shape[1]
    query = torch.randn(batch.num_slots, hidden, generator=generator)
    query = query.to(batch.sentences.dtype).requires_grad_()
    members = batch.groups[-1].member + 1
    weight = torch.randn(members, 2 * hidden, hidden, generator=generator) / math.sqrt(hidden)
    weight = weight.requires_grad_()
    bias = torch.randn(members, 2 * hidden, generator=generator).requires_grad_()
    outer = torch.randn(batch.num_slots, hidden, generator=generator)
    masks = attention_masks([DropoutMasks(k) for k in range(members)], batch, num_heads, rate)
    biases = [torch.randn(mask.shape, generator=generator) for mask in masks]
    real = batch.query_slots[batch.spans < 2 * batch.size]
    with patch.object(native, "library", lambda: library):
        context = span_attention(
            query,
            weight,
            bias,
            batch,
            num_heads=num_heads,
            position_bias=biases,
            masks=masks if rate else None,
        )
        gradients = torch.autograd.grad((context.float() * outer)[real].sum(), (query, weight, bias))
    return [context[real].detach(), *gradients]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 512)), min_size=1, max_size=6),
    shape=SHAPES,
    longest_span=st.sampled_from([2, 2, 60]),
    rate=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 100),
)
def test_random_shapes_lie_within_the_rounding_of_their_dtype(
    library, lengths, shape, longest_span, rate, seed
):
    dtype, (num_heads, hidden_size) = shape
    batch = random_batch(lengths, hidden_size, dtype=dtype, seed=seed, longest_span=longest_span)
    assert is_compiled(batch, dtype)
    expected = attend(None, batch, num_heads, rate)
    for mine, plain in zip(attend(library, batch, num_heads, rate), expected, strict=True):
        bound = BOUNDS[dtype] * float(plain.abs().max())
        assert torch.allclose(mine.float(), plain.float(), rtol=BOUNDS[dtype], atol=bound)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=9),
    shape=IN_TILES,
    seed=st.integers(0, 100),
)
def test_attention_weights_are_those_of_fp32(library, lengths, shape, seed):
    """Each number of a folded query is one of the query's here, or its opposite: all are in bf16 before the softmax."""
    num_heads, hidden_size = shape
    width = hidden_size // num_heads
    batch = random_batch(lengths, hidden_size, dtype=torch.bfloat16, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(batch.num_slots, num_heads, width, generator=generator).bfloat16()
    signs = torch.randint(0, 2, (2 * hidden_size, hidden_size), generator=generator) * 2 - 1
    weight = torch.eye(width).repeat(2 * num_heads, num_heads) * signs
    heads = Heads.of(weight, torch.zeros(2 * hidden_size), num_heads, torch.bfloat16)
    masks = attention_masks([DropoutMasks(seed)], batch, num_heads, 0.3)
    chunk = Chunk(batch, batch.groups, slice(0, batch.num_slots), None, masks)
    out = (torch.zeros_like(queries), torch.zeros(queries.shape[:2]))
    totals, _, *found = native.attend(library, chunk, heads, queries, 0.2, out=out, keep=True)
    rows = torch.bmm(queries.transpose(0, 1), heads.key[0])
    in_fp32 = replace(chunk, batch=of_dtype(batch, torch.float32))
    with patch.object(native, "library", lambda: None):
        _, plain_totals, expected = mixtures(in_fp32, rows.float(), 0.2, keep=True)
    assert torch.allclose(totals[: chunk.num_filled], plain_totals[: chunk.num_filled], rtol=1e-5, atol=1e-6)
    for kept, plain in ((found[0], expected[::2]), (found[1], expected[1::2])):
        parts = kept.split([part.numel() for part in plain])
        for group, part, of_group in zip(batch.groups, parts, plain, strict=True):
            tokens = slice(group.first_token, group.first_token + group.size * group.tokens)
            there = (batch.key_mask[tokens] == 0).view(group.size, group.tokens)
            mine = part.view(group.size, -1, group.tokens).mT
            assert torch.allclose(mine[there], of_group[there], rtol=1e-5, atol=1e-6)


@both_dtypes
@pytest.mark.parametrize(("hidden_size", "num_heads"), [(384, 12), (768, 12)])
def test_sizes_of_encoders(library, hidden_size, num_heads, dtype):
    lengths = np.random.default_rng(0).integers(1, 72, 50).tolist()
    batch = random_batch(lengths, hidden_size, dtype=dtype)
    assert batch.groups[-1].slots.stop > 128  # gradients of weights are sums of several parts
    expected = attend(None, batch, num_heads, 0.1)
    for mine, plain in zip(attend(library, batch, num_heads, 0.1), expected, strict=True):
        assert distance(mine, plain) < BOUNDS[dtype] / 2


def test_emulated_matrix_units_are_what_multiplies():
    """Else the tests above would be of vectors once more."""
    library = built("emulated-matrix-units")
    attend(library, random_batch([9, 12, 7], 32, dtype=torch.bfloat16), 2)
    assert ctypes.c_int.in_dll(library, "emulated_products").value > 0


@both_ways
def test_a_pack_of_members_of_different_sizes(library, hidden_size, dtype):
    """A smaller member's share of the query grid ends with filling."""
    batch = random_batch([9, 12, 7, 30, 2, 44, 5], hidden_size, dtype=dtype, members=3)
    ends = {group.member: group.slots.stop for group in batch.groups}
    assert len({end % (batch.num_slots // 3) for end in ends.values()}) > 1
    expected = attend(None, batch, 2, 0.3)
    for mine, plain in zip(attend(library, batch, 2, 0.3), expected, strict=True):
        assert distance(mine, plain) < BOUNDS[dtype]


@both_ways
def test_numbers_dont_depend_on_threads(library, hidden_size, dtype):
    """Each block of sentences is one thread's, and each head's gradients of weights."""
    batch = random_batch([9, 12, 7, 30, 2, 44, 5] * 10, hidden_size, dtype=dtype)
    assert batch.groups[-1].slots.stop > 5 * 32
    found = []
    for num_threads in (1, 2, 5):
        with patch.object(torch, "get_num_threads", lambda threads=num_threads: threads):
            found.append(attend(library, batch, 2))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@both_ways
def test_what_isnt_a_number_stays_in_its_sentence(library, monkeypatch, hidden_size, dtype):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # all share a thread's scratch
    batch = random_batch([9, 12, 30], hidden_size, dtype=dtype)
    good, *_ = attend(library, batch, 2)
    group, sentences = batch.groups[0], batch.sentences
    sentences.stores[0][sentences.first_tokens[0]] = math.nan
    bad, *_ = attend(library, batch, 2)
    sentence = batch.spans[batch.spans < 2 * batch.size] // 2
    touched = sentence == sentence[batch.query_slots[: len(sentence)] == group.first_slot]
    assert bool(bad[touched].isnan().all())
    assert torch.equal(bad[~touched], good[~touched])


@both_ways
def test_a_query_that_isnt_a_number_has_no_context(library, hidden_size, dtype):
    """The softmax hides nothing: a training that has gone astray must be seen."""
    batch = random_batch([9, 12, 30], hidden_size, dtype=dtype)
    query = torch.randn(batch.num_slots, hidden_size, generator=torch.Generator().manual_seed(0)).to(dtype)
    slot = int(batch.query_slots[0])
    query[slot, 0] = math.nan
    weight, bias = torch.ones(2 * hidden_size, hidden_size), torch.zeros(2 * hidden_size)
    with patch.object(native, "library", lambda: library):
        context = span_attention(query, weight, bias, batch, num_heads=1)
    assert bool(context[slot].isnan().all())
    others = [int(other) for other in batch.query_slots if int(other) != slot]
    assert not context[others].isnan().any()


@pytest.mark.parametrize(
    "environment",
    [{"ROCORE_NATIVE": "0"}, {"CC": "false"}, {"CC": "no-such-compiler"}, {"CC": "gcc -no-such-option"}],
)
def test_without_a_compiler_plain_tensors_compute(environment):
    with patch.dict(os.environ, environment):
        assert native.library.__wrapped__() is None
