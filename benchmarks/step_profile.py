"""Where the time of a joint step goes, operator by operator.

python -m benchmarks.step_profile [--data-root data/fewrel] [--encoder minilm] [--quick]
"""

import argparse
import sys
import time
from typing import Any

from torch.profiler import ProfilerActivity, profile

import rocore
from benchmarks.workload import CASES, TINY_CASES, open_workload
from rocore.training.steps import run_steps

WARM_EPOCHS = 3
"""One of pre-training and two joint ones: kernels are compiled, allocations have settled."""
NUM_ROWS = 24


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_profile", description=__doc__)
    parser.add_argument("--data-root", default="data/fewrel", help="folder with FewRel's files")
    parser.add_argument("--cache-root", help="folder of the trunk cache; default: as `rocore` does")
    parser.add_argument("--encoder", choices=[case.name for case in CASES], default="minilm")
    parser.add_argument(
        "--quick", action="store_true", help="tiny encoders on tiny random data: figures mean nothing"
    )
    return parser.parse_args()


def render(operators: Any, num_steps: int, seconds: float, what: str) -> str:
    """Return a table of an epoch's operators, each without those that it calls."""
    total = sum(operator.self_cpu_time_total for operator in operators)
    lines = [
        f"{what}: {num_steps} steps, {1e3 * seconds / num_steps:.1f} ms each while they were watched",
        f"{'operator':<44}{'calls a step':>14}{'ms a step':>12}{'share':>8}",
    ]
    for operator in sorted(operators, key=lambda each: -each.self_cpu_time_total)[:NUM_ROWS]:
        own, calls = operator.self_cpu_time_total, operator.count / num_steps
        lines.append(
            f"{operator.key[:43]:<44}{calls:>14.1f}{own / 1e3 / num_steps:>12.2f}{own / total:>8.1%}"
        )
    return "\n".join(lines)


def main() -> int:
    """Train a few epochs, then watch the steps of one."""
    arguments = parse()
    cases = TINY_CASES if arguments.quick else CASES
    case = next(case for case in cases if case.name == arguments.encoder)
    with open_workload(arguments) as workload:
        epochs = {"train__pretrain_epochs": 1, "train__max_epochs": WARM_EPOCHS}
        config = workload.config(case, train__device="cpu", **epochs)
        task = rocore.prepare(config).task
        trainer = rocore.Trainer(config, task)
        for _ in range(WARM_EPOCHS):
            trainer.run_epoch()
        plan = trainer.begin_epoch()
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            start = time.perf_counter()
            run_steps(config, task, trainer.model, trainer.optimizer, plan)
            seconds = time.perf_counter() - start
        num_steps = -(-len(task.known_train) // config.train.batch_size)
        what = f"{case.name}, {task.precision}"
        sys.stdout.write(render(watched.key_averages(), num_steps, seconds, what) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
