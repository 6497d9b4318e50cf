"""The configuration of one RoCORE run: typed, frozen, checked on construction.

Its types and its section `data` stand in modules of their own; their names are public here.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from rocore.config_data import BuiltinConfig, DataConfig, PseudoNovelConfig, ResplitConfig, SubsetConfig
from rocore.config_types import (
    Count,
    Files,
    NonNegative,
    Place,
    Positive,
    Section,
    check_folder,
    check_place,
    check_url,
)
from rocore.errors import ConfigError
from rocore.storage import is_url
from rocore.utf8 import decode
from rocore.yaml_reader import parse_yaml

__all__ = [
    "BuiltinConfig",
    "CacheConfig",
    "Config",
    "Count",
    "DataConfig",
    "EncoderConfig",
    "Files",
    "IncrementalConfig",
    "LossConfig",
    "ModelConfig",
    "NonNegative",
    "Place",
    "Positive",
    "PseudoNovelConfig",
    "ResplitConfig",
    "Section",
    "SubsetConfig",
    "TrainConfig",
    "check_place",
    "dump_config",
    "explain",
    "known_keys",
    "load_config",
    "make_config",
    "nearest",
    "override",
    "parse_override",
    "read_yaml",
    "with_absolute_paths",
    "with_overrides",
]

SHOWN = 200
"""Longest value in a message, in characters."""


class EncoderConfig(Section):
    """The pretrained encoder f."""

    name: Place = "minilm"
    """`minilm`, a folder or its URL, or a hub name such as bert-base-uncased."""
    output_layer: Count = 8
    """r: the one layer that is fine-tuned; layers below it are frozen, layers above it are never run."""
    max_pieces: Annotated[int, Field(ge=8, le=512)] = 128
    """Longest sentence in word pieces, special tokens included; longer ones keep the pieces nearest to the entities."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the trunk and of layer r's products; losses are fp32. auto: bf16 where the machine is fast at it."""


class ModelConfig(Section):
    """Sizes of the projector g and the reconstructor d."""

    hidden_size: Count = 512
    """Width of the hidden layers."""
    relation_size: Count = 256
    """Width of h'."""
    rectifier: Literal["leaky_relu", "relu"] = "leaky_relu"
    """Deviation: the paper says ReLU, the released program uses LeakyReLU."""


class LossConfig(Section):
    """Weights and switches of equations 4-16."""

    center_weight: NonNegative = 0.005
    """lambda of equation 6."""
    pair_margin: Positive = 2.0
    """sigma of equation 11."""
    scale: Literal["released", "paper"] = "released"
    """Scale of equation 6: mean over the 2H dimensions (released) or half the sum (paper)."""
    weight_decay: NonNegative = 1e-5
    """Times the sum of squared weights of g and d, as in the released program; 0 is the paper's text."""
    pretrain_center: bool = True
    """Whether the center term acts in pre-training too, as in the released program."""
    use_center: bool = True
    """Off: the ablation "w/o center loss"."""
    use_reconstruction: bool = True
    """Off: the ablation "w/o reconstruction loss"."""
    use_cross_entropy: bool = True
    """Off: the ablation "w/o cross entropy"."""
    novel_cross_entropy: NonNegative = 0.0
    """Weight of the novel classifier's cross entropy against pseudo labels. 0: none, as in the paper."""


class IncrementalConfig(Section):
    """The incremental scheme of equation 17."""

    enabled: bool = False
    """Extend the known classifier to C_l + C_u relations."""
    rampup_peak: NonNegative = 1.0
    """mu0."""
    rampup_epochs: Count = 10
    """T, in joint epochs."""


class TrainConfig(Section):
    """Optimisation and stopping."""

    pretrain_epochs: Annotated[int, Field(ge=0)] = 10
    """L: epochs of pre-training g and d on fixed features."""
    max_epochs: Count = 30
    """Joint epochs after pre-training, at most: a bound, as training ends at convergence (Algorithm 1)."""
    batch_size: Annotated[int, Field(ge=2)] = 100
    """Labeled instances a step, and unlabeled instances a step."""
    learning_rate: Positive = 1e-4
    """Adam's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of layer r. Null: the encoder's own. The frozen layers never drop (deviation: the released program does)."""
    kmeans_restarts: Annotated[int, Field(ge=0)] = 4
    """Fresh k-means starts an epoch beside the warm one (equation 7); the best inertia wins. Only warm ones tend to
    keep a poor first clustering."""
    convergence_tolerance: NonNegative = 0.01
    """Joint training ends when at most this share of pseudo labels changes ..."""
    convergence_patience: Count = 3
    """... in this many epochs in a row."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_threads: Count | None = None
    """Threads of torch on the CPU. Null: torch's default, or a trial's CPU share."""


class CacheConfig(Section):
    """The frozen-trunk cache."""

    root: Annotated[str, AfterValidator(check_folder)] | None = None
    """Folder. Null: $ROCORE_CACHE, else ~/.cache/rocore."""
    max_gib: Positive | None = 50.0
    """GiB that it may hold. Before an entry is built, those that were not used for longest make room, except what a
    running trial maps. Null: no bound, nothing is removed."""
    store: Annotated[str, AfterValidator(check_url)] | None = None
    """URL of a folder, for example s3://BUCKET/trunks: entries that this machine lacks come from there, and those that
    it builds go there. Null: none."""
    layers: tuple[int, ...] = ()
    """Output layers that are built in the same pass when an entry is missing; a sweep sets those that it searches."""


class Config(Section):
    """One RoCORE run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of splits, initial weights, data order, dropout and k-means."""
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    incremental: IncrementalConfig = IncrementalConfig()
    train: TrainConfig = TrainConfig()
    cache: CacheConfig = CacheConfig()


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every dotted key of a configuration, sections included."""
    keys: list[str] = []
    for name, info in model.model_fields.items():
        keys.append(prefix + name)
        for candidate in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                keys += known_keys(candidate, f"{prefix}{name}.")
    return keys


def nearest(key: str, candidates: Sequence[str]) -> str:
    """Return a hint that names the nearest valid name, or the valid names where none is near."""
    close = difflib.get_close_matches(key, candidates, n=1, cutoff=0.5)
    if not close:
        tail = key.rsplit(".", 1)[-1]
        close = [name for name in candidates if name.rsplit(".", 1)[-1] == tail][:1]
    return f"did you mean `{close[0]}`?" if close else f"valid names: {', '.join(candidates)}"


def parse_override(text: str) -> tuple[str, Any]:
    """Parse `key.path=value`; the value is read as YAML.

    Raises:
        ConfigError: If there is no `=` or the value isn't YAML that can be read.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"`--set` takes key.path=value, but got {text!r}; for example --set loss.center_weight=0.01"
        )
    return key.strip(), parse_yaml(value, f"the value of `--set {_shortened(text)}`")


def with_overrides(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested mapping with dotted keys set."""
    result: dict[str, Any] = {
        k: with_overrides(v, {}) if isinstance(v, Mapping) else v for k, v in tree.items()
    }
    for key, value in overrides.items():
        node = result
        *parents, leaf = key.split(".")
        for parent in parents:
            child = node.get(parent)
            if not isinstance(child, dict):
                child = node[parent] = {}
            node = child
        node[leaf] = value
    return result


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        ConfigError: If the file is absent, isn't YAML that can be read or isn't a mapping; names the line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"the configuration file must exist, but {path} doesn't; see configs/ for examples"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} must be a readable YAML file, but {error}") from error
    tree = parse_yaml(decode(content, str(path), ConfigError), str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of keys, but holds a {type(tree).__name__}")
    return tree


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def explain(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    """Turn a validation error into the house form: what must hold, what came, what to do."""
    keys = known_keys(model)
    lines: list[str] = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if isinstance(part, str) and part in " ".join(keys))
        dotted = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key `{dotted}` in {where}; {nearest(dotted, keys)}")
        elif item["type"] == "value_error":
            lines.append(f"{item['msg'].removeprefix('Value error, ')} (in {where})")
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            lines.append(
                f"`{key or dotted}`: {message}, but got {_shortened(repr(item['input']))} in {where}"
            )
    return ConfigError("\n".join(dict.fromkeys(lines)))


def make_config(tree: Mapping[str, Any], where: str = "the configuration") -> Config:
    """Check a nested mapping.

    Raises:
        ConfigError: With one line for each thing wrong; unknown keys come with the nearest valid name.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise explain(error, Config, where) from error


def load_config(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration file, apply dotted overrides and check the result.

    Raises:
        ConfigError: If a key or a value is wrong.
    """
    path = Path(path)
    return make_config(with_overrides(read_yaml(path), overrides or {}), str(path))


def override(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Return a checked copy with dotted keys set.

    Raises:
        ConfigError: If a key or a value is wrong.
    """
    return make_config(with_overrides(config.model_dump(mode="json"), overrides))


def with_absolute_paths(config: Config) -> Config:
    """Return a copy whose paths don't depend on the working directory, so that it can be used from anywhere."""
    tree = config.model_dump(mode="json")
    if not is_url(config.data.root):
        tree["data"]["root"] = str(Path(config.data.root).expanduser().resolve())
    if not is_url(config.encoder.name) and Path(config.encoder.name).expanduser().is_dir():
        tree["encoder"]["name"] = str(Path(config.encoder.name).expanduser().resolve())
    if config.cache.root is not None:
        tree["cache"]["root"] = str(Path(config.cache.root).expanduser().resolve())
    return make_config(tree)


def dump_config(config: BaseModel) -> str:
    """Write a configuration as YAML that `load_config` takes as it is."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text
