"""The fast path (frozen trunk once, layer r for span tokens) against the whole encoder, for each architecture."""

from collections.abc import Callable

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import TokenBank
from rocore.encoder.trunk import hidden_states

from .oracle import SlowEncoder
from .tiny import CPU, NUM_LAYERS, SENTENCES, bank_of, relative_error, source_of, store_of

FEATURE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-5
BF16_TOLERANCE = 0.01
ARCHITECTURES = ("bert", "roberta", "electra", "mpnet")
EVERYTHING = np.arange(len(SENTENCES))
NO_TIE = 3  # a seed without near ties in the max-pools: the gradient of a tie may go to either token


@torch.no_grad()
@pytest.mark.parametrize("resident", [False, True], ids=["gathered", "resident"])
@pytest.mark.parametrize("output_layer", range(1, NUM_LAYERS + 1))
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_features_any_architecture_equal_whole_encoder(
    tiny_encoder: Callable[[str], Encoder], model_type: str, output_layer: int, resident: bool
) -> None:
    encoder, source = tiny_encoder(model_type), source_of()
    layer = OutputLayer(encoder, output_layer)
    fast = layer(bank_of(encoder, source, output_layer, resident=resident).batch(EVERYTHING))
    slow = SlowEncoder(encoder, output_layer)(source, EVERYTHING.tolist())
    assert relative_error(fast, slow) < FEATURE_TOLERANCE


@pytest.mark.parametrize("resident", [False, True], ids=["gathered", "resident"])
@pytest.mark.parametrize("output_layer", range(1, NUM_LAYERS + 1))
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_gradients_any_architecture_equal_whole_encoder(
    tiny_encoder: Callable[[str], Encoder], model_type: str, output_layer: int, resident: bool
) -> None:
    encoder, source = tiny_encoder(model_type), source_of(seed=NO_TIE)
    layer, slow = OutputLayer(encoder, output_layer), SlowEncoder(encoder, output_layer)
    weights = torch.randn(len(SENTENCES), 64, generator=torch.Generator().manual_seed(0))
    (
        layer(bank_of(encoder, source, output_layer, resident=resident).batch(EVERYTHING)) * weights
    ).sum().backward()
    (slow(source, EVERYTHING.tolist()) * weights).sum().backward()
    expected = slow.gradients(encoder.architecture.names)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    actual = dict(layer.named_parameters())
    assert actual.keys() == expected.keys()
    for name, gradient in expected.items():
        assert relative_error(actual[name].grad, gradient, largest) < GRADIENT_TOLERANCE, name


@torch.no_grad()
def test_features_minilm_fp32_equal_whole_encoder(minilm: Encoder) -> None:
    source = source_of(num_pieces=30_000)
    fast = OutputLayer(minilm, 4).eval()(bank_of(minilm, source, 4).batch(EVERYTHING))
    slow = SlowEncoder(minilm, 4)(source, EVERYTHING.tolist())
    assert relative_error(fast, slow) < FEATURE_TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("resident", [False, True], ids=["gathered", "resident"])
def test_features_minilm_bf16_lie_within_bound(minilm: Encoder, resident: bool) -> None:
    """The root of the mean squared error, as a share of the features', stays below 1 percent."""
    source = source_of(num_pieces=30_000)
    bank = bank_of(minilm, source, 4, precision="bf16", resident=resident)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = OutputLayer(minilm, 4).eval()(bank.batch(EVERYTHING))
    slow = SlowEncoder(minilm, 4)(source, EVERYTHING.tolist())
    assert fast.dtype == torch.float32
    assert float((fast - slow).norm() / slow.norm()) < BF16_TOLERANCE


@st.composite
def spans(draw: st.DrawFn, length: int) -> tuple[int, int]:
    start = draw(st.integers(0, length - 1))
    return start, draw(st.integers(start + 1, length))


@st.composite
def ragged_sentences(draw: st.DrawFn) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
    length = st.one_of(st.integers(1, 12), st.integers(1, 512))
    lengths = draw(st.lists(length, min_size=1, max_size=6))
    return [(length, draw(spans(length)), draw(spans(length))) for length in lengths]


@pytest.mark.parametrize("resident", [False, True], ids=["gathered", "resident"])
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True, database=None)
@hypothesis.given(data=st.data(), sentences=ragged_sentences(), output_layer=st.integers(1, NUM_LAYERS))
def test_features_any_ragged_shape_and_rows_equal_whole_encoder(
    tiny_encoder: Callable[[str], Encoder],
    data: st.DataObject,
    sentences: list[tuple[int, tuple[int, int], tuple[int, int]]],
    output_layer: int,
    resident: bool,
) -> None:
    """Rows come from two stores, in any order, some of them twice."""
    encoder, source = tiny_encoder("mpnet"), source_of(sentences)
    hidden = hidden_states(encoder, source, output_layer, precision="fp32", device=CPU)
    bank = TokenBank([store_of(hidden, source), store_of(hidden, source)], CPU, resident=resident)
    size = len(sentences)
    rows = data.draw(st.lists(st.integers(0, 2 * size - 1), min_size=1, max_size=8))
    with torch.no_grad():
        fast = OutputLayer(encoder, output_layer)(bank.batch(np.array(rows)))
        slow = SlowEncoder(encoder, output_layer)(source, [row % size for row in rows])
    assert relative_error(fast, slow) < FEATURE_TOLERANCE
