"""The engine at the paper's scale on an accelerator: bert-base's shape, layer 8, 56,000 sentences of random tokens.

python -m benchmarks.gpu [--device cuda] [--sentences 56000] [--packs 1 4 8 16] [--full]

Needs no data, no Ray and no network. Epochs of each phase are timed (a whole trial of 10 + 30 epochs with --full),
alone and in packs, beside the times that the device's own rates of products and of copies allow.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel

import rocore
from benchmarks import arithmetic
from benchmarks.arithmetic import Lengths, Sizes, Work
from rocore.encoder.architecture import architecture_of
from rocore.encoder.source import Encoder
from rocore.encoder.tokens import TokenBank, TokenStore
from rocore.encoder.trunk import DTYPES, resolve_precision
from rocore.training.task import resolve_device

NUM_KNOWN, NUM_NOVEL = 64, 16
PRETRAIN_EPOCHS, JOINT_EPOCHS = 10, 30
OUTPUT_LAYER = 8


def main() -> int:
    """Measure and print one JSON object."""
    arguments = parse()
    device = resolve_device(arguments.device)
    encoder = drawn_encoder(arguments.layers, arguments.hidden)
    precision = resolve_precision(arguments.precision, device)
    bank = drawn_bank(arguments.sentences, arguments.hidden, precision, device)
    task = task_of(encoder, bank, precision, device)
    limits = Limits.of(device, DTYPES[precision])
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "sentences": arguments.sentences,
        "tokens": int(bank.lengths.sum()),
        "precision": precision,
        "peak_gflops": limits.flops_per_s / 1e9,
        "copy_gb_per_s": limits.bytes_per_s / 1e9,
        "packs": {str(size): measure(task, size, limits, full=arguments.full) for size in arguments.packs},
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="auto", choices=["auto", *sorted(DTYPES)])
    parser.add_argument("--sentences", type=int, default=56_000)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--full", action="store_true", help="run all 10 + 30 epochs instead of one of each")
    return parser.parse_args()


def drawn_encoder(layers: int, hidden: int) -> Encoder:
    """Return a random BertModel; nobody asks for its tokenizer."""
    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )
    torch.manual_seed(0)
    model = BertModel(config, add_pooling_layer=False).eval()
    return Encoder("random bert", model, None, architecture_of("bert"))


def drawn_bank(num_sentences: int, hidden: int, precision: str, device: torch.device) -> TokenBank:
    """Draw hidden states of sentences as long as FewRel's, with entities of one to five pieces."""
    generator = np.random.default_rng(0)
    lengths = generator.normal(31, 8, num_sentences).clip(16, 72).astype(np.int64)
    heads, tails = (generator.integers(1, 6, num_sentences) for _ in range(2))
    spans = np.stack([np.ones_like(heads), 1 + heads, np.full_like(tails, 8), 8 + tails], axis=1)
    hidden_states = torch.randn(int(lengths.sum()), hidden, dtype=DTYPES[precision], device=device)
    return TokenBank([TokenStore(hidden_states, np.cumsum([0, *lengths]), spans)], device)


def task_of(encoder: Encoder, bank: TokenBank, precision: str, device: torch.device) -> rocore.TrainingTask:
    """Make four fifths of the sentences labeled and the rest unlabeled, as FewRel's 44,800 and 11,200 are."""
    rows = np.random.default_rng(1).permutation(len(bank.lengths))
    known, novel = np.split(rows, [len(rows) * 4 // 5])
    novel_train, novel_test = np.split(novel, [len(novel) * 6 // 7])
    return rocore.TrainingTask(
        encoder=encoder,
        bank=bank,
        known_train=known,
        known_test=known[:0],
        novel_train=novel_train,
        novel_test=novel_test,
        known_train_labels=np.arange(len(known)) % NUM_KNOWN,
        num_known_relations=NUM_KNOWN,
        num_novel_relations=NUM_NOVEL,
        precision=precision,
        device=device,
    )


@dataclass(frozen=True)
class Limits:
    """What the device itself does: products of large matrices and copies of large tensors, both measured here."""

    flops_per_s: float
    bytes_per_s: float
    itemsize: int

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype) -> "Limits":
        """Measure; bytes read and bytes written both count."""
        size = 8192 if device.type == "cuda" else 1024
        left = torch.randn(size, size, device=device).to(dtype)
        source = torch.randn(2**28 if device.type == "cuda" else 2**24, device=device)
        target = torch.empty_like(source)
        product_s = float(np.median([seconds(lambda: left @ left, device) for _ in range(10)]))
        copy_s = float(np.median([seconds(lambda: target.copy_(source), device) for _ in range(10)]))
        return cls(2 * size**3 / product_s, 2 * source.numel() * source.itemsize / copy_s, dtype.itemsize)


def measure(task: rocore.TrainingTask, size: int, limits: Limits, *, full: bool) -> dict[str, Any]:
    """Time a pack's epochs; what a whole trial takes is measured with `full`, else computed from the later epochs.

    The first epoch of a phase compiles kernels and records a step; it counts in a whole trial alone.
    """
    if task.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(task.device)
    trainers = [trainer(task, seed, full=full) for seed in range(size)]
    seconds_of: dict[str, list[float]] = {"pretrain": [], "joint": []}
    parts: dict[str, float] = {}
    while not trainers[0].finished:
        phase = "joint" if trainers[0].joint else "pretrain"
        start = time.perf_counter()
        parts = parts_of(rocore.run_packed_epoch(trainers))
        synchronize(task.device)
        seconds_of[phase].append(time.perf_counter() - start)
    pretrain_s, joint_s = (float(np.median(seconds_of[phase][1:])) for phase in ("pretrain", "joint"))
    trial = (
        sum(map(sum, seconds_of.values())) if full else PRETRAIN_EPOCHS * pretrain_s + JOINT_EPOCHS * joint_s
    )
    work = joint_work(task)
    arithmetic_s = size * work.flops / limits.flops_per_s
    peak = torch.cuda.max_memory_allocated(task.device) if task.device.type == "cuda" else 0
    for member in trainers:
        member.close()
    bytes_s = size * (work.elements * limits.itemsize + adam_bytes(trainers[0])) / limits.bytes_per_s
    return {
        "pretrain_epoch_s": pretrain_s,
        "joint_epoch_s": joint_s,
        "joint_parts_s": parts,
        "first_epochs_s": {phase: seconds_of[phase][0] for phase in seconds_of},
        "pack_s": trial,
        "trials_per_hour": size * 3600 / trial,
        "joint_epoch_limits_s": {"arithmetic": arithmetic_s, "bytes": bytes_s},
        "joint_epoch_over_limit": joint_s / max(arithmetic_s, bytes_s),
        "peak_memory_gib": peak / 2**30,
    }


def parts_of(reports: Sequence[Any]) -> dict[str, float]:
    """Add up the members' parts of an epoch.

    Raises:
        Exception: A member's, if it failed.
    """
    parts: dict[str, float] = {}
    for report in reports:
        if isinstance(report, Exception):
            raise report
        for part, value in report.seconds.items():
            parts[part] = parts.get(part, 0.0) + value
    return parts


def adam_bytes(of: rocore.Trainer) -> float:
    """Return what Adam reads and writes in an epoch: weight, gradient and two moments, the gradient once."""
    steps = len(of.task.known_train) // of.config.train.batch_size
    return 7 * 4 * steps * sum(parameter.numel() for parameter in of.model.parameters())


def trainer(task: rocore.TrainingTask, seed: int, *, full: bool) -> rocore.Trainer:
    """Return a trainer with loss weights of its own."""
    epochs = (PRETRAIN_EPOCHS, JOINT_EPOCHS) if full else (2, 3)
    config = rocore.make_config(
        {
            "seed": seed,
            "data": {"format": "builtin"},
            "encoder": {"output_layer": min(OUTPUT_LAYER, task.encoder.num_layers)},
            "loss": {"center_weight": 0.001 * (seed + 1)},
            "train": {
                "pretrain_epochs": epochs[0],
                "max_epochs": epochs[1],
                "convergence_patience": 1000,
                "device": str(task.device),
            },
        }
    )
    return rocore.Trainer(config, task)


def joint_work(task: rocore.TrainingTask) -> Work:
    """Return the products of a joint epoch as they are computed: its steps, and layer r over all instances."""
    model = rocore.make_config({"data": {"format": "builtin"}}).model
    sizes = Sizes.of(task.encoder.model.config, model, NUM_KNOWN, NUM_NOVEL)
    lengths = Lengths(task.bank.lengths, task.bank.num_queries)
    steps = len(task.known_train) // 100
    batch = np.concatenate([task.known_train[:100], task.novel_train[:100]])
    return steps * arithmetic.executed_joint_step(lengths[batch], sizes, 100) + arithmetic.features(
        lengths, sizes
    )


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Run once and return the wall time, the device's work included."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
