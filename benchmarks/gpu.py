"""The engine at the paper's scale on an accelerator: bert-base's shape, layer 8, 56,000 sentences of random tokens.

python -m benchmarks.gpu [--device cuda] [--sentences 56000] [--packs 1 4 8 16] [--full]

Needs no data, no Ray and no network. An epoch of each phase is timed (a whole trial of 10 + 30 epochs with --full),
alone and in packs, beside the device's own peak of matrix products.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

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

NUM_KNOWN, NUM_NOVEL = 64, 16
PRETRAIN_EPOCHS, JOINT_EPOCHS = 10, 30
OUTPUT_LAYER = 8


def main() -> int:
    """Measure and print one JSON object."""
    arguments = parse()
    device = torch.device(arguments.device)
    encoder = drawn_encoder(arguments.layers, arguments.hidden)
    precision = resolve_precision(arguments.precision, device)
    torch.set_float32_matmul_precision("high" if precision == "bf16" else "highest")  # as a run's preparation does
    bank = drawn_bank(arguments.sentences, arguments.hidden, precision, device)
    task = task_of(encoder, bank, precision, device)
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "sentences": arguments.sentences,
        "tokens": int(bank.lengths.sum()),
        "precision": precision,
        "peak_gflops": peak_gflops(device, DTYPES[precision]),
        "packs": {str(size): measure(task, size, full=arguments.full) for size in arguments.packs},
    }
    if device.type == "cuda":
        found["peak_memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
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


def measure(task: rocore.TrainingTask, size: int, *, full: bool) -> dict[str, float]:
    """Time a pack's epochs; what a whole trial takes is measured with `full`, else computed from one epoch of each."""
    trainers = [trainer(task, seed, full=full) for seed in range(size)]
    pretrain, joint = [], []
    warm_up = 1 if full else 2
    while not trainers[0].finished:
        into = joint if trainers[0].joint else pretrain
        into.append(seconds(lambda: rocore.run_packed_epoch(trainers), task.device))
    pretrain_s, joint_s = float(np.median(pretrain[-warm_up:])), float(np.median(joint[-warm_up:]))
    trial = sum(pretrain) + sum(joint) if full else PRETRAIN_EPOCHS * pretrain_s + JOINT_EPOCHS * joint_s
    return {
        "pretrain_epoch_s": pretrain_s,
        "joint_epoch_s": joint_s,
        "pack_s": trial,
        "trials_per_hour": size * 3600 / trial,
        "joint_gflops": size * joint_work(task).flops / joint_s / 1e9,
    }


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
    """Return the products of a joint epoch: its steps, and layer r over all instances."""
    model = rocore.make_config({"data": {"format": "builtin"}}).model
    sizes = Sizes.of(task.encoder.model.config, model, NUM_KNOWN, NUM_NOVEL)
    lengths = Lengths(task.bank.lengths, task.bank.num_queries)
    steps = len(task.known_train) // 100
    batch = np.concatenate([task.known_train[:100], task.novel_train[:100]])
    return steps * arithmetic.joint_step(lengths[batch], sizes, 100) + arithmetic.features(lengths, sizes)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Run once and return the wall time, the device's work included."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_gflops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a large square product."""
    size = 8192 if device.type == "cuda" else 1024
    left = torch.randn(size, size, device=device).to(dtype)
    times = [seconds(lambda: left @ left, device) for _ in range(10)]
    return 2 * size**3 / float(np.median(times)) / 1e9


if __name__ == "__main__":
    sys.exit(main())
