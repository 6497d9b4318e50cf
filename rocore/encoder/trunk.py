"""Run the frozen trunk (layers 1..r-1) over every sentence, once, and leave the result in the cache."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rocore.data.tokenization import TokenizedSource
from rocore.encoder.source import Encoder

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 8192}
"""On a CPU few enough that what a layer hands to the next stays in its cache; on an accelerator many, to fill it."""

Advance = Callable[[int], None]
"""Told how many sentences were done."""


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return `bf16` or `fp32`; `auto` takes bf16 where the machine multiplies it natively."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
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
    """
    dtype = DTYPES[precision]
    num_tokens = int(source.offsets[-1])
    shape = (num_tokens, encoder.hidden_size)
    files = {r: _create_raw(path, shape, dtype) for r, path in outputs.items()}
    with torch.inference_mode(), _truncated(encoder.model, max(outputs)) as model:
        model.to(device)
        for sentences in batches_by_length(np.diff(source.offsets), TOKENS_PER_BATCH[device.type]):
            hidden = _run_batch(model, source, sentences, sorted(outputs), dtype, device)
            for r, (tokens, rows) in hidden.items():
                files[r][tokens] = rows.to("cpu", dtype)
            advance(len(sentences))
        model.to("cpu")


def hidden_states(
    encoder: Encoder, source: TokenizedSource, output_layer: int, *, precision: str, device: torch.device
) -> Tensor:
    """Return layer r-1's hidden states in memory, ragged, shape (T, H); for sentences that aren't worth caching."""
    dtype = DTYPES[precision]
    result = torch.empty(int(source.offsets[-1]), encoder.hidden_size, dtype=dtype)
    with torch.inference_mode(), _truncated(encoder.model, output_layer) as model:
        model.to(device)
        for sentences in batches_by_length(np.diff(source.offsets), TOKENS_PER_BATCH[device.type]):
            tokens, rows = _run_batch(model, source, sentences, [output_layer], dtype, device)[output_layer]
            result[tokens] = rows.to("cpu", dtype)
    return result


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


def _run_batch(
    model: Any,
    source: TokenizedSource,
    sentences: Any,
    layers: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
) -> dict[int, tuple[Tensor, Tensor]]:
    """Return, by output layer, token numbers and their hidden states."""
    lengths = np.diff(source.offsets)[sentences]
    longest = int(lengths.max())
    mask = torch.from_numpy(np.arange(longest)[None, :] < lengths[:, None])
    tokens = torch.from_numpy(source.offsets[:-1][sentences][:, None] + np.arange(longest)[None, :])[mask]
    piece_ids = torch.zeros(mask.shape, dtype=torch.long)
    piece_ids[mask] = torch.from_numpy(source.piece_ids)[tokens].long()
    if model.config.pad_token_id is not None:
        piece_ids[~mask] = model.config.pad_token_id
    captured: dict[int, Tensor] = {}
    with ExitStack() as stack:
        for r in layers[:-1]:
            handle = model.encoder.layer[r - 1].register_forward_pre_hook(
                _capture(captured, r), with_kwargs=True
            )
            stack.callback(handle.remove)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = model(input_ids=piece_ids.to(device), attention_mask=mask.to(device).long())
        captured[layers[-1]] = out.last_hidden_state
    return {r: (tokens, hidden[mask.to(device)]) for r, hidden in captured.items()}


def _capture(captured: dict[int, Tensor], r: int) -> Callable[[Any, Any, Any], None]:
    """Return a hook that keeps the input of layer r, which is layer r-1's output."""

    def keep(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured[r] = args[0] if args else kwargs["hidden_states"]

    return keep


@contextmanager
def _truncated(model: Any, output_layer: int) -> Iterator[Any]:
    """Take layers r and above out of the model for a while: they are never run."""
    layers = model.encoder.layer
    model.encoder.layer = layers[: output_layer - 1]
    try:
        yield model
    finally:
        model.encoder.layer = layers
