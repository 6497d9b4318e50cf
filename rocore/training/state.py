"""Saving and loading what training needs to go on: safetensors and JSON only, checked by SHA-256."""

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rocore.errors import CheckpointError, UnreadableError
from rocore.outputs import write_as_usual, write_atomically

FORMAT = 1
MODEL, OPTIMIZER, CLUSTERS, STATE = (
    "model.safetensors",
    "optimizer.safetensors",
    "clusters.safetensors",
    "state.json",
)


def save_state(
    folder: Path,
    *,
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor],
    clusters: dict[str, Tensor],
    state: dict[str, Any],
) -> None:
    """Write a checkpoint, of tensors as of `on_cpu`, into a folder.

    `state.json`, with the checksums, comes last and makes it whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, tensors in ((MODEL, model), (OPTIMIZER, optimizer), (CLUSTERS, clusters)):
        write_as_usual(folder / name, partial(save_file, tensors))
        digests[name] = _digest(folder / name)
    text = json.dumps({"format": FORMAT, **state, "sha256": digests}, indent=1)
    write_atomically(folder / STATE, text)


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as a file takes them: in the processor's memory and without gaps."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def load_state(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return the tensors by file name and the state of a checkpoint.

    Raises:
        UnreadableError: If this user may not read it.
        CheckpointError: If it is absent, torn or corrupt.
    """
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        for name, digest in state["sha256"].items():
            if _digest(folder / name) != digest:
                raise CheckpointError(
                    f"checkpoint {folder} must be whole, but {name} doesn't have its checksum"
                )
        return {name: load_file(folder / name) for name in state["sha256"]}, state
    except PermissionError as error:
        raise UnreadableError(
            f"checkpoint {folder} must be readable, but {error.filename}: {error.strerror}; "
            "have its owner allow it (chmod a+r)"
        ) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {folder} can't be read: {type(error).__name__}: {error}"
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
