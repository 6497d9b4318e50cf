from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from rocore.encoder.output_layer import OutputLayer, relative_position_bucket, scatter_rows
from rocore.encoder.source import Encoder

from ..tiny import SENTENCES, bank_of, source_of

ROWS = np.arange(len(SENTENCES))


def test_scatter_rows_hand_value() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    grid = scatter_rows(rows, torch.tensor([2, 0]), 4, fill=-1.0)
    assert grid.tolist() == [[3, 4], [-1, -1], [1, 2], [-1, -1]]


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


def test_output_layer_dropout_given_replaces_the_encoders_own(
    tiny_encoder: Callable[[str], Encoder],
) -> None:
    encoder = tiny_encoder("bert")
    assert OutputLayer(encoder, 1).hidden_dropout == encoder.model.config.hidden_dropout_prob == 0.0
    layer = OutputLayer(encoder, 1, dropout=0.4)
    assert layer.hidden_dropout == layer.attention_dropout == 0.4


@torch.no_grad()
def test_output_layer_dropout_acts_in_training_alone(tiny_encoder: Callable[[str], Encoder]) -> None:
    encoder = tiny_encoder("bert")
    batch = bank_of(encoder, source_of(), 2).batch(ROWS)
    layer, plain = OutputLayer(encoder, 2, dropout=0.4), OutputLayer(encoder, 2)
    assert torch.equal(layer.eval()(batch), plain(batch))
    layer.train()
    torch.manual_seed(0)
    first, second = layer(batch), layer(batch)
    torch.manual_seed(0)
    assert torch.equal(layer(batch), first)
    assert not torch.equal(first, second)


@torch.no_grad()
def test_output_layer_dropout_is_applied_at_its_rate(tiny_encoder: Callable[[str], Encoder]) -> None:
    """With both residual branches dropped out almost always, the layer is its two norms of the residual."""
    encoder = tiny_encoder("bert")
    batch = bank_of(encoder, source_of(), 2).batch(ROWS)
    layer = OutputLayer(encoder, 2, dropout=1 - 1e-9).train()
    residual = batch.hidden[batch.query_tokens]
    alone = layer.output_norm(layer.attention_norm(residual))
    sizes = batch.span_slots.div(batch.longest_span, rounding_mode="floor")
    expected = torch.stack([alone[sizes == span].amax(0) for span in range(2 * len(ROWS))])
    torch.manual_seed(0)
    assert torch.allclose(layer(batch), expected.view(len(ROWS), -1), atol=1e-5)


def test_output_layer_weights_are_copies(tiny_encoder: Callable[[str], Encoder]) -> None:
    """Training layer r leaves the encoder, and so the cache's fingerprint, as it was."""
    encoder = tiny_encoder("mpnet")
    layer = OutputLayer(encoder, 2)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    assert layer.bias_table is not None
    layer.bias_table.zero_()
    for name, value in encoder.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_output_layer_trains_layer_r_alone(tiny_encoder: Callable[[str], Encoder]) -> None:
    """A relative-position table belongs to all layers of MPNet: it is constant and isn't saved."""
    layer = OutputLayer(tiny_encoder("mpnet"), 2)
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert "bias_table" in dict(layer.named_buffers())
    assert "bias_table" not in layer.state_dict()
