"""Layer r, computed for the span tokens alone (equations 1-3).

Of layer r's output only head and tail tokens are pooled, so only they need queries, attention output and the
feed-forward block; keys and values need not be computed at all. The numbers are those of the whole layer.

Shapes: B sentences, Q span tokens, H hidden size, D = 2H.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import ACT2FN

from rocore.encoder.attention import attention_masks, position_bias, span_attention
from rocore.encoder.dropout import DropoutKeys, Noise
from rocore.encoder.linear import Linear
from rocore.encoder.ragged import RaggedBatch
from rocore.encoder.ragged_attention import ragged_attention
from rocore.encoder.rows import gather_rows, max_pool_ragged, max_pool_spans, scatter_rows
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import AnyBatch
from rocore.encoder.wholeness import check_output_layer


class OutputLayer(nn.Module):
    """The one fine-tuned transformer layer, initialised from the encoder's layer r."""

    bias_table: Tensor | None

    def __init__(self, encoder: Encoder, output_layer: int, dropout: float | None = None) -> None:
        """Copy layer r's weights; `dropout` None takes the encoder's own rates.

        Raises:
            EncoderError: If the encoder has no layer r.
        """
        super().__init__()
        check_output_layer(encoder, output_layer)
        config = encoder.model.config
        hidden, inner = config.hidden_size, config.intermediate_size
        self.num_heads: int = config.num_attention_heads
        self.attention_dropout: float = config.attention_probs_dropout_prob if dropout is None else dropout
        self.hidden_dropout: float = config.hidden_dropout_prob if dropout is None else dropout
        self.activation = ACT2FN[config.hidden_act]
        self.query = Linear(hidden, hidden)
        self.key_value = Linear(hidden, 2 * hidden)
        self.attention_output = Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.intermediate = Linear(hidden, inner)
        self.output = Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self._load(encoder.architecture.layer_weights(encoder.model, output_layer))
        self.register_buffer("bias_table", encoder.architecture.bias_table(encoder.model), persistent=False)

    def _load(self, weights: dict[str, Tensor]) -> None:
        for kind in ("weight", "bias"):
            weights[f"key_value.{kind}"] = torch.cat(
                [weights.pop(f"key.{kind}"), weights.pop(f"value.{kind}")]
            )
        self.load_state_dict(weights)

    def forward(self, batch: AnyBatch, noise: Noise = ()) -> Float[Tensor, "B D"]:
        """Return the entity pair representation h = h_head (+) h_tail (equation 3), fp32.

        Args:
            batch: B sentences.
            noise: Where each member's dropout masks come from; none: no dropout.
        """
        residual = batch.query_hidden
        context = self._attend(residual, batch, noise)
        attended = self._drop(self.attention_output(context), noise, DropoutKeys.ATTENTION_OUTPUT)
        attended = self.attention_norm((residual + attended).float())
        inner = self.activation(self.intermediate(attended))
        output = self._drop(self.output(inner), noise, DropoutKeys.OUTPUT)
        output = self.output_norm(attended + output.float())
        if isinstance(batch, RaggedBatch):
            return max_pool_ragged(output, batch).view(batch.size, -1)
        num_spans = 2 * batch.size
        pooled = max_pool_spans(output, batch.spans, num_spans + 1)  # one more, of filling
        return pooled[:num_spans].view(batch.size, -1)

    def _attend(self, queries: Float[Tensor, "Q H"], batch: AnyBatch, noise: Noise) -> Float[Tensor, "Q H"]:
        """Multi-head attention of the span tokens to all tokens of their sentence."""
        rate = self.attention_dropout
        weights = (self.key_value.weight, self.key_value.bias)
        if isinstance(batch, RaggedBatch):
            return ragged_attention(
                self.query(queries),
                *weights,
                batch,
                num_heads=self.num_heads,
                bias_table=self.bias_table,
                keys=noise.at(DropoutKeys.ATTENTION) if isinstance(noise, DropoutKeys) and rate else None,
                rate=rate,
            )
        assert not isinstance(noise, DropoutKeys)
        context = span_attention(
            scatter_rows(self.query(queries), batch.query_slots, batch.num_slots),
            *weights,
            batch,
            num_heads=self.num_heads,
            position_bias=None if self.bias_table is None else position_bias(self.bias_table, batch),
            masks=attention_masks(noise, batch, self.num_heads, rate) if noise and rate else None,
        )
        return gather_rows(context, batch.query_slots)

    def _drop(self, rows: Tensor, noise: Noise, place: int) -> Tensor:
        rate = self.hidden_dropout
        if not noise or not rate:
            return rows
        if isinstance(noise, DropoutKeys):
            return noise.drop(rows, rate, place)
        share = (len(rows) // len(noise), *rows.shape[1:])
        return rows * torch.cat([of_member.draw(share, rate, rows.dtype) for of_member in noise])
