"""Layer r, computed for the span tokens alone (equations 1-3).

Of layer r's output only head and tail tokens are pooled, so only they need queries, attention output and the
feed-forward block; keys and values are needed for every token. The numbers are those of the whole layer.

Shapes: B sentences, P tokens, Q span tokens, A heads, H hidden size, D = 2H, L tokens of the longest sentence.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from rocore.encoder.source import Encoder
from rocore.encoder.tokens import TokenBatch


class _Scatter(torch.autograd.Function):
    """Rows into distinct slots of a grid that is otherwise `fill`; the gradient is a plain gather."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slots: Tensor, num_slots: int, fill: float) -> Tensor:
        ctx.save_for_backward(slots)
        grid = rows.new_full((num_slots, rows.shape[1]), fill)
        return grid.index_copy_(0, slots, rows)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (slots,) = ctx.saved_tensors
        return grad_outputs[0].index_select(0, slots), None, None, None


def scatter_rows(rows: Tensor, slots: Tensor, num_slots: int, fill: float = 0.0) -> Tensor:
    """Return a (num_slots, width) grid with `rows`, shape (R, width), at the distinct `slots`, shape (R,)."""
    grid: Tensor = _Scatter.apply(rows, slots, num_slots, fill)  # type: ignore[no-untyped-call]
    return grid


class OutputLayer(nn.Module):
    """The one fine-tuned transformer layer, initialised from the encoder's layer r."""

    bias_table: Tensor | None

    def __init__(self, encoder: Encoder, output_layer: int, dropout: float | None = None) -> None:
        """Copy layer r's weights; `dropout` None takes the encoder's own rates.

        Raises:
            EncoderError: If the encoder has no layer r.
        """
        super().__init__()
        encoder.check_output_layer(output_layer)
        config = encoder.model.config
        hidden, inner = config.hidden_size, config.intermediate_size
        self.num_heads: int = config.num_attention_heads
        self.attention_dropout: float = config.attention_probs_dropout_prob if dropout is None else dropout
        self.hidden_dropout: float = config.hidden_dropout_prob if dropout is None else dropout
        self.activation = ACT2FN[config.hidden_act]
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(hidden, inner)
        self.output = nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self._load(encoder.architecture.layer_weights(encoder.model, output_layer))
        self.register_buffer("bias_table", encoder.architecture.bias_table(encoder.model), persistent=False)

    def _load(self, weights: dict[str, Tensor]) -> None:
        for kind in ("weight", "bias"):
            weights[f"key_value.{kind}"] = torch.cat(
                [weights.pop(f"key.{kind}"), weights.pop(f"value.{kind}")]
            )
        self.load_state_dict(weights)

    def forward(self, batch: TokenBatch) -> Float[Tensor, "B D"]:
        """Return the entity pair representation h = h_head (+) h_tail (equation 3), fp32."""
        residual = batch.hidden.index_select(0, batch.query_tokens)
        context = self._attend(residual, batch)
        attended = F.dropout(self.attention_output(context), self.hidden_dropout, self.training)
        attended = self.attention_norm((residual + attended).float())
        inner = self.activation(self.intermediate(attended))
        output = F.dropout(self.output(inner), self.hidden_dropout, self.training)
        output = self.output_norm(attended + output.float())
        grid = scatter_rows(output, batch.span_slots, 2 * batch.size * batch.longest_span, -math.inf)
        pooled = grid.view(2 * batch.size, batch.longest_span, -1).amax(1)  # equation 2
        return pooled.view(batch.size, -1)

    def _attend(self, queries: Float[Tensor, "Q H"], batch: TokenBatch) -> Float[Tensor, "Q H"]:
        """Multi-head attention of the span tokens to all tokens of their sentence."""
        heads, size = self.num_heads, batch.size
        width = queries.shape[1] // heads
        query = scatter_rows(
            self.query(queries) / math.sqrt(width), batch.query_slots, size * batch.most_queries
        )
        query = query.view(size, batch.most_queries, heads, width).transpose(1, 2)
        key_value = scatter_rows(self.key_value(batch.hidden), batch.key_slots, size * batch.longest)
        key, value = key_value.view(size, batch.longest, 2, heads, width).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2)  # (B, A, queries, L)
        if self.bias_table is not None:
            scores = scores + self._position_bias(self.bias_table, batch)
        scores = scores.add_(batch.key_mask[:, None, None, :])
        weights = F.dropout(scores.softmax(-1, dtype=torch.float32), self.attention_dropout, self.training)
        context = (weights.to(value.dtype) @ value).transpose(1, 2).reshape(size * batch.most_queries, -1)
        attended: Tensor = context.index_select(0, batch.query_slots)
        return attended

    def _position_bias(self, table: Tensor, batch: TokenBatch) -> Float[Tensor, "B A queries L"]:
        """Relative-position biases (MPNet) of every query to every key of its sentence."""
        positions = batch.query_positions.new_zeros(batch.size * batch.most_queries)
        positions[batch.query_slots] = batch.query_positions
        keys = torch.arange(batch.longest, device=positions.device)
        relative = keys[None, :] - positions[:, None]
        bias = table[relative_position_bucket(relative, table.shape[0])]  # (B queries, L, A)
        return bias.view(batch.size, batch.most_queries, batch.longest, -1).permute(0, 3, 1, 2)


def relative_position_bucket(relative: Tensor, num_buckets: int, max_distance: int = 128) -> Tensor:
    """Return MPNet's (and T5's bidirectional) bucket of each key position minus query position.

    Half of the buckets are for keys after the query; in each half, the first half is one bucket a distance and the
    rest grows logarithmically up to `max_distance`.
    """
    half = num_buckets // 2
    exact = half // 2
    distance = relative.abs()
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (ratio * (half - exact)).to(torch.long)).clamp(max=half - 1)
    return torch.where(relative > 0, half, 0) + torch.where(distance < exact, distance, far)
