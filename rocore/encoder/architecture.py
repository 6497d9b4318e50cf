"""What differs between encoder architectures: where a layer's weights stand, and score biases.

A new architecture whose layers are post-norm transformer layers is one more entry in `ARCHITECTURES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rocore.errors import EncoderError

BERT_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
MPNET_NAMES = {
    "query": "attention.attn.q",
    "key": "attention.attn.k",
    "value": "attention.attn.v",
    "attention_output": "attention.attn.o",
    "attention_norm": "attention.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}


@dataclass(frozen=True)
class Architecture:
    """How to take one architecture apart."""

    model_type: str
    names: Mapping[str, str]
    """Our name of a linear or norm -> its name inside a layer."""
    has_pooler: bool = True
    """Whether the model class takes `add_pooling_layer`."""
    relative_bias: str | None = None
    """Name, inside the encoder, of the embedding of relative positions that is added to every layer's scores."""
    counts_positions_from_padding: bool = False
    """Whether the first piece's position is one above the number of the padding piece, not 0."""

    def layer_weights(self, model: Any, output_layer: int) -> dict[str, Tensor]:
        """Return copies of layer r's weights by our names, e.g. `query.weight`; r counts from 1."""
        layer = model.encoder.layer[output_layer - 1]
        weights: dict[str, Tensor] = {}
        for ours, theirs in self.names.items():
            module = layer.get_submodule(theirs)
            weights[f"{ours}.weight"] = module.weight.detach().clone()
            weights[f"{ours}.bias"] = module.bias.detach().clone()
        return weights

    def bias_table(self, model: Any) -> Tensor | None:
        """Return the table of relative-position biases, shape (num_buckets, num_heads), or None."""
        if self.relative_bias is None:
            return None
        table: Tensor = model.encoder.get_submodule(self.relative_bias).weight.detach().clone()
        return table

    def num_positions(self, model: Any) -> int:
        """Return how many pieces a sentence may have."""
        positions = model.embeddings.position_embeddings
        first = positions.padding_idx + 1 if self.counts_positions_from_padding else 0
        return int(positions.num_embeddings) - first


ARCHITECTURES = {
    "bert": Architecture("bert", BERT_NAMES),
    "roberta": Architecture("roberta", BERT_NAMES, counts_positions_from_padding=True),
    "electra": Architecture("electra", BERT_NAMES, has_pooler=False),
    "mpnet": Architecture(
        "mpnet",
        MPNET_NAMES,
        relative_bias="relative_attention_bias",
        counts_positions_from_padding=True,
    ),
}


def architecture_of(model_type: str) -> Architecture:
    """Return the architecture of a Hugging Face `model_type`.

    Raises:
        EncoderError: If it isn't supported; names those that are.
    """
    if model_type not in ARCHITECTURES:
        raise EncoderError(
            f"the encoder's architecture must be one of {', '.join(ARCHITECTURES)}, but is {model_type!r}; "
            "use an encoder of these"
        )
    return ARCHITECTURES[model_type]
