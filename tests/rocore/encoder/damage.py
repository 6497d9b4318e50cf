"""What can be wrong with the folder of an encoder: functions that damage a whole one, and a table of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ..tiny import NUM_LAYERS, NUM_PIECES

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n"
Damage = Callable[[Path], object]


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return damage


def json_file(name: str, **changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        tree = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps(tree))

    return damage


def config(**changes: Any) -> Damage:
    return json_file("config.json", **changes)


def text(name: str, content: str) -> Damage:
    return lambda folder: (folder / name).write_text(content)


def cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def without(*names: str) -> Damage:
    return lambda folder: [(folder / name).unlink() for name in names]


def vocabulary_alone(change: Callable[[list[str]], list[str]] = lambda pieces: pieces) -> Damage:
    """Leave a vocab.txt in place of tokenizer.json."""

    def damage(folder: Path) -> None:
        numbers = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        without("tokenizer.json", "tokenizer_config.json")(folder)
        (folder / "vocab.txt").write_text(
            "".join(f"{piece}\n" for piece in change(sorted(numbers, key=numbers.get)))
        )

    return damage


def sharded(damage: Callable[[dict[str, str], Path], object]) -> Damage:
    """Put the weights into two parts with an index, then damage one of those."""

    def shard(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        parts = {
            name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(tensors)
        }
        for part in set(parts.values()):
            save_file({k: v for k, v in tensors.items() if parts[k] == part}, folder / part)
        damage(parts, folder)
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": parts})
        )

    return shard


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def spoil(name: str, value: float) -> Damage:
    def change(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[name].view(-1)[0] = value
        return tensors

    return weights(change)


QUERY = "encoder.layer.1.attention.self.query.weight"
FIRST_PART = "model-00001-of-00002.safetensors"
FAULTS: dict[str, tuple[str, Damage, str]] = {
    # Weights that aren't there, under another name, or of another encoder.
    "prefix": (
        "bert",
        weights(lambda tensors: {f"module.encoder_q.{k}": v for k, v in tensors.items()}),
        r"(\d+) of \1 tensors are missing \(embeddings.* more\); the file calls them `module\.encoder_q\.NAME`: save",
    ),
    "missing layer": (
        "roberta",
        weights(lambda tensors: {k: v for k, v in tensors.items() if ".layer.1." not in k}),
        r"16 of \d+ tensors are missing \(encoder\.layer\.1\.\S+, encoder\.layer\.1\..*13 more\)",
    ),
    "missing embeddings": (
        "electra",
        weights(lambda tensors: {k: v for k, v in tensors.items() if "word_embeddings" not in k}),
        r"1 of \d+ tensors are missing \(embeddings\.word_embeddings\.weight\)",
    ),
    "more layers": ("mpnet", config(num_hidden_layers=NUM_LAYERS + 2), r"32 of \d+ tensors are missing"),
    "wider": (
        "bert",
        config(hidden_size=64, embedding_size=64),
        r"of \d+ have another shape \(.*\(32,\) in the weights",
    ),
    "more pieces in config": (
        "roberta",
        config(vocab_size=NUM_PIECES + 1),
        rf"1 of \d+ have another shape \(embeddings\.word_embeddings\.weight is \({NUM_PIECES}, ",
    ),
    "more positions in config": (
        "electra",
        config(max_position_embeddings=600),
        r"embeddings\.position_embeddings\.weight is",
    ),
    # Weights that are no numbers.
    "nan": (
        "mpnet",
        spoil("embeddings.LayerNorm.weight", float("nan")),
        r"finite numbers, but 1 of \d+ .*\(embeddings\.Layer",
    ),
    "infinite": (
        "bert",
        spoil("embeddings.word_embeddings.weight", float("inf")),
        r"must be finite numbers, but 1 of",
    ),
    "zero": (
        "roberta",
        weights(
            lambda tensors: {k: torch.zeros_like(v) if ".layer.2." in k else v for k, v in tensors.items()}
        ),
        r"must have been learned, but 6 of \d+ tensors are zero throughout",
    ),
    "integers": (
        "electra",
        weights(lambda tensors: {k: v.to(torch.int8) for k, v in tensors.items()}),
        r"must hold weights of type F64, .* are of another, I8",
    ),
    # Files that aren't themselves.
    "weights pointer": (
        "mpnet",
        text("model.safetensors", POINTER),
        r"model\.safetensors of .* is a git-lfs pointer",
    ),
    "weights empty": (
        "bert",
        text("model.safetensors", ""),
        r"model\.safetensors of encoder .* but is empty; fetch it",
    ),
    "weights cut": (
        "roberta",
        cut("model.safetensors"),
        r"model\.safetensors of encoder .* whole safetensors file, but is cut",
    ),
    "weights page": (
        "electra",
        text("model.safetensors", "<!DOCTYPE html>"),
        r"must be a whole safetensors file, but is",
    ),
    "weights pickled": ("mpnet", pickled, r"must hold its weights as safetensors, which can't run code"),
    "weights absent": ("bert", without("model.safetensors"), r"must hold its weights as safetensors"),
    "part absent": (
        "roberta",
        sharded(lambda _, folder: (folder / FIRST_PART).unlink()),
        rf"all parts that model\.safetensors\.index\.json lists, but 1 of 2 are missing \({FIRST_PART}\)",
    ),
    "part cut": (
        "electra",
        sharded(lambda _, folder: cut(FIRST_PART)(folder)),
        rf"{FIRST_PART} of encoder .* but is cut",
    ),
    "parts not listed": (
        "mpnet",
        sharded(lambda parts, _: parts.clear()),
        r"index\.json of encoder .* under `weight_map`",
    ),
    "part not listed": (
        "roberta",
        sharded(lambda parts, _: [parts.pop(name) for name, part in [*parts.items()] if part == FIRST_PART]),
        r"2[0-9] of \d+ tensors are missing",
    ),
    # Configurations.
    "config pointer": (
        "roberta",
        text("config.json", POINTER),
        r"config\.json of encoder .* is a git-lfs pointer",
    ),
    "config empty": ("electra", text("config.json", ""), r"config\.json of encoder .* but is empty"),
    "config no JSON": (
        "mpnet",
        text("config.json", "{broken"),
        r"config\.json of encoder .* must be JSON, but isn't",
    ),
    "config list": (
        "bert",
        text("config.json", "[]"),
        r"config\.json of encoder .* JSON object, but holds list",
    ),
    "config absent": (
        "roberta",
        without("config.json"),
        r"must hold config\.json, weights and a tokenizer, but .* has no config",
    ),
    "config types": (
        "electra",
        config(hidden_size="wide"),
        r"loading it failed \(Validation error for field 'hidden_size'",
    ),
    "heads": (
        "electra",
        config(num_attention_heads=5),
        r"`hidden_size` a multiple of .* but 32 isn't one of 5",
    ),
    "no layers": (
        "bert",
        config(num_hidden_layers=0),
        r"`num_hidden_layers` >= 1 must hold in config\.json .* but it is 0",
    ),
    "padding": ("roberta", config(pad_token_id=NUM_PIECES), r"`pad_token_id` below `vocab_size` must hold"),
    "activation": (
        "electra",
        config(hidden_act="none"),
        r"must be a plain one .* config\.json says hidden_act: none",
    ),
    "relative": (
        "electra",
        config(position_embedding_type="relative_key"),
        r"says position_embedding_type: relative_key",
    ),
    "decoder": (
        "bert",
        config(is_decoder=True),
        r"must be a plain one .* config\.json says is_decoder: True",
    ),
    "quantized": (
        "roberta",
        config(quantization_config={"quant_method": "gptq", "bits": 4}),
        r"says quantization_config: ",
    ),
    # Tokenizers.
    "no tokenizer": (
        "roberta",
        without("tokenizer.json", "tokenizer_config.json"),
        r"hold a tokenizer \(tokenizer\.json, vocab\.txt, vocab\.json with merges\.txt or \*\.model\), but has none",
    ),
    "tokenizer pointer": (
        "mpnet",
        text("tokenizer.json", POINTER),
        r"tokenizer\.json of encoder .* is a git-lfs pointer",
    ),
    "tokenizer empty": ("bert", text("tokenizer.json", "\n"), r"tokenizer\.json of encoder .* but is empty"),
    "tokenizer cut": (
        "roberta",
        cut("tokenizer.json"),
        r"tokenizer\.json of encoder .* must be JSON, but isn't",
    ),
    "tokenizer of nothing": (
        "electra",
        text("tokenizer.json", "{}"),
        r"loading it failed \('added_tokens'\)",
    ),
    "tokenizer config cut": (
        "mpnet",
        text("tokenizer_config.json", "{"),
        r"tokenizer_config\.json of encoder .* must be JSON",
    ),
}
