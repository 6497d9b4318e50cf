"""The machine's own peak: the fastest large matrix product, by dtype, at the thread count in use."""

import statistics
import time

import torch

SHAPES = ((2048, 2048, 2048), (4096, 1024, 4096), (8192, 768, 3072), (1024, 8192, 1024))
SMALL_SHAPES = ((256, 256, 256),)
"""For a quick look: rows, inner size, columns."""


def product_gflops(shape: tuple[int, int, int], dtype: torch.dtype, repeats: int) -> float:
    """Return GFLOP/s of one product, weights given transposed as a linear layer does; median of the repeats."""
    rows, inner, columns = shape
    left, right = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    out = torch.empty(rows, columns, dtype=dtype)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        torch.mm(left, right.T, out=out)
        seconds.append(time.perf_counter() - start)
    return 2e-9 * rows * inner * columns / statistics.median(seconds[1:])


def peak_gflops(*, quick: bool = False, repeats: int = 5) -> dict[str, float]:
    """Return GFLOP/s of the best shape by dtype: fp32 and bf16."""
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    shapes = SMALL_SHAPES if quick else SHAPES
    return {
        name: max(product_gflops(shape, dtype, repeats) for shape in shapes) for name, dtype in dtypes.items()
    }
