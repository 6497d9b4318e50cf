"""What attention gains from C: joint epochs with it and with plain tensors, in turn.

python -m benchmarks.compiled [--data-root data/fewrel] [--encoder minilm] [--precision auto] [--pairs 5] [--threads 2]
"""

import argparse
import statistics
import sys
import time
from unittest.mock import patch

import torch

import rocore
from benchmarks.workload import CASES, TINY_CASES, open_workload
from rocore.encoder import native
from rocore.training.steps import run_steps

Seconds = tuple[float, float]
"""Of a joint step, and of the rest of an epoch: pseudo labels and the feature pass."""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiled", description=__doc__)
    parser.add_argument("--data-root", default="data/fewrel", help="folder with FewRel's files")
    parser.add_argument("--cache-root", help="folder of the trunk cache; default: as `rocore` does")
    parser.add_argument("--encoder", choices=[case.name for case in CASES], default="minilm")
    parser.add_argument("--pairs", type=int, default=5, help="epochs of each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument(
        "--quick", action="store_true", help="tiny encoders on tiny random data: figures mean nothing"
    )
    return parser.parse_args()


def measure(trainer: rocore.Trainer, num_steps: int, *, plain: bool) -> Seconds:
    """Run an epoch."""
    library = None if plain else native.library()
    with patch.object(native, "library", lambda: library):
        start = time.perf_counter()
        plan = trainer.begin_epoch()
        begun = time.perf_counter()
        run_steps(trainer.config, trainer.task, trainer.model, trainer.optimizer, plan)
        stepped = time.perf_counter()
        trainer.end_epoch(plan, {})
        return (stepped - begun) / num_steps, time.perf_counter() - stepped + begun - start


def main() -> int:
    """Train with either in turn, and print medians and the median ratio of pairs."""
    arguments = parse()
    if native.library() is None:
        sys.exit(
            "GCC must be here to compare with, but isn't, or ROCORE_NATIVE is 0; install it, or unset that"
        )
    torch.set_num_threads(arguments.threads)
    cases = TINY_CASES if arguments.quick else CASES
    case = next(case for case in cases if case.name == arguments.encoder)
    with open_workload(arguments) as workload:
        epochs = {"train__pretrain_epochs": 1, "train__max_epochs": 2 + 2 * arguments.pairs}
        precision = {"encoder__precision": arguments.precision}
        config = workload.config(case, train__device="cpu", **epochs, **precision)
        task = rocore.prepare(config).task
        trainer = rocore.Trainer(config, task)
        trainer.run_epoch()
        num_steps = -(-len(task.known_train) // config.train.batch_size)
        measure(trainer, num_steps, plain=True)
        measure(trainer, num_steps, plain=False)
        pairs = [
            (measure(trainer, num_steps, plain=True), measure(trainer, num_steps, plain=False))
            for _ in range(arguments.pairs)
        ]
    sys.stdout.write(f"{case.name}, {task.precision}, {arguments.threads} threads, {arguments.pairs} pairs\n")
    for what, i in (("joint step", 0), ("the rest of an epoch", 1)):
        plain, compiled = (statistics.median(pair[k][i] for pair in pairs) for k in (0, 1))
        ratio = statistics.median(pair[0][i] / pair[1][i] for pair in pairs)
        sys.stdout.write(f"{what}: plain {plain:.4f} s, compiled {compiled:.4f} s, ratio {ratio:.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
