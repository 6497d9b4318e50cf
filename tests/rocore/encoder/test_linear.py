import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers.activations import ACT2FN

from rocore.encoder.linear import FrozenLinear, Linear


def outcome(layer, rows, target):
    """Product and gradients, of a loss whose gradient isn't constant."""
    rows = rows.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = layer(rows)
    ((product.float() - target) ** 2).sum().backward()
    return product, rows.grad, layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize("shape", [(1, 8), (33, 8), (3, 5, 8)])
def test_linear_in_bf16_equals_torchs_own(shape):
    own, plain = Linear(8, 24), nn.Linear(8, 24)
    own.load_state_dict(plain.state_dict())
    rows, target = torch.randn(shape), torch.randn(*shape[:-1], 24)
    for found, expected in zip(outcome(own, rows, target), outcome(plain, rows, target), strict=True):
        assert found.dtype == expected.dtype
        assert_close(found, expected, rtol=2e-2, atol=4e-2)


def test_linear_whose_input_is_constant_gives_it_no_gradient():
    layer = Linear(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(torch.randn(5, 8)).sum().backward()
    assert_close(layer.bias.grad, torch.full((4,), 5.0))


def test_linear_outside_of_autocast_is_torchs_own():
    layer, rows = Linear(8, 4), torch.randn(5, 8)
    assert torch.equal(layer(rows), nn.functional.linear(rows, layer.weight, layer.bias))


@pytest.mark.parametrize("shape", [(1, 8), (128, 8), (3, 5, 8)])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", None])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 5e-2)])
def test_frozen_linear_equals_product_bias_and_activation(shape, activation, dtype, error):
    weight, bias, rows = torch.randn(24, 8), torch.randn(24), torch.randn(shape)
    expected = nn.functional.linear(rows, weight, bias)
    if activation:
        expected = ACT2FN[activation](expected)
    layer = FrozenLinear(weight, bias, dtype, torch.device("cpu"), activation)
    with torch.inference_mode():
        found = layer(rows.to(dtype))
    assert found.dtype == dtype
    assert_close(found.float(), expected, rtol=error, atol=error)
