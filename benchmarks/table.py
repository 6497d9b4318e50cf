"""The summary that latest.json holds, and its table."""

import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.packing import SIZES as PACK_SIZES
from rocore.environment import describe_environment

DEFINITIONS = """\
plain/ours  time of the plain baseline (benchmarks/plain.py: whole encoder, padded, fp32, five passes a step) over the
            engine's. The plain epoch isn't run: medians of single steps and feature batches, times their number.
joint epoch one run_epoch of the engine (features, k-means, steps) and the evaluation after it.
of peak     multiply-adds that the span-query form needs (benchmarks/arithmetic.py) over time and over the fastest large
            matrix product in the engine's dtype; for the trunk a sample of sentences, without padding. The joint step
            gets by with less (no keys and values): "executed step" counts what it really multiplies.
overhead    share of a joint epoch outside steps and feature pass (k-means, silhouette, metrics), plus the time that
            gathering the batches of both takes alone.
GB          read and written if every product reads its operands and writes its result once.
trial peak  anonymous memory of a trial on a filled trunk cache, beyond what stands after imports; the mapped cache,
            which trials share, isn't in it."""


def machine() -> dict[str, Any]:
    """Describe processor and packages; names no host."""
    cpuinfo = Path("/proc/cpuinfo")
    found = (
        re.search(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    )
    return {"processor": found[1] if found else platform.processor(), **describe_environment()}


def summarize(
    results: dict[str, dict[str, Any]], grown: list[dict[str, Any]], packs: dict[str, float]
) -> dict[str, Any]:
    """Return what latest.json holds; null where nothing was measured.

    Where a figure isn't given by encoder it is minilm's; those of both are in `encoders`.
    """

    def of(name: str, *keys: str) -> Any:
        value: Any = results.get(name)
        for key in keys:
            value = None if value is None else value[key]
        return value

    def by_encoder(key: str) -> dict[str, Any]:
        return {name: of(name, key) for name in ("minilm", "bert_base")}

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "joint_step_ratio": by_encoder("joint_step_ratio"),
        "joint_epoch_ratio": by_encoder("joint_epoch_ratio"),
        "peak_fraction": {
            phase: of("minilm", "phases", phase, "peak_fraction") for phase in ("trunk", "joint_step")
        },
        "overhead_fraction": of("minilm", "overhead_fraction"),
        "trial_peak_mib": of("minilm", "peak_mib", "trial"),
        "trials_per_hour": {f"pack_{size}": packs.get(f"pack_{size}") for size in PACK_SIZES},
        "encoders": results,
        "growth": grown,
    }


def render(summary: dict[str, Any]) -> str:
    """Return the table as text."""
    environment = summary["machine"]
    lines = [f"{summary['date']}, {environment['processor']}, torch {environment['packages']['torch']}"]
    for name, figures in summary["encoders"].items():
        lines += ["", *_render_encoder(name, figures)]
    packed = ", ".join(f"{name} {_cell(rate, '.2f')}" for name, rate in summary["trials_per_hour"].items())
    lines += ["", f"trials an hour (minilm, an eighth of FewRel, 10 + 30 epochs): {packed}"]
    return "\n".join([*lines, "", DEFINITIONS])


def _render_encoder(name: str, figures: dict[str, Any]) -> list[str]:
    used, plain, ours = figures["machine"], figures["plain"], figures["ours"]
    peaks = ", ".join(f"{dtype} {peak:.0f}" for dtype, peak in used["peak_gflops"].items())
    lines = [
        f"{name}: {used['precision']}, {used['threads']} threads, peak GFLOP/s: {peaks}; "
        f"plain padded to {plain['padded_to']}, {plain['measured']} steps measured",
        f"  {'':16}{'plain s':>10}{'(min)':>10}{'ours s':>10}{'(min)':>10}{'plain/ours':>12}",
        f"  {'joint step':16}{plain['step']:10.3f}{plain['step_min']:10.3f}{ours['step']:10.4f}{'':10}"
        f"{figures['joint_step_ratio']:12.1f}",
        f"  {'joint epoch':16}{plain['joint_epoch']:10.1f}{'':10}{ours['joint_epoch']:10.2f}"
        f"{ours['joint_epoch_min']:10.2f}{figures['joint_epoch_ratio']:12.1f}",
        f"  {'phase':16}{'seconds':>10}{'GFLOP/s':>10}{'of peak':>10}{'GB':>10}{'peak MiB':>12}",
    ]
    for phase, row in figures["phases"].items():
        memory = figures["peak_mib"].get(MEMORY_OF[phase])
        rate = [
            _cell(row["gflops"], ".0f"),
            _cell(row["peak_fraction"], ".1%"),
            _cell(row["gigabytes"], ".3g"),
        ]
        cells = "".join(f"{cell:>10}" for cell in rate)
        lines.append(f"  {phase.replace('_', ' '):16}{row['seconds']:10.4f}{cells}{_cell(memory, '.0f'):>12}")
    return [
        *lines,
        f"  overhead {figures['overhead_fraction']:.1%}, trial peak {figures['peak_mib']['trial']:.0f} MiB",
    ]


MEMORY_OF = {
    "trunk": "trunk",
    "pretrain_step": "pretrain",
    "pseudo_labels": "joint",
    "joint_step": "joint",
    "executed_step": "joint",
    "features": "joint",
    "evaluation": "joint",
}
"""Which of the measured stretches a phase belongs to."""


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
