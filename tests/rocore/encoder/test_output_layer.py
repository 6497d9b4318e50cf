from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.output_layer import OutputLayer
from rocore.encoder.source import Encoder

from ..tiny import SENTENCES, bank_of, source_of

CPU = torch.device("cpu")
ROWS = np.arange(len(SENTENCES))


def test_output_layer_dropout_given_replaces_the_encoders_own(
    tiny_encoder: Callable[[str], Encoder],
) -> None:
    encoder = tiny_encoder("bert")
    assert OutputLayer(encoder, 1).hidden_dropout == encoder.model.config.hidden_dropout_prob == 0.0
    layer = OutputLayer(encoder, 1, dropout=0.4)
    assert layer.hidden_dropout == layer.attention_dropout == 0.4


@torch.no_grad()
def test_output_layer_dropout_acts_where_masks_are_given(tiny_encoder: Callable[[str], Encoder]) -> None:
    encoder = tiny_encoder("bert")
    batch = bank_of(encoder, source_of(), 2).batch(ROWS)
    layer, plain = OutputLayer(encoder, 2, dropout=0.4), OutputLayer(encoder, 2)
    assert torch.equal(layer(batch), plain(batch))
    masks = DropoutMasks(0)
    first, second = layer(batch, [masks]), layer(batch, [masks])
    assert torch.equal(layer(batch, [DropoutMasks(0)]), first)
    assert not torch.equal(first, second)


@torch.no_grad()
def test_output_layer_dropout_is_applied_at_its_rate(tiny_encoder: Callable[[str], Encoder]) -> None:
    """With both residual branches dropped out almost always, the layer is its two norms of the residual."""
    encoder = tiny_encoder("bert")
    batch = bank_of(encoder, source_of(), 2).batch(ROWS)
    layer = OutputLayer(encoder, 2, dropout=1 - 1e-9)
    residual = batch.query_hidden
    alone = layer.output_norm(layer.attention_norm(residual))
    expected = torch.stack([alone[batch.spans == span].amax(0) for span in range(2 * len(ROWS))])
    assert torch.allclose(layer(batch, [DropoutMasks(0)]), expected.view(len(ROWS), -1), atol=1e-5)


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
