"""Why plain tensors multiply with tokens in fp32 on CPUs: the cost and number of the bf16 kernels they would take.

python -m benchmarks.token_products [--data-root data/fewrel] [--quick]

oneDNN compiles a kernel for every shape of a bf16 product, and keeps the latest thousand, or as many as
ONEDNN_PRIMITIVE_CACHE_CAPACITY says.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from itertools import product

import torch

import rocore
from benchmarks.fresh import in_fresh_process
from benchmarks.memory import anonymous_mib
from benchmarks.speed import paired_rows
from benchmarks.workload import CASES, TINY_CASES, Workload, open_workload

HEADS, HIDDEN = 12, 384
"""Of minilm."""
SIZES, TOKENS, QUERIES = range(3, 17, 2), range(16, 64, 3), range(2, 10)
"""Of a group: sentences, tokens, span tokens; every combination is a shape."""
TYPICAL = (16, 40, 4)
EPOCHS = 12
ROUNDINGS = (1, 8)
"""Lengths of sentences are filled up to a multiple."""
PRODUCTS = 4
"""With tokens, of each group in a joint step, each a shape of its own: scores, mixtures, and the gradients of both."""


def products(shape: tuple[int, int, int], dtype: torch.dtype) -> Callable[[], None]:
    """Return the two products of a group's forward pass."""
    size, tokens, queries = shape
    hidden = torch.full((size, tokens, HIDDEN), 0.5, dtype=dtype)
    folded = torch.full((size, queries * HEADS, HIDDEN), 0.5, dtype=dtype)
    mask = torch.zeros(size, tokens, 1, dtype=dtype)

    def run() -> None:
        scores = torch.baddbmm(mask, hidden, folded.mT)
        torch.bmm(scores.mT, hidden)

    return run


def seconds(runs: list[Callable[[], None]]) -> float:
    start = time.perf_counter()
    for run in runs:
        run()
    return time.perf_counter() - start


def measure_kernels(quick: bool) -> str:
    """Compile a kernel for each product of each shape, and keep all."""
    torch.set_num_threads(2)
    repeats = 10 if quick else 500
    typical = {dtype: products(TYPICAL, dtype) for dtype in (torch.float32, torch.bfloat16)}
    for run in typical.values():
        run()
    ratios = [
        seconds([typical[torch.float32]] * repeats) / seconds([typical[torch.bfloat16]] * repeats)
        for _ in range(7)
    ]
    shapes = list(product(SIZES, TOKENS, QUERIES))[:: 50 if quick else 1]
    before = anonymous_mib()
    runs = [products(shape, torch.bfloat16) for shape in shapes]
    held = anonymous_mib() - before
    first, again = seconds(runs), seconds(runs)
    kernels = 2 * len(shapes)
    kept, ratio = anonymous_mib() - before - held, statistics.median(ratios)
    return (
        f"{kernels} bf16 kernels: {1e3 * (first - again) / kernels:.2f} ms to compile one, "
        f"{kept / kernels:.2f} MiB to keep it\n"
        f"once compiled, {TYPICAL} sentences, tokens and span tokens: {ratio:.2f} times as fast as fp32"
    )


def count_shapes(workload: Workload, quick: bool) -> str:
    """Count the shapes of the groups of real batches, epoch by epoch."""
    case = (TINY_CASES if quick else CASES)[0]
    config = workload.config(case, train__device="cpu")
    task = rocore.prepare(config).task
    seen: dict[int, set[tuple[int, int, int]]] = {step: set() for step in ROUNDINGS}
    scores = dict.fromkeys(ROUNDINGS, 0)
    after_first: dict[int, int] = {}
    for epoch in range(EPOCHS):
        for rows in paired_rows(task, config.train.batch_size, seed=epoch):
            for group, step in product(task.bank.batch(rows).groups, ROUNDINGS):
                tokens = group.tokens + -group.tokens % step
                seen[step].add((group.size, tokens, group.queries))
                scores[step] += group.size * tokens * group.queries
        if not epoch:
            after_first = {step: len(shapes) for step, shapes in seen.items()}
    return "\n".join(
        f"lengths in multiples of {step}: {after_first[step]} shapes in an epoch, "
        f"{len(seen[step])} in {EPOCHS} epochs, "
        f"{PRODUCTS * len(seen[step])} kernels; {scores[step] / scores[1] - 1:.0%} more arithmetic"
        for step in ROUNDINGS
    )


def main() -> int:
    """Measure kernels in a process of their own, then count shapes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.token_products", description=__doc__)
    parser.add_argument("--data-root", default="data/fewrel", help="folder with FewRel's files")
    parser.add_argument("--cache-root", help="folder of the trunk cache; default: as `rocore` does")
    parser.add_argument("--quick", action="store_true", help="few kernels, tiny random data")
    arguments = parser.parse_args()
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "100000"  # read at the first product
    sys.stdout.write(in_fresh_process(measure_kernels, arguments.quick) + "\n")
    with open_workload(arguments) as workload:
        sys.stdout.write(count_shapes(workload, arguments.quick) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
