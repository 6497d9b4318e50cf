"""What a run costs, measured on a few hundred of its instances; nothing of that is kept."""

import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rocore.config import Config, override
from rocore.data import count_labeled_per_epoch, load_data, make_splits, raise_errors, validate
from rocore.data.instance import Corpus, Rows, Splits
from rocore.downloads import cache_root
from rocore.encoder.cache import TrunkCache
from rocore.encoder.cache_entry import TrunkKey
from rocore.encoder.source import Encoder, load_for
from rocore.encoder.tokens import TokenBank
from rocore.encoder.trunk import DTYPES, resolve_precision
from rocore.progress import silent
from rocore.training.task import TrainingTask, resolve_device
from rocore.training.trainer import Trainer

SAMPLE_STEPS = {"cpu": 3, "cuda": 50}
"""On a GPU more: what an epoch costs whatever its steps takes as long as dozens of them."""
"""Full batches in an epoch of the sample."""
SAMPLE_PER_RELATION = 4
MEASURED_EPOCHS = 2
"""Of each phase: the first one warms up, the last one counts."""
FEATURE_COPIES = 2
"""h of every instance stands in memory twice while it is computed anew."""


@dataclass(frozen=True)
class EpochCost:
    """Seconds of one epoch of each phase, on the whole data."""

    pretrain_s: float
    joint_s: float


@dataclass(frozen=True)
class RunCost:
    """What one run takes.

    Attributes:
        setup_s: Reading and checking the data and loading the encoder; every process does it.
        has_gold: Whether novel instances carry gold relations.
        trunk_s: The one trunk pass over all sentences, up to the highest of the output layers.
        trunk_bytes: Cache entries of one output layer.
        missing_layers: Output layers that the cache doesn't hold yet.
        epochs: By output layer that was trained at.
        checkpoint_bytes: One checkpoint.
        memory_bytes: Main memory of a process that trains one model; the mapped trunk is shared and not counted.
        model_bytes: Memory of one more model with its features, in the same process or on the GPU.
        on_gpu: Whether it was measured on a GPU, where the trunk is resident.
    """

    setup_s: float
    has_gold: bool
    trunk_s: float
    trunk_bytes: int
    missing_layers: tuple[int, ...]
    epochs: dict[int, EpochCost]
    checkpoint_bytes: int
    memory_bytes: int
    model_bytes: int
    on_gpu: bool


def measure_run(
    config: Config, output_layers: Sequence[int], train_at: Sequence[int] | None = None
) -> RunCost:
    """Train for a few steps at several output layers, on a sample, and scale to the whole data.

    The sample holds 3 full batches of labeled and of unlabeled instances. Steps scale with their number an epoch,
    features with the instances, pseudo labels with the unlabeled ones, the trunk with the sentences. What other trials
    on the same machine take from each other isn't felt.

    Args:
        config: The run; its data are checked whole.
        output_layers: Layers that the trunk is run for, none twice.
        train_at: Layers of those to train at; None: all.

    Raises:
        RocoreError: If data or encoder can't be used, or training diverges.
    """
    start = time.perf_counter()
    loaded = load_data(config.data)
    splits = make_splits(loaded.corpus, config.data, seed=config.seed, incremental=config.incremental.enabled)
    raise_errors(validate(loaded, splits))
    encoder = load_for(config.encoder, output_layers)
    setup_s = time.perf_counter() - start
    sample = _Sample(config, loaded.corpus, splits, encoder)
    with tempfile.TemporaryDirectory(prefix="rocore-sample-") as folder:
        banks, seconds_per_piece = sample.banks(Path(folder), tuple(output_layers))
        epochs = {
            r: sample.measure(r, banks[r], Path(folder) / "checkpoint") for r in train_at or output_layers
        }
        checkpoint_bytes = sum(file.stat().st_size for file in (Path(folder) / "checkpoint").iterdir())
        lengths = banks[output_layers[0]].lengths
    num_pieces = int(lengths.mean() * sample.num_sentences)
    feature_bytes = FEATURE_COPIES * len(sample.all_rows) * 2 * encoder.hidden_size * 4
    return RunCost(
        setup_s=setup_s,
        has_gold=loaded.gold is not None,
        trunk_s=seconds_per_piece * num_pieces,
        trunk_bytes=num_pieces * encoder.hidden_size * sample.itemsize,
        missing_layers=sample.missing_layers(output_layers),
        epochs=epochs,
        checkpoint_bytes=checkpoint_bytes,
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + feature_bytes,
        model_bytes=checkpoint_bytes + feature_bytes,
        on_gpu=sample.device.type == "cuda",
    )


class _Sample:
    """Evenly spaced instances of the training splits, which lie in the pools relation by relation."""

    def __init__(self, config: Config, corpus: Corpus, splits: Splits, encoder: Encoder) -> None:
        self.config, self.corpus, self.splits, self.encoder = config, corpus, splits, encoder
        self.device = resolve_device(config.train.device)
        self.precision = resolve_precision(config.encoder.precision, self.device)
        self.itemsize = DTYPES[self.precision].itemsize
        self.known = self._spaced(splits.known_train, corpus.num_known_relations)
        self.novel = self._spaced(splits.novel_train, corpus.num_novel_relations)
        self.pools = corpus.pools

    @property
    def size(self) -> int:
        """Instances in the sample."""
        return len(self.known) + len(self.novel)

    @property
    def num_sentences(self) -> int:
        """Sentences in the pools: the trunk runs over all of them."""
        return sum(len(pool.sentences) for pool in self.pools)

    @property
    def all_rows(self) -> Rows:
        """Every instance whose features an epoch computes."""
        splits = self.splits
        return np.concatenate([splits.known_train, splits.known_test, splits.novel_train, splits.novel_test])

    def banks(self, folder: Path, output_layers: tuple[int, ...]) -> tuple[dict[int, TokenBank], float]:
        """Run the trunk over the sample, into a cache that goes with the folder.

        Returns:
            Banks by output layer, and the seconds a word piece of the pool that took least: the first one warms up.
        """
        rates, stores = [], []
        assert self.encoder.fingerprint  # computed once, and not part of the pass
        for pool, rows in ((self.corpus.known, self.known), (self.corpus.novel, self.novel)):
            start = time.perf_counter()
            store = TrunkCache(folder).get(
                replace(pool.of_rows(rows), name=f"sample of {pool.name}"),
                self.encoder,
                output_layers=output_layers,
                precision=self.precision,
                max_pieces=self.config.encoder.max_pieces,
                device=self.device,
                progress=silent,
            )
            rates.append((time.perf_counter() - start) / int(store[output_layers[0]].offsets[-1]))
            stores.append(store)
        return {r: TokenBank([store[r] for store in stores], self.device) for r in output_layers}, min(rates)

    def measure(self, output_layer: int, bank: TokenBank, checkpoint: Path) -> EpochCost:
        """Train two epochs of each phase, scale the second ones, and leave a checkpoint."""
        config = override(
            self.config,
            {
                "encoder.output_layer": output_layer,
                "train.pretrain_epochs": MEASURED_EPOCHS,
                "train.max_epochs": MEASURED_EPOCHS,
                "train.convergence_patience": MEASURED_EPOCHS + 1,
            },
        )
        trainer = Trainer(config, self._task(bank))
        seconds = {}
        while not trainer.finished:
            report = trainer.run_epoch()
            seconds[report.phase] = self._scaled(report.seconds)
        trainer.save(checkpoint)
        trainer.close()
        return EpochCost(pretrain_s=seconds["pretrain"], joint_s=seconds["joint"])

    def missing_layers(self, output_layers: Sequence[int]) -> tuple[int, ...]:
        """Return the output layers for which the run's own cache lacks a pool."""
        folder = TrunkCache(cache_root(self.config.cache.root)).folder
        encoder, max_pieces = self.encoder.fingerprint, self.config.encoder.max_pieces
        return tuple(
            r
            for r in output_layers
            if not all(
                (folder / TrunkKey(pool.fingerprint, encoder, r, self.precision, max_pieces).digest).is_dir()
                for pool in self.pools
            )
        )

    def _task(self, bank: TokenBank) -> TrainingTask:
        """Return the task of the sample; nothing is left for testing."""
        corpus, nothing = self.corpus, np.empty(0, dtype=np.int64)
        return TrainingTask(
            encoder=self.encoder,
            bank=bank,
            known_train=np.arange(len(self.known)),
            known_test=nothing,
            novel_train=np.arange(len(self.known), self.size),
            novel_test=nothing,
            known_train_labels=corpus.labels_of(self.known),
            num_known_relations=corpus.num_known_relations,
            num_novel_relations=corpus.num_novel_relations,
            precision=self.precision,
            device=self.device,
        )

    def _scaled(self, seconds: dict[str, float]) -> float:
        """Scale the parts of an epoch to the whole data."""
        config, splits = self.config, self.splits
        num_labeled = count_labeled_per_epoch(
            self.corpus, config.data, incremental=config.incremental.enabled
        ) or len(splits.known_train)
        batch_size = config.train.batch_size
        factors = {
            "steps": -(-num_labeled // batch_size) / -(-len(self.known) // batch_size),
            "features": len(self.all_rows) / self.size,
            "pseudo_labels": len(splits.novel_train) / len(self.novel),
        }
        return sum(value * factors[part] for part, value in seconds.items())

    def _spaced(self, rows: Rows, num_relations: int) -> Rows:
        size = max(
            SAMPLE_STEPS[self.device.type] * self.config.train.batch_size, SAMPLE_PER_RELATION * num_relations
        )
        size = min(size, len(rows))
        return rows[np.arange(size) * len(rows) // size]
