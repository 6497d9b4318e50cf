"""At which change of pseudo labels may joint training stop? An answer from recorded curves alone.

python -m benchmarks.convergence RUN [RUN ...]

RUN is a run directory, or its epochs.jsonl, of a run that went on for long. For each `train.convergence_tolerance` and
`train.convergence_patience`: the joint epoch after which the run would have stopped, B-cubed F1 on novel_test there,
what that differs by from the last epoch's and from the best epoch's, and the share of joint epochs saved. A run that
would never have stopped counts with its last epoch. The last table is the mean over runs. Where a run holds no gold,
its B-cubed F1 is "-". Nothing chooses by gold here but the reader.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rocore.errors import DataError, RocoreError

TOLERANCES = (0.002, 0.003, 0.005, 0.01, 0.02)
PATIENCES = (1, 2, 3)
METRIC = "novel_test.b3_f1"


@dataclass(frozen=True)
class Curve:
    """Joint epochs of one run, in order.

    Attributes:
        name: Where it was read.
        changes: Share of pseudo labels that changed; None in the first joint epoch.
        scores: B-cubed F1 after each epoch; None without gold.
    """

    name: str
    changes: tuple[float | None, ...]
    scores: tuple[float, ...] | None


@dataclass(frozen=True)
class Stop:
    """Where one rule ends one run.

    Attributes:
        epoch: Joint epoch, from 1.
        stopped: Whether the rule ended it, and not the record.
        saved: Share of the joint epochs that weren't needed.
        score: B-cubed F1 there; None without gold, as the next two.
        to_last: That minus the last epoch's.
        to_best: That minus the best epoch's.
    """

    epoch: int
    stopped: bool
    saved: float
    score: float | None = None
    to_last: float | None = None
    to_best: float | None = None


def read_curve(path: Path) -> Curve:
    """Read the joint epochs of a run.

    Raises:
        DataError: If there is no such file, a line isn't an epoch's, or fewer than two epochs are joint.
    """
    file = path / "epochs.jsonl" if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"RUN must be a run directory or its epochs.jsonl, but {error}") from error
    joint = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if row["phase"] == "joint":
                joint.append((row["pseudo_label_change"], row["metrics"].get(METRIC)))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                f"a line of epochs.jsonl must be an epoch's, but {file}:{number} is {line[:80]!r} ({error!r}); "
                "wait for the run, or resume it"
            ) from error
    if len(joint) < 2:
        raise DataError(f"a run must have at least 2 joint epochs, but {file} has {len(joint)}; let it go on")
    changes, scores = zip(*joint, strict=True)
    return Curve(str(path), changes, None if None in scores else scores)


def stopping_epoch(changes: Sequence[float | None], tolerance: float, patience: int) -> int | None:
    """Return the joint epoch after which the trainer would have stopped; None if never."""
    unchanged = 0
    for epoch, change in enumerate(changes, 1):
        unchanged = unchanged + 1 if change is not None and change <= tolerance else 0
        if unchanged >= patience:
            return epoch
    return None


def stop(curve: Curve, tolerance: float, patience: int) -> Stop:
    """Apply one rule to one run."""
    found, num_epochs = stopping_epoch(curve.changes, tolerance, patience), len(curve.changes)
    epoch = found or num_epochs
    where = (epoch, found is not None, 1 - epoch / num_epochs)
    if curve.scores is None:
        return Stop(*where)
    score = curve.scores[epoch - 1]
    return Stop(*where, score, score - curve.scores[-1], score - max(curve.scores))


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def render_run(curve: Curve) -> str:
    """Return the table of one run; an epoch in brackets is the record's end."""
    scored = (
        f"B3 F1 {curve.scores[-1]:.3f} at the last, {max(curve.scores):.3f} at the best; "
        if curve.scores
        else ""
    )
    smallest = min(change for change in curve.changes if change is not None)
    lines = [
        f"{curve.name}: {len(curve.changes)} joint epochs; {scored}smallest change {smallest:.4f}",
        "",
        "| tolerance | patience | joint epoch | B3 F1 | to the last | to the best | saved |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for tolerance, patience in itertools.product(TOLERANCES, PATIENCES):
        at = stop(curve, tolerance, patience)
        epoch = str(at.epoch) if at.stopped else f"({at.epoch})"
        figures = (_cell(at.score, ".3f"), _cell(at.to_last, "+.3f"), _cell(at.to_best, "+.3f"))
        lines.append(f"| {tolerance:g} | {patience} | {epoch} | {' | '.join(figures)} | {at.saved:.0%} |")
    return "\n".join(lines)


def render_means(curves: Sequence[Curve]) -> str:
    """Return the table of means over runs, with the run that loses most against its last epoch."""
    lines = [
        f"mean over {len(curves)} runs",
        "",
        "| tolerance | patience | runs stopped | joint epoch | B3 F1 | to the last | at worst | to the best | saved |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for tolerance, patience in itertools.product(TOLERANCES, PATIENCES):
        stops = [stop(curve, tolerance, patience) for curve in curves]
        losses = [each.to_last for each in stops if each.to_last is not None]
        cells = (
            f"{tolerance:g}",
            str(patience),
            f"{sum(each.stopped for each in stops)} of {len(stops)}",
            _cell(_mean([each.epoch for each in stops]), ".1f"),
            _cell(_mean([each.score for each in stops]), ".3f"),
            _cell(_mean(losses), "+.3f"),
            _cell(min(losses, default=None), "+.3f"),
            _cell(_mean([each.to_best for each in stops]), "+.3f"),
            _cell(_mean([each.saved for each in stops]), ".0%"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each run, and their mean."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.convergence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    try:
        curves = [read_curve(path) for path in parser.parse_args(arguments).runs]
    except RocoreError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    tables = [render_run(curve) for curve in curves]
    if len(curves) > 1:
        tables.append(render_means(curves))
    sys.stdout.write("\n\n".join(tables) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
