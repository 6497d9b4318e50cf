"""One encoder: the engine's epochs beside the plain baseline's steps, in one process, by phase."""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rocore
from benchmarks import arithmetic
from benchmarks.arithmetic import Lengths, Sizes, Work
from benchmarks.peak import peak_gflops
from benchmarks.plain import PaddedData, PlainTimes, PlainTrainer, pad, seconds_of, tokenized_pools
from benchmarks.workload import Case, Workload
from rocore.data.tokenization import TokenizedSource
from rocore.encoder.trunk import run_trunk

ITEM_SIZE = {"bf16": 2, "fp32": 4}
TRUNK_SAMPLE = 1024
FEATURE_BATCH_ROWS = 400


@dataclass(frozen=True)
class Epoch:
    """Wall time of one epoch with its evaluation, and the engine's own parts of it, in seconds."""

    phase: str
    wall: float
    evaluation: float
    parts: dict[str, float]


class EngineTimes:
    """The engine's own epochs."""

    def __init__(self, config: rocore.Config, prepared: rocore.Prepared) -> None:
        self.prepared = prepared
        self.trainer = rocore.Trainer(config, prepared.task)
        self.epochs: list[Epoch] = []

    def run_epoch(self) -> None:
        """Run the next one and evaluate, as `rocore train` does."""
        assert self.prepared.evaluator is not None
        start = time.perf_counter()
        report = self.trainer.run_epoch()
        trained = time.perf_counter()
        self.prepared.evaluator.evaluate(self.trainer)
        end = time.perf_counter()
        self.epochs.append(Epoch(report.phase, end - start, end - trained, report.seconds))

    def walls(self, phase: str) -> list[float]:
        """Wall times of all epochs of a phase."""
        return [epoch.wall for epoch in self.epochs if epoch.phase == phase]

    def part(self, phase: str, name: str) -> float:
        """Median seconds of a part."""
        return statistics.median(epoch.parts[name] for epoch in self.epochs if epoch.phase == phase)

    def evaluation(self) -> float:
        """Median seconds of the evaluation of a joint epoch."""
        return statistics.median(epoch.evaluation for epoch in self.epochs if epoch.phase == "joint")


def lengths_of(pools: list[TokenizedSource]) -> Lengths:
    """Tokens and span tokens of every row of the bank."""
    spans = [pool.head_end - pool.head_start + pool.tail_end - pool.tail_start for pool in pools]
    tokens = [np.diff(pool.offsets) for pool in pools]
    return Lengths(np.concatenate(tokens).astype(np.int64), np.concatenate(spans).astype(np.int64))


def paired_rows(task: rocore.TrainingTask, batch_size: int, seed: int = 0) -> list[Any]:
    """Rows of every step of an epoch: one pass over the labeled rows, as many unlabeled ones beside each batch."""
    generator = np.random.default_rng(seed)
    labeled = generator.permutation(task.known_train)
    size = min(batch_size, len(task.novel_train))
    return [
        np.concatenate([labeled[start : start + batch_size], generator.choice(task.novel_train, size, False)])
        for start in range(0, len(labeled), batch_size)
    ]


def batching_seconds(task: rocore.TrainingTask, batch_size: int) -> float:
    """Time `TokenBank.batch` alone over the steps and the feature pass of an epoch, with all tokens if they are copied.

    They are where C doesn't read them in their stores.
    """
    copied = task.attention == "tensors"
    by_length = task.rows[np.argsort(task.bank.lengths[task.rows], kind="stable")]
    groups = [by_length[i : i + FEATURE_BATCH_ROWS] for i in range(0, len(by_length), FEATURE_BATCH_ROWS)]
    groups += paired_rows(task, batch_size)

    def gather() -> None:
        for rows in groups:
            batch = task.bank.batch(rows)
            if copied:
                _ = batch.hidden

    return seconds_of(gather)


def take(pool: TokenizedSource, rows: Any) -> TokenizedSource:
    """Return some sentences of a pool."""
    pieces = [pool.piece_ids[pool.offsets[row] : pool.offsets[row + 1]] for row in rows]
    offsets = np.cumsum([0, *(len(p) for p in pieces)]).astype(np.int64)
    spans = (pool.head_start, pool.head_end, pool.tail_start, pool.tail_end)
    return TokenizedSource(np.concatenate(pieces), offsets, *(span[rows] for span in spans), 0)


class TrunkTimes:
    """The trunk pass over a random sample of sentences, written to a file as the cache does."""

    def __init__(self, config: rocore.Config, task: rocore.TrainingTask, pool: TokenizedSource) -> None:
        self.output_layer, self.task = config.encoder.output_layer, task
        size = min(TRUNK_SAMPLE, len(pool))
        self.sample = take(pool, np.random.default_rng(0).choice(len(pool), size, replace=False))
        self.seconds: list[float] = []
        self._run()

    def measure(self) -> None:
        """Time one pass."""
        self.seconds.append(seconds_of(self._run))

    def _run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run_trunk(
                self.task.encoder,
                self.sample,
                {self.output_layer: Path(folder) / "hidden.bin"},
                precision=self.task.precision,
                device=self.task.device,
                advance=lambda _: None,
            )


@dataclass(frozen=True)
class Measured:
    """Everything that was timed for one encoder."""

    config: rocore.Config
    task: rocore.TrainingTask
    lengths: Lengths
    engine: EngineTimes
    trunk: TrunkTimes
    plain: dict[str, float]
    peaks: dict[str, float]
    batching: float


def measure(workload: Workload, case: Case) -> dict[str, Any]:
    """Time one encoder and return its figures; seconds, GFLOP/s and GB."""
    overrides = {"train__pretrain_epochs": workload.rounds, "train__max_epochs": workload.rounds}
    config = workload.config(case, train__device="cpu", **overrides)
    prepared = rocore.prepare(config)
    pools = tokenized_pools(prepared, config)
    measured = _run_rounds(workload, config, prepared, pools, pad(pools))
    return _figures(measured)


def _run_rounds(
    workload: Workload,
    config: rocore.Config,
    prepared: rocore.Prepared,
    pools: list[TokenizedSource],
    data: PaddedData,
) -> Measured:
    """Take turns: peak, trunk, plain baseline, engine; so that a slow stretch of the machine hits all of them."""
    engine, task = EngineTimes(config, prepared), prepared.task
    plain = PlainTimes(PlainTrainer(config, task, data))
    trunk = TrunkTimes(config, task, pools[0])
    for _ in range(workload.rounds):
        engine.run_epoch()
    peaks, batching = [], []
    for _ in range(workload.rounds):
        peaks.append(peak_gflops(quick=workload.quick))
        trunk.measure()
        plain.measure()
        engine.run_epoch()
        batching.append(batching_seconds(task, config.train.batch_size))
    return Measured(
        config=config,
        task=task,
        lengths=lengths_of(pools),
        engine=engine,
        trunk=trunk,
        plain=plain.epoch(engine.trainer.relation_repr("novel_train").cpu()),
        peaks={name: statistics.median(peak[name] for peak in peaks) for name in peaks[0]},
        batching=statistics.median(batching),
    )


def _figures(m: Measured) -> dict[str, Any]:
    joint = m.engine.walls("joint")
    epoch, steps = statistics.median(joint), m.engine.part("joint", "steps")
    step = steps / m.plain["num_steps"]
    other = epoch - steps - m.engine.part("joint", "features")
    return {
        "machine": {
            "threads": torch.get_num_threads(),
            "precision": m.task.precision,
            "peak_gflops": m.peaks,
        },
        "plain": m.plain,
        "ours": {
            "step": step,
            "joint_epoch": epoch,
            "joint_epoch_min": min(joint),
            "pretrain_epoch": statistics.median(m.engine.walls("pretrain")),
            "batching": m.batching,
        },
        "joint_step_ratio": m.plain["step"] / step,
        "joint_epoch_ratio": m.plain["joint_epoch"] / epoch,
        "overhead_fraction": (other + m.batching) / epoch,
        "phases": _phases(m),
    }


def _phases(m: Measured) -> dict[str, dict[str, float | None]]:
    """Time and rate of each phase; the trunk's is of its sample, k-means and metrics have no fixed arithmetic."""
    task, engine, size = m.task, m.engine, m.config.train.batch_size
    sizes = Sizes.of(
        task.encoder.model.config, m.config.model, task.num_known_relations, task.num_novel_relations
    )
    batches = paired_rows(task, size)
    num_unlabeled = min(size, len(task.novel_train))
    steps, executed, pretraining = Work(), Work(), Work()
    for rows in batches:
        steps += arithmetic.joint_step(m.lengths[rows], sizes, len(rows) - num_unlabeled)
        executed += arithmetic.executed_joint_step(m.lengths[rows], sizes, len(rows) - num_unlabeled)
        pretraining += arithmetic.clustering_step(len(rows), sizes)
    trunk_work = arithmetic.trunk(lengths_of([m.trunk.sample]), sizes, m.config.encoder.output_layer)
    joint_steps, pretrain_steps = engine.part("joint", "steps"), engine.part("pretrain", "steps")
    return {
        "trunk": _phase(m, statistics.median(m.trunk.seconds), trunk_work),
        "pretrain_step": _phase(m, pretrain_steps / len(batches), (1 / len(batches)) * pretraining),
        "pseudo_labels": _phase(m, engine.part("joint", "pseudo_labels")),
        "joint_step": _phase(m, joint_steps / len(batches), (1 / len(batches)) * steps),
        "executed_step": _phase(m, joint_steps / len(batches), (1 / len(batches)) * executed),
        "features": _phase(
            m, engine.part("joint", "features"), arithmetic.features(m.lengths[task.rows], sizes)
        ),
        "evaluation": _phase(m, engine.evaluation()),
    }


def _phase(m: Measured, seconds: float, work: Work | None = None) -> dict[str, float | None]:
    """Shares are of the peak in the engine's dtype, pre-training's too."""
    if work is None:
        return {"seconds": seconds, "gflops": None, "peak_fraction": None, "gigabytes": None}
    gflops = work.flops / seconds / 1e9
    return {
        "seconds": seconds,
        "gflops": gflops,
        "peak_fraction": gflops / m.peaks[m.task.precision],
        "gigabytes": work.elements * ITEM_SIZE[m.task.precision] / 1e9,
    }
