"""The files of a pretrained encoder: which there must be, and what tells that one isn't whole.

The rest of what must hold is in `rocore/encoder/wholeness.py`.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rocore.errors import EncoderError
from rocore.text import listed

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
TOKENIZERS = ((TOKENIZER,), ("vocab.txt",), ("vocab.json", "merges.txt"))
"""Files that make a tokenizer, each set alone; a SentencePiece model (*.model) is one, too."""
DETAILS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""What a tokenizer may have beside them."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""Of safetensors' names of types, those whose numbers are the weights; others need scales that aren't read here."""
POINTER = b"version https://git-lfs"
SHOWN = 3


def check_config_file(folder: Path, name: str) -> None:
    """Check that config.json is JSON.

    Raises:
        EncoderError: If it isn't.
    """
    _check_content(folder / CONFIG, name)
    _read_json(folder / CONFIG, name)


def check_files(folder: Path, name: str, *, all_here: bool) -> None:
    """Check that weights and tokenizer are there and are themselves.

    Args:
        folder: Where they lie.
        name: Of the encoder, for the error.
        all_here: Whether a file that isn't in the folder is missing; what a hub's cache lacks may lie elsewhere.

    Raises:
        EncoderError: If a file is absent, empty, a git-lfs pointer, no JSON or cut, or weights are quantized.
    """
    tokenizer = {file for files in TOKENIZERS for file in files}
    tokenizer |= {path.name for path in folder.glob("*.model")}
    for file in (INDEX, *DETAILS, *sorted(tokenizer)):
        if (folder / file).is_file():
            _check_content(folder / file, name)
            if file.endswith(".json"):
                _read_json(folder / file, name)
    weights = _weight_files(folder, name)
    absent = [path.name for path in weights if not path.is_file()]
    for path in weights:
        if path.is_file():
            _check_content(path, name)
            _check_tensors(path, name)
    if not all_here:
        return
    if not weights:
        raise EncoderError(
            f"encoder `{name}` must hold its weights as safetensors, which can't run code, in {WEIGHTS} or in the "
            f"parts that {INDEX} lists, but has neither; convert them where you trust them: "
            "AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    if absent:
        raise EncoderError(
            f"encoder `{name}` must hold all parts that {INDEX} lists, but {len(absent)} of {len(weights)} are missing "
            f"({some(absent)}); fetch them"
        )
    there = sorted(file for file in tokenizer if (folder / file).is_file())
    complete = any(set(files) <= set(there) for files in TOKENIZERS)
    if not complete and not any(file.endswith(".model") for file in there):
        raise no_tokenizer(name, f"has {'only ' + ', '.join(there) if there else 'none'}")


def _weight_files(folder: Path, name: str) -> list[Path]:
    """Return what the library reads: the one file, else the parts that the index lists, there or not."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    parts = _read_json(folder / INDEX, name).get("weight_map")
    if not isinstance(parts, dict) or not parts or not all(isinstance(part, str) for part in parts.values()):
        raise EncoderError(
            f"{INDEX} of encoder `{name}` must say under `weight_map` which part holds which tensor, but doesn't; "
            "fetch it again"
        )
    return sorted({folder / part for part in parts.values()})


def _check_content(path: Path, name: str) -> None:
    """Refuse a file that stands for another one, or for nothing."""
    try:
        with path.open("rb") as file:
            head = file.read(len(POINTER))
    except OSError as error:
        raise EncoderError(
            f"{path.name} of encoder `{name}` must be readable, but {error}; correct its permissions, or fetch it again"
        ) from error
    if not head.strip():
        raise EncoderError(f"{path.name} of encoder `{name}` must be whole, but is empty; fetch it again")
    if head == POINTER:
        raise EncoderError(
            f"{path.name} of encoder `{name}` must be the file itself, but is a git-lfs pointer to it; fetch it with "
            "`git lfs pull`"
        )


def _check_tensors(path: Path, name: str) -> None:
    """Read the names and types of the tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            types = {key: tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"{path.name} of encoder `{name}` must be a whole safetensors file, but is cut or something else "
            f"({error}); fetch it again"
        ) from error
    quantized = [key for key, of in types.items() if key.endswith(".weight") and of not in FLOATS]
    if quantized:
        raise EncoderError(
            f"{path.name} of encoder `{name}` must hold weights of type {', '.join(FLOATS)}, but {len(quantized)} "
            f"of {len(types)} tensors are of another, {types[quantized[0]]} ({some(quantized)}); use an encoder that "
            "isn't quantized"
        )


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_bytes())
    except ValueError as error:
        raise EncoderError(
            f"{path.name} of encoder `{name}` must be JSON, but isn't ({error}); fetch it again"
        ) from error
    if not isinstance(tree, dict):
        raise EncoderError(
            f"{path.name} of encoder `{name}` must hold a JSON object, but holds {type(tree).__name__}; fetch it again"
        )
    return tree


def no_tokenizer(name: str, found: str) -> EncoderError:
    """Return the error of an encoder that has no tokenizer, but `found`."""
    sets = ", ".join(" with ".join(files) for files in TOKENIZERS)
    return EncoderError(
        f"encoder `{name}` must hold a tokenizer ({sets} or *.model), but {found}; put there the files that "
        "came with the weights"
    )


def some(names: Collection[str]) -> str:
    """Return the first names, for an error."""
    return listed(names, SHOWN)
