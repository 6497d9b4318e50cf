"""The configuration of one RoCORE run: typed, frozen, checked on construction."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from rocore.errors import ConfigError
from rocore.storage import Storage, is_url
from rocore.utf8 import decode
from rocore.yaml_reader import parse_yaml

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Files = tuple[str, ...]
SHOWN = 200
"""Longest value in a message, in characters."""


def check_place(place: str) -> str:
    """Return a path or a URL as it is.

    Raises:
        ConfigError: If it is a URL that can't be used, or that holds credentials: configurations are written down.
    """
    return Storage.at(place).url if is_url(place) else place


def _check_url(url: str) -> str:
    return Storage.at(url).url


def _check_folder(folder: str) -> str:
    if is_url(folder):
        raise ValueError(
            "`cache.root` must be a folder of this machine, but got a URL; set cache.store to it"
        )
    return folder


Place = Annotated[str, AfterValidator(check_place)]
"""A path or a URL."""


class Section(BaseModel):
    """A frozen group of keys; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class BuiltinConfig(Section):
    """The built-in synthetic corpus (`data.format: builtin`)."""

    num_known_relations: Annotated[int, Field(ge=2, le=20)] = 16
    """Relations with labels; the rest of the 24 can be novel."""
    num_novel_relations: Annotated[int, Field(ge=2, le=20)] = 8
    """Relations to discover."""
    instances_per_relation: Annotated[int, Field(ge=8, le=2000)] = 120
    """Sentences generated for each relation."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the generator; apart from the run's seed, so that seeds share the data."""


class PseudoNovelConfig(Section):
    """Hide some known relations and treat their instances as unlabeled (the search's honest objective)."""

    num_relations: Annotated[int, Field(ge=2)]
    """How many known relations are hidden."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which of the disjoint groups of hidden relations."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the grouping; fixed across trials."""


class ResplitConfig(Section):
    """Deal all relations of `known` and `novel` together into known and novel ones anew; every instance needs one."""

    num_novel_relations: Annotated[int, Field(ge=2)]
    """How many are drawn as novel, their instances unlabeled; all others are known."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw; apart from the run's seed, so that seeds share the task and can be compared in pairs."""


class SubsetConfig(Section):
    """Use a part of the labeled instances; a larger number contains what a smaller one chooses."""

    num_known_relations: Annotated[int, Field(ge=2)] | None = None
    """Known relations that are kept; the others are left out altogether. Null: all."""
    instances_per_relation: Annotated[int, Field(ge=2)] | None = None
    """Labeled instances of a known relation, at most. Null: all."""
    num_labeled: Annotated[int, Field(ge=4)] | None = None
    """Labeled instances in all, spread over the known relations as evenly as these allow. Null: all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the choice; apart from the run's seed, so that seeds share the data and can be compared in pairs."""


class DataConfig(Section):
    """Where sentences come from, what is used of them and how they are split."""

    format: Literal["builtin", "fewrel", "tacred", "jsonl"] = "builtin"
    """Reader."""
    novel_format: Literal["fewrel", "tacred", "jsonl"] | None = None
    """Reader of `novel`. Null: `format`."""
    root: Place = "."
    """Folder that `known` and `novel` are relative to; itself relative to the working directory. Or its URL."""
    known: Files = ()
    """File or files with known relations; a glob must match exactly one file."""
    novel: Files = ()
    """File or files with novel relations; for `tacred` the same files may serve both. None needed with `resplit`."""
    num_novel_relations: Annotated[int, Field(ge=2)] | None = None
    """C_u. Null: counted from the gold relations where the file has them."""
    novel_test_size: Positive | None = None
    """Novel test instances: a fraction below 1 or a count. Null: the paper's (FewRel 1/7, TACRED 0.15)."""
    known_test_size: NonNegative | None = None
    """Known test instances: a fraction below 1 or a count. Null: none (the paper uses all), 1/7 in incremental mode."""
    max_file_mib: Positive = 2048.0
    """Largest data file, in MiB: a wrong name must not fill the memory."""
    max_sentence_characters: Count = 20_000
    """Longest sentence, in characters, words joined by single spaces; the encoder reads `encoder.max_pieces` of it."""
    builtin: BuiltinConfig = BuiltinConfig()
    """The generator's own keys."""
    resplit: ResplitConfig | None = None
    """Other known and novel relations than the files say."""
    subset: SubsetConfig | None = None
    """Fewer labeled instances than the files hold."""
    pseudo_novel: PseudoNovelConfig | None = None
    """Set by the search: hide known relations and, unless `resplit` deals its relations, never read `novel`."""

    @field_validator("known", "novel", mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_files(self) -> "DataConfig":
        if self.format == "builtin":
            if self.novel_format is not None:
                raise ValueError(
                    f"`data.novel_format` must be null where `data.format` is builtin, but is {self.novel_format}; "
                    "the built-in corpus makes both roles: set `data.format`, too"
                )
        else:
            if not self.known:
                raise ValueError(
                    "`data.known` must name a file, but is empty; name the file with known relations"
                )
            if not self.novel and self.pseudo_novel is None and self.resplit is None:
                raise ValueError(
                    "`data.novel` must name a file, but is empty; name the file with novel instances"
                )
        return self

    def format_of(self, role: str) -> str:
        """Return the format of `known` or `novel`."""
        return (self.novel_format if role == "novel" else None) or self.format


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
    """Joint epochs after pre-training, at most."""
    batch_size: Annotated[int, Field(ge=2)] = 100
    """Labeled instances a step, and unlabeled instances a step."""
    learning_rate: Positive = 1e-4
    """Adam's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of layer r. Null: the encoder's own. The frozen layers never drop (deviation: the released program does)."""
    kmeans_restarts: Annotated[int, Field(ge=0)] = 4
    """Fresh k-means starts an epoch beside the warm one (equation 7); the best inertia wins. Only warm ones tend to
    keep a poor first clustering."""
    convergence_tolerance: NonNegative = 0.0
    """Joint training ends when at most this share of pseudo labels changes ..."""
    convergence_patience: Count = 3
    """... in this many epochs in a row."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_threads: Count | None = None
    """Threads of torch on the CPU. Null: torch's default, or a trial's CPU share."""


class CacheConfig(Section):
    """The frozen-trunk cache."""

    root: Annotated[str, AfterValidator(_check_folder)] | None = None
    """Folder. Null: $ROCORE_CACHE, else ~/.cache/rocore."""
    max_gib: Positive | None = 50.0
    """GiB that it may hold. Before an entry is built, those that were not used for longest make room, except what a
    running trial maps. Null: no bound, nothing is removed."""
    store: Annotated[str, AfterValidator(_check_url)] | None = None
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
