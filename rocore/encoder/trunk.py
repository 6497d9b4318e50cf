"""Run the frozen trunk (layers 1..r-1) over every sentence, once, and leave the result in the cache."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rocore.data.instance import Rows
from rocore.data.tokenization import TokenizedSource
from rocore.encoder.frozen import FrozenLayers
from rocore.encoder.source import Encoder
from rocore.errors import ConfigError, EncoderError

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 8192}
"""On a CPU few enough that what a layer hands to the next stays in its cache; on an accelerator many, to fill it."""

Advance = Callable[[int], None]
"""Told how many sentences were done."""
States = Iterator[tuple[int, Tensor]]
"""Output layers r, each with layer r-1's hidden states of the tokens of a batch, (P, H), fp32."""


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return `bf16` or `fp32`; `auto` takes bf16 where the machine multiplies it natively.

    Raises:
        ConfigError: If a GPU can't multiply in bf16: kernels don't emulate it.
    """
    on_cuda = device.type == "cuda"
    if precision == "fp32" or (precision == "bf16" and not on_cuda):
        return precision
    if on_cuda:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if precision == "bf16" and not native:
        raise ConfigError(
            f"`encoder.precision` bf16 needs a GPU of compute capability 8.0 or above, but {device} is older; "
            "set it to auto or fp32, or use the CPU"
        )
    return "bf16" if native else "fp32"


def run_trunk(
    encoder: Encoder,
    source: TokenizedSource,
    outputs: dict[int, Path],
    *,
    precision: str,
    device: torch.device,
    advance: Advance,
) -> None:
    """Write layer r-1's hidden states, ragged, shape (T, H), to one raw file for each output layer r.

    Args:
        encoder: The pretrained encoder; left as it was.
        source: Ragged word pieces.
        outputs: Output layer r -> file to write.
        precision: `bf16` or `fp32`.
        device: Where to run.
        advance: Told the number of sentences done.

    Raises:
        EncoderError: If hidden states aren't finite.
    """
    dtype = DTYPES[precision]
    shape = (int(source.offsets[-1]), encoder.hidden_size)
    files = {r: _create_raw(path, shape, dtype) for r, path in outputs.items()}
    with _pass(encoder, source, set(outputs), dtype, device) as batches:
        for sentences, tokens, states in batches:
            for r, hidden in states:
                files[r][tokens] = hidden.to("cpu", dtype)
            advance(len(sentences))


def hidden_states(
    encoder: Encoder, source: TokenizedSource, output_layer: int, *, precision: str, device: torch.device
) -> Tensor:
    """Return layer r-1's hidden states in memory, ragged, shape (T, H); for sentences that aren't worth caching."""
    dtype = DTYPES[precision]
    result = torch.empty(int(source.offsets[-1]), encoder.hidden_size, dtype=dtype)
    with _pass(encoder, source, {output_layer}, dtype, device) as batches:
        for _, tokens, states in batches:
            for _, hidden in states:
                result[tokens] = hidden.to("cpu", dtype)
    return result


@contextmanager
def layer_outputs(
    encoder: Encoder,
    source: TokenizedSource,
    layers: Iterable[int],
    *,
    precision: str,
    device: torch.device,
) -> Iterator[Iterator[tuple[Rows, States]]]:
    """Give the batches of one pass: numbers of their sentences, (n,), and the outputs of several layers.

    Each output is (P, H), fp32, on the device: the tokens of those sentences, one sentence after the other. They come
    in the order of the layers, each once, and are gone when the next one is asked for.

    Args:
        encoder: The pretrained encoder; as it was afterwards.
        source: Ragged word pieces.
        layers: From 1 on; those above the highest aren't run.
        precision: `bf16` or `fp32`, of products.
        device: Where to run.

    Raises:
        EncoderError: If hidden states aren't finite.
    """
    with _pass(encoder, source, {r + 1 for r in layers}, DTYPES[precision], device) as batches:
        yield ((sentences, ((r - 1, hidden) for r, hidden in states)) for sentences, _, states in batches)


def batches_by_length(lengths: np.ndarray[Any, np.dtype[np.int64]], tokens_per_batch: int) -> Iterator[Any]:
    """Yield arrays of sentence numbers, alike in length, so that padding stays small."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and int(lengths[order[end]]) * (end + 1 - start) <= tokens_per_batch:
            end += 1
        yield order[start:end]
        start = end


def _create_raw(path: Path, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return a writable tensor mapped onto a new file."""
    num_bytes = shape[0] * shape[1] * dtype.itemsize
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full disk is an error here, not a bus error later
    return torch.from_file(str(path), shared=True, size=shape[0] * shape[1], dtype=dtype).view(shape)


@contextmanager
def _pass(
    encoder: Encoder,
    source: TokenizedSource,
    output_layers: set[int],
    dtype: torch.dtype,
    device: torch.device,
) -> Iterator[Iterator[tuple[Rows, Tensor, States]]]:
    """Give the batches: sentences, (n,), their token numbers, (P,), and their states for the output layers."""
    layers = FrozenLayers(encoder, max(output_layers) - 1, dtype, device)

    def run(embed: Any) -> Iterator[tuple[Rows, Tensor, States]]:
        for sentences in batches_by_length(np.diff(source.offsets), TOKENS_PER_BATCH[device.type]):
            tokens, piece_ids, is_token = _pad(source, sentences, encoder.model.config.pad_token_id)
            piece_ids, is_token = piece_ids.to(device), is_token.to(device)
            embedded = embed(input_ids=piece_ids, attention_mask=is_token.long()).last_hidden_state
            states = enumerate(layers.states(embedded, is_token), start=1)
            yield (
                sentences,
                tokens,
                ((r, _finite(hidden[is_token], r, encoder)) for r, hidden in states if r in output_layers),
            )

    with torch.inference_mode(), _without_layers(encoder.model) as embed:
        yield run(embed.to(device))
        embed.to("cpu")


def _finite(hidden: Tensor, output_layer: int, encoder: Encoder) -> Tensor:
    """Return what was given: weights that are finite, but too large, end in numbers that aren't."""
    if not bool(hidden.sum().isfinite()) and not bool(hidden.isfinite().all()):
        raise EncoderError(
            f"the hidden states of encoder `{encoder.name}` must be finite numbers, but aren't below layer "
            f"{output_layer}: its weights are too large; take weights that are whole"
        )
    return hidden


def _pad(source: TokenizedSource, sentences: Any, pad_token_id: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return token numbers, (P,), and, each (n, L), piece ids and which of them are tokens."""
    lengths = np.diff(source.offsets)[sentences]
    positions = np.arange(int(lengths.max()))[None, :]
    is_token = torch.from_numpy(positions < lengths[:, None])
    tokens = torch.from_numpy(source.offsets[:-1][sentences][:, None] + positions)[is_token]
    piece_ids = torch.full(is_token.shape, pad_token_id or 0, dtype=torch.long)
    piece_ids[is_token] = torch.from_numpy(source.piece_ids)[tokens].long()
    return tokens, piece_ids, is_token


@contextmanager
def _without_layers(model: Any) -> Iterator[Any]:
    """Take all layers out of the model for a while: what is left embeds."""
    layers = model.encoder.layer
    model.encoder.layer = layers[:0]
    try:
        yield model
    finally:
        model.encoder.layer = layers
