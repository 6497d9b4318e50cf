"""Tiny random encoders of each architecture, and random sentences of word pieces for them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rocore.config import Config, make_config
from rocore.data.tokenization import TokenizedSource
from rocore.encoder.architecture import ARCHITECTURES
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import TokenBank, TokenBatch, TokenStore
from rocore.encoder.trunk import hidden_states

NUM_LAYERS = 3
NUM_PIECES = 60
FIRST_PIECE = 5  # below it: padding and other special pieces, whose numbers differ by architecture
CPU = torch.device("cpu")

# Lengths 3..60; one-token entities, long entities, overlap, the same span twice, head after tail.
SENTENCES = (
    (3, (1, 2), (0, 1)),
    (60, (2, 9), (40, 43)),
    (17, (10, 12), (1, 4)),
    (8, (1, 5), (3, 7)),
    (5, (2, 3), (2, 3)),
    (33, (0, 1), (32, 33)),
    (12, (0, 12), (5, 6)),
)
"""Length, head span and tail span."""


class WordTokenizer:
    """A tokenizer that is only ever asked what it is."""

    is_fast = True

    @property
    def backend_tokenizer(self) -> Any:
        from tokenizers import Tokenizer, models

        return Tokenizer(models.WordLevel({f"w{i}": i for i in range(NUM_PIECES)}, unk_token="w0"))


def model_of(model_type: str) -> Any:
    """Draw a model whose attention is far from uniform and whose norms and biases are not trivial."""
    from transformers import (
        BertConfig,
        BertModel,
        ElectraConfig,
        ElectraModel,
        MPNetConfig,
        MPNetModel,
        RobertaConfig,
        RobertaModel,
    )

    config_class, model_class, extra = {
        "bert": (BertConfig, BertModel, {}),
        "roberta": (RobertaConfig, RobertaModel, {"pad_token_id": 1}),
        "electra": (ElectraConfig, ElectraModel, {"embedding_size": 20}),
        "mpnet": (MPNetConfig, MPNetModel, {"pad_token_id": 1}),
    }[model_type]
    config = config_class(
        vocab_size=NUM_PIECES,
        hidden_size=32,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=520,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **extra,
    )
    model = model_class(config)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.3
        parameter.data = noise + 1 if "LayerNorm.weight" in name else noise
    return model.eval().requires_grad_(requires_grad=False)


def save_encoder(folder: Path, model_type: str) -> Path:
    """Save a model with a tokenizer of its architecture's own kind, as a hub would give it; return the folder."""
    from transformers import BertTokenizer, MPNetTokenizer, RobertaTokenizer

    if model_type in {"bert", "electra"}:
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    else:
        pieces = ["<s>", "<pad>", "</s>", "<unk>" if model_type == "roberta" else "[UNK]", "<mask>"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces += [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    model_of(model_type).save_pretrained(folder)
    if model_type == "roberta":
        RobertaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    else:
        tokenizer = MPNetTokenizer if model_type == "mpnet" else BertTokenizer
        tokenizer(vocab=vocabulary).save_pretrained(folder)
    return folder


def encoder_of(model_type: str) -> Encoder:
    return Encoder(f"tiny {model_type}", model_of(model_type), WordTokenizer(), ARCHITECTURES[model_type])


def source_of(
    sentences: Sequence[tuple[int, tuple[int, int], tuple[int, int]]] = SENTENCES,
    *,
    seed: int = 0,
    num_pieces: int = NUM_PIECES,
) -> TokenizedSource:
    """Draw pieces for sentences of given lengths, head spans and tail spans."""
    lengths = [length for length, _, _ in sentences]
    spans = np.array([(*head, *tail) for _, head, tail in sentences], dtype=np.int32).reshape(-1, 4)
    pieces = np.random.default_rng(seed).integers(FIRST_PIECE, num_pieces, sum(lengths)).astype(np.int32)
    return TokenizedSource(
        pieces, np.cumsum([0, *lengths], dtype=np.int64), *(np.ascontiguousarray(c) for c in spans.T), 0
    )


def store_of(hidden: Tensor, source: TokenizedSource) -> TokenStore:
    return TokenStore(hidden, source.offsets, source.spans)


def bank_of(
    encoder: Encoder,
    source: TokenizedSource,
    output_layer: int,
    *,
    precision: str = "fp32",
    resident: bool = False,
) -> TokenBank:
    """Return a bank; a `resident` one as on an accelerator."""
    hidden = hidden_states(encoder, source, output_layer, precision=precision, device=CPU)
    return TokenBank([store_of(hidden, source)], CPU, resident=resident)


def config_of(tree: dict[str, Any] | None = None) -> Config:
    """Return a configuration with small g and d."""
    return make_config({"model": {"hidden_size": 24, "relation_size": 10}, **(tree or {})})


def relative_error(actual: Tensor, expected: Tensor, scale: float | None = None) -> float:
    """Largest difference as a share of the largest expected magnitude, or of `scale`."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return float((actual - expected).abs().max()) / (float(expected.abs().max()) if scale is None else scale)


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative, in the norm of the whole."""
    return float((found.detach().double() - expected.detach()).norm() / expected.detach().norm())


def random_batch(
    lengths: Sequence[int],
    hidden_size: int,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    members: int = 1,
    longest_span: int = 2,
) -> TokenBatch:
    """Sentences with random, possibly overlapping spans; each member has them in an order of its own.

    Args:
        lengths: Of the sentences; member k leaves out the first k of them, where there are that many.
        hidden_size: H.
        dtype: Of hidden states.
        seed: Of spans, hidden states and orders.
        members: Of the pack.
        longest_span: Tokens of the longest, in sentences that have room for it.
    """
    rng = np.random.default_rng(seed)
    spans = []
    for length in lengths:
        starts = rng.integers(0, length, 2)
        ends = [min(length, start + rng.integers(1, longest_span + 1)) for start in starts]
        spans.append([edge for span in zip(starts, ends, strict=True) for edge in span])
    offsets = np.cumsum([0, *lengths])
    hidden = torch.from_numpy(rng.standard_normal((int(offsets[-1]), hidden_size)).astype(np.float32))
    store = TokenStore(hidden.to(dtype), offsets, np.array(spans, dtype=np.int64))
    num_rows = max(1, len(lengths) - members + 1)
    rows = [rng.permutation(len(lengths))[:num_rows] for _ in range(members)]
    batch = TokenBank([store], CPU).batch(*rows)
    assert isinstance(batch, TokenBatch)
    return batch


def of_dtype(batch: TokenBatch, dtype: torch.dtype) -> TokenBatch:
    """The same sentences with hidden states of another dtype."""
    stores = tuple(store.to(dtype) for store in batch.sentences.stores)
    query_hidden = batch.query_hidden.to(dtype)
    return replace(batch, sentences=replace(batch.sentences, stores=stores), query_hidden=query_hidden)
