"""Transformer layers that are never trained, over all tokens of padded sentences.

The numbers are those of the library's layers up to rounding. Written out, as here queries, keys and values are one
product, weights are cast once, and attention is two batched products: on a CPU, with few tokens a sentence, faster
than the library's fused kernel. In bf16 only products are: sums, norms and softmax stay in fp32.

Shapes: n sentences of L tokens, filling included, in R rows; H hidden size, A heads, W = H / A.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import layer_norm

from rocore.encoder.attention import relative_position_bucket
from rocore.encoder.linear import FrozenLinear
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import filled_up


class FrozenLayers:
    """The first layers of an encoder, copied to a device; their products in one dtype."""

    def __init__(self, encoder: Encoder, num_layers: int, dtype: torch.dtype, device: torch.device) -> None:
        """Copy layers 1..num_layers."""
        self._dtype = dtype
        self._layers = [_FrozenLayer(encoder, r, dtype, device) for r in range(1, num_layers + 1)]
        table = encoder.architecture.bias_table(encoder.model)
        self._bias_table = None if table is None else table.to(device)

    def states(
        self, embedded: Float[Tensor, "n L H"], is_token: Bool[Tensor, "n L"]
    ) -> Iterator[Float[Tensor, "n L H"]]:
        """Yield what goes into the first layer, then what comes out of each, fp32; rows of filling mean nothing."""
        num_rows = is_token.numel()
        rows = embedded.new_zeros(filled_up(num_rows, self._dtype), embedded.shape[-1])
        rows[:num_rows] = embedded.flatten(0, 1)
        yield rows[:num_rows].view(embedded.shape)
        constants = self._score_constants(is_token)
        for layer in self._layers:
            rows = layer(rows, is_token.shape, constants)
            yield rows[:num_rows].view(embedded.shape)

    def _score_constants(self, is_token: Tensor) -> Tensor | None:
        """Return what to add to the scores: -inf for filling, and the position bias; broadcasts to (n, A, L, L)."""
        constants = None
        if not is_token.all():
            constants = torch.zeros(is_token.shape, device=is_token.device)
            constants = constants.masked_fill_(~is_token, -math.inf)[:, None, None]
        if self._bias_table is not None:
            positions = torch.arange(is_token.shape[1], device=is_token.device)
            buckets = relative_position_bucket(positions - positions[:, None], self._bias_table.shape[0])
            bias = self._bias_table[buckets].permute(2, 0, 1)
            constants = bias if constants is None else constants + bias
        return constants


class _FrozenLayer:
    """One post-norm layer."""

    def __init__(self, encoder: Encoder, r: int, dtype: torch.dtype, device: torch.device) -> None:
        config = encoder.model.config
        weights = encoder.architecture.layer_weights(encoder.model, r)
        self._dtype = dtype
        self._num_heads = config.num_attention_heads
        self._eps = config.layer_norm_eps

        def linear(*names: str, activation: str | None = None) -> FrozenLinear:
            weight, bias = (
                torch.cat([weights[f"{name}.{kind}"] for name in names]) for kind in ("weight", "bias")
            )
            return FrozenLinear(weight, bias, dtype, device, activation)

        def norm(name: str) -> tuple[Tensor, Tensor]:
            return weights[f"{name}.weight"].to(device), weights[f"{name}.bias"].to(device)

        scale = 1 / math.sqrt(config.hidden_size // self._num_heads)
        weights["query.weight"] *= scale
        weights["query.bias"] *= scale
        self._query_key_value = linear("query", "key", "value")
        self._attention_output = linear("attention_output")
        self._attention_norm = norm("attention_norm")
        self._intermediate = linear("intermediate", activation=config.hidden_act)
        self._output = linear("output")
        self._output_norm = norm("output_norm")

    def __call__(self, rows: Tensor, shape: torch.Size, constants: Tensor | None) -> Tensor:
        """Return what comes out for `rows`, (R, H), fp32, of which the first n L are the sentences'; `shape` (n, L)."""
        attended = rows + self._attention_output(self._attend(rows.to(self._dtype), shape, constants))
        attended = self._norm(attended, self._attention_norm)
        inner = self._intermediate(attended.to(self._dtype))
        return self._norm(attended + self._output(inner), self._output_norm)

    def _attend(self, rows: Tensor, shape: torch.Size, constants: Tensor | None) -> Tensor:
        """Return multi-head attention's context, (R, H)."""
        size, length = shape
        heads = (size, length, 3, self._num_heads, rows.shape[1] // self._num_heads)
        projected = self._query_key_value(rows)[: size * length].view(heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).flatten(1, 2).contiguous()  # (n A, L, W) each
        scores = torch.bmm(query, key.mT).float().view(size, self._num_heads, length, length)
        if constants is not None:
            scores += constants
        weights = scores.softmax(-1).to(rows.dtype).flatten(0, 1)
        context = torch.zeros_like(rows)
        by_token = context[: size * length].view(size, length, self._num_heads, -1)
        by_token.copy_(torch.bmm(weights, value).view(size, self._num_heads, length, -1).transpose(1, 2))
        return context

    def _norm(self, rows: Tensor, weight_and_bias: tuple[Tensor, Tensor]) -> Tensor:
        weight, bias = weight_and_bias
        return layer_norm(rows, list(bias.shape), weight, bias, self._eps)
