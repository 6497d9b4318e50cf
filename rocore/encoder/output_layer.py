"""Layer r, computed for the span tokens alone (equations 1-3).

Of layer r's output only head and tail tokens are pooled, so only they need queries, attention output and the
feed-forward block; keys and values are needed for every token. The numbers are those of the whole layer.

Shapes: B sentences, P tokens, Q span tokens, A heads, H hidden size, D = 2H, L tokens of the longest sentence.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import ACT2FN

from rocore.encoder.attention import (
    attention_masks,
    gather_rows,
    max_pool_spans,
    position_bias,
    scatter_rows,
    span_attention,
)
from rocore.encoder.dropout import DropoutMasks
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import TokenBatch


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

    def forward(self, batch: TokenBatch, masks: DropoutMasks | None = None) -> Float[Tensor, "B D"]:
        """Return the entity pair representation h = h_head (+) h_tail (equation 3), fp32.

        Args:
            batch: B sentences.
            masks: Where dropout masks come from; None: no dropout.
        """
        residual = batch.hidden.index_select(0, batch.query_tokens)
        context = self._attend(residual, batch, masks)
        attended = _dropout(self.attention_output(context), self.hidden_dropout, masks)
        attended = self.attention_norm((residual + attended).float())
        inner = self.activation(self.intermediate(attended))
        output = _dropout(self.output(inner), self.hidden_dropout, masks)
        output = self.output_norm(attended + output.float())
        pooled = max_pool_spans(output, batch.spans, 2 * batch.size + 1)[
            :-1
        ]  # the last one is of filling rows
        return pooled.view(batch.size, -1)

    def _attend(
        self, queries: Float[Tensor, "Q H"], batch: TokenBatch, masks: DropoutMasks | None
    ) -> Float[Tensor, "Q H"]:
        """Multi-head attention of the span tokens to all tokens of their sentence."""
        drop = masks is not None and self.attention_dropout > 0
        context = span_attention(
            scatter_rows(self.query(queries), batch.query_slots, batch.num_slots),
            self.key_value(batch.hidden),
            batch,
            num_heads=self.num_heads,
            bias=None if self.bias_table is None else position_bias(self.bias_table, batch),
            masks=attention_masks(masks, batch, self.num_heads, self.attention_dropout)
            if masks is not None and drop
            else None,
        )
        return gather_rows(context, batch.query_slots)


def _dropout(rows: Tensor, rate: float, masks: DropoutMasks | None) -> Tensor:
    if masks is None or not rate:
        return rows
    return rows * masks.draw(tuple(rows.shape), rate, rows.dtype)
