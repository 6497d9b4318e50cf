"""From a configuration to what training may see, and, apart from it, the evaluator."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from weakref import WeakValueDictionary

import numpy as np
import torch

from rocore.config import Config
from rocore.data import count_labeled_per_epoch, load_data
from rocore.data.instance import Corpus, NovelGold, Rows, Splits
from rocore.downloads import cache_root
from rocore.encoder.attention_chunks import compiles
from rocore.encoder.cache import Progress, TrunkCache
from rocore.encoder.source import Encoder, load_for
from rocore.encoder.tokens import TokenBank, TokenStore
from rocore.encoder.trunk import resolve_precision
from rocore.errors import ConfigError
from rocore.evaluation import Evaluator
from rocore.progress import silent
from rocore.training.inputs import read_inputs


@dataclass(frozen=True)
class TrainingTask:
    """What training may see: tokens, splits, labels of known relations. No gold of novel instances.

    Attributes:
        encoder: Source of layer r's initial weights.
        bank: Frozen-trunk tokens; known rows first, then novel rows.
        known_train, known_test, novel_train, novel_test: Rows of `bank`.
        known_train_labels: Relation ids of `known_train`.
        num_known_relations: C_l.
        num_novel_relations: C_u.
        precision: `bf16` or `fp32`.
        device: Where everything runs.
        labeled_per_epoch: Over how many labeled instances an epoch counts its steps; None: over `known_train`.
    """

    encoder: Encoder
    bank: TokenBank
    known_train: Rows
    known_test: Rows
    novel_train: Rows
    novel_test: Rows
    known_train_labels: Rows
    num_known_relations: int
    num_novel_relations: int
    precision: str
    device: torch.device
    labeled_per_epoch: int | None = None

    def num_steps(self, batch_size: int) -> int | None:
        """Return the steps of an epoch, where they aren't one pass over `known_train`."""
        return None if self.labeled_per_epoch is None else -(-self.labeled_per_epoch // batch_size)

    @property
    def rows(self) -> Rows:
        """All rows, in the order known train, novel train, known test, novel test."""
        return np.concatenate([self.known_train, self.novel_train, self.known_test, self.novel_test])

    @property
    def attention(self) -> str:
        """What computes layer r's attention: Triton, C or tensors. Each rounds in its own way."""
        if self.device.type == "cuda":
            return "Triton"
        in_stores = self.bank.resident is None  # C reads tokens where they lie
        return "C" if in_stores and compiles(self.bank.dtype, self.bank.hidden_size) else "tensors"


@dataclass(frozen=True)
class Checked:
    """Data and encoder that serve a run, and the evaluator (None where novel instances carry no gold)."""

    corpus: Corpus
    splits: Splits
    encoder: Encoder
    evaluator: Evaluator | None
    warnings: tuple[str, ...]

    @property
    def fingerprints(self) -> dict[str, str]:
        """What tells other data or another encoder apart."""
        tests_known = len(self.splits.known_test) > 0
        cut = self.corpus.cut_fingerprint_with_spare if tests_known else self.corpus.cut_fingerprint
        return {
            "encoder": self.encoder.fingerprint,
            "known": self.corpus.known.fingerprint,
            "novel": self.corpus.novel.fingerprint,
            **({} if cut is None else {"cut": cut}),
        }


@dataclass(frozen=True)
class Prepared(Checked):
    """A task ready to train, and what it was made from."""

    task: TrainingTask


def resolve_device(name: str) -> torch.device:
    """Return the device of `train.device`; `auto` takes CUDA where there is one. A CUDA device becomes the current one.

    Raises:
        ConfigError: If the device isn't there, or Triton, which compiles our kernels for it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"`train.device` must be auto, cpu, cuda or cuda:N, but got {name!r}; correct it")
    if device.type == "cuda":
        _enter_cuda(device)
    return device


def _enter_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(f"`train.device` is {device}, but no CUDA device is here; set it to auto or cpu")
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise ConfigError(
            f"`train.device` must be one of {torch.cuda.device_count()} CUDA devices from cuda:0, but is {device}; "
            "correct it"
        )
    if find_spec("triton") is None:
        raise ConfigError(
            f"`train.device` {device} needs Triton, which comes with torch's builds for CUDA, but it isn't installed; "
            "pip install triton, or set `train.device` to cpu"
        )
    if device.index is not None:
        torch.cuda.set_device(device)  # where kernels and streams of no other device go
    # What stays in fp32 (h' of whole data sets, k-means, losses) is too little to gain from TensorFloat-32.
    torch.set_float32_matmul_precision("highest")


def settle_precision(config: Config) -> str:
    """Return `bf16` or `fp32`: what `encoder.precision` comes to on this machine.

    Raises:
        ConfigError: If `train.device` isn't here.
    """
    return resolve_precision(config.encoder.precision, resolve_device(config.train.device))


def check_task(config: Config) -> Checked:
    """Load and check what a run needs, but for its device and its frozen trunk, which may be another machine's.

    Raises:
        ConfigError: If the configuration can't be satisfied.
        DataError: If the data can't be used.
        EncoderError: If the encoder can't be used. Where several things are wrong, the first one's class tells all.
    """
    inputs = read_inputs(config)
    inputs.problems.raise_any()
    assert inputs.loaded is not None
    assert inputs.splits is not None
    assert inputs.encoder is not None
    return Checked(
        corpus=inputs.loaded.corpus,
        splits=inputs.splits,
        encoder=inputs.encoder,
        evaluator=_make_evaluator(inputs.loaded.gold, inputs.loaded.corpus, inputs.splits),
        warnings=inputs.warnings,
    )


def prepare(config: Config, progress: Progress = silent) -> Prepared:
    """Load and check the data, split it, and attach (or build) the frozen-trunk cache.

    Args:
        config: The run.
        progress: Shows long work.

    Raises:
        ConfigError: If the configuration can't be satisfied.
        DataError: If the data can't be used.
        EncoderError: If the encoder can't be used.
        CacheError: If the cache can't be written.
    """
    checked = check_task(config)
    task = _make_task(config, checked, resolve_device(config.train.device), progress)
    return Prepared(**vars(checked), task=task)


def check_encoder(config: Config, output_layers: Iterable[int]) -> None:
    """Check that the encoder is whole and serves a run at each of several output layers.

    Raises:
        EncoderError: If it doesn't.
    """
    load_for(config.encoder, output_layers)


def build_trunk_cache(config: Config, output_layers: Iterable[int], progress: Progress = silent) -> None:
    """Fill the cache, and its store, for several output layers in one trunk pass, so that trials only map it.

    Raises:
        RocoreError: As `prepare` does.
    """
    corpus = load_data(config.data).corpus
    layers = tuple(sorted(set(output_layers)))
    encoder = load_for(config.encoder, layers)
    _stores(config, corpus, encoder, layers, resolve_device(config.train.device), progress, share=True)


def _stores(
    config: Config,
    corpus: Corpus,
    encoder: Encoder,
    output_layers: tuple[int, ...],
    device: torch.device,
    progress: Progress,
    *,
    share: bool = False,
) -> list[dict[int, TokenStore]]:
    """Attach the pools of a corpus: one where known and novel rows share it, else two."""
    cache = TrunkCache(cache_root(config.cache.root), config.cache.max_gib, config.cache.store)
    return [
        cache.get(
            pool,
            encoder,
            output_layers=output_layers,
            precision=resolve_precision(config.encoder.precision, device),
            max_pieces=config.encoder.max_pieces,
            device=device,
            progress=progress,
            others=config.cache.layers,
            share=share,
        )
        for pool in corpus.pools
    ]


_BANKS: WeakValueDictionary[tuple[str, ...], TokenBank] = WeakValueDictionary()
"""Banks in use by what they hold: trainings side by side in one process share one, on an accelerator above all."""


def _bank(
    config: Config, corpus: Corpus, encoder: Encoder, device: torch.device, progress: Progress
) -> TokenBank:
    """Return the tokens of a corpus on a device, those in use where a training of this process holds them."""
    settings = (config.encoder.output_layer, config.encoder.precision, config.encoder.max_pieces)
    root = cache_root(config.cache.root)
    pools = (pool.fingerprint for pool in corpus.pools)
    key = (str(device), str(root), encoder.fingerprint, *pools, *map(str, settings))
    bank = _BANKS.get(key)
    if bank is None:
        r = config.encoder.output_layer
        stores = _stores(config, corpus, encoder, (r,), device, progress)
        bank = _BANKS[key] = TokenBank([store[r] for store in stores], device)
    return bank


def _make_task(config: Config, checked: Checked, device: torch.device, progress: Progress) -> TrainingTask:
    corpus, splits, encoder = checked.corpus, checked.splits, checked.encoder
    bank = _bank(config, corpus, encoder, device, progress)
    precision = resolve_precision(config.encoder.precision, device)
    first_novel = 0 if corpus.novel is corpus.known else len(corpus.known.sentences)
    return TrainingTask(
        encoder=encoder,
        bank=bank,
        known_train=splits.known_train,
        known_test=splits.known_test,
        novel_train=splits.novel_train + first_novel,
        novel_test=splits.novel_test + first_novel,
        known_train_labels=corpus.labels_of(splits.known_train),
        num_known_relations=corpus.num_known_relations,
        num_novel_relations=corpus.num_novel_relations,
        precision=precision,
        device=device,
        labeled_per_epoch=count_labeled_per_epoch(
            corpus, config.data, incremental=config.incremental.enabled
        ),
    )


def _make_evaluator(gold: NovelGold | None, corpus: Corpus, splits: Splits) -> Evaluator | None:
    if gold is None or not any(relation is not None for relation in gold.relations):
        return None
    return Evaluator(
        gold=gold,
        novel_rows={"train": splits.novel_train, "test": splits.novel_test},
        known_test_labels=corpus.labels_of(splits.known_test),
    )
