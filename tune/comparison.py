"""Two or more sweeps or runs side by side: what differs in their configurations, and in their figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocore.config import load_config
from rocore.errors import CheckpointError, ConfigError
from tune.config import load_sweep
from tune.journal import FILE, read_events
from tune.reading import dotted
from tune.statistics import Comparison, Summary, compare, summarize, verdict_text
from tune.sweep_directory import check_is_sweep

NOT_COMPARED = ("seed", "train.device", "train.num_threads", "cache.root", "data.root")
"""Keys that say which of several repetitions a run is, or where it ran."""
GROUPS = ("novel_test", "all_test")
Scores = Mapping[str, Mapping[int, float]]
"""By metric and seed."""
CURVES = ("silhouette", "pseudo_label_change")
"""Figures of every joint epoch that need no gold, so that every run has them."""
Curves = Mapping[str, Mapping[int, Sequence[float]]]
"""By figure and joint epoch, one value a seed."""


@dataclass(frozen=True)
class Side:
    """One configuration that was trained, over one seed or several.

    Attributes:
        label: The directory, and in a sweep the configuration's name.
        keys: Dotted RoCORE keys.
        scores: Metrics of the novel test split by seed.
        curves: By name and joint epoch (from 1), one value a seed.
    """

    label: str
    keys: Mapping[str, Any]
    scores: Scores
    curves: Curves


def read_sides(directories: Sequence[Path]) -> list[Side]:
    """Read what each directory holds; runs that differ in their seed alone become one.

    Of a sweep, the configuration that it chose is taken, over the seeds of its final comparison.

    Raises:
        CheckpointError: If a directory is neither a finished sweep nor a finished run.
        ConfigError: If fewer than two configurations are left.
    """
    sides: list[Side] = []
    for directory in directories:
        new = _read_side(directory)
        same = next((i for i, side in enumerate(sides) if _compared(side) == _compared(new)), None)
        if same is not None and not _shared_seeds(sides[same], new):
            sides[same] = _merged(sides[same], new)
        else:
            sides.append(new)
    if len(sides) < 2:
        raise ConfigError(
            "a comparison needs two configurations, but these directories hold one over several seeds; "
            "name a directory with another configuration"
        )
    return sides


def differing_keys(sides: Sequence[Side]) -> dict[str, list[Any]]:
    """Return the keys in which the configurations differ, with every side's value (None where it has none)."""
    keys = dict.fromkeys(key for side in sides for key in _compared(side))
    rows = {key: [side.keys.get(key) for side in sides] for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def summaries(sides: Sequence[Side]) -> dict[str, list[Summary | None]]:
    """Return mean, standard deviation and interval of every metric and side."""
    metrics = dict.fromkeys(metric for side in sides for metric in side.scores)
    return {
        metric: [
            summarize(list(values.values())) if (values := side.scores.get(metric)) else None
            for side in sides
        ]
        for metric in metrics
    }


def share_data(first: Side, other: Side) -> bool:
    """Tell whether equal seeds mean equal splits: a pair of other data is none."""
    data = [
        {key: value for key, value in _compared(each).items() if key.startswith("data.")}
        for each in (first, other)
    ]
    return data[0] == data[1]


def pair(first: Side, other: Side, metric: str) -> Comparison:
    """Compare a metric over the seeds that both sides share; the difference is (other - first)."""
    ours, theirs = other.scores.get(metric, {}), first.scores.get(metric, {})
    seeds = sorted(set(ours) & set(theirs))
    return compare([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])


def verdicts(sides: Sequence[Side], metric: str) -> list[str]:
    """Return a sentence on each side but the first: whether it differs from the first."""
    first = sides[0]
    return [
        verdict_text(
            f"configuration {other.label}",
            f"configuration {first.label}",
            metric,
            pair(first, other, metric),
        )
        if share_data(first, other)
        else f"No test of {other.label} against {first.label}: their data differ, so that no seed is shared."
        for other in sides[1:]
    ]


def csv_rows(sides: Sequence[Side]) -> Iterator[tuple[object, ...]]:
    """Yield a header and one row for each side, metric and seed."""
    yield ("configuration", "metric", "seed", "value")
    for side in sides:
        for metric, values in side.scores.items():
            for seed, value in values.items():
                yield (side.label, metric, seed, value)


def _read_side(directory: Path) -> Side:
    is_sweep = any((directory / name).is_file() for name in (FILE, "results.json"))
    if is_sweep:
        check_is_sweep(directory)
    elif not (directory / "config.yaml").is_file():
        raise CheckpointError(
            f"{directory} must be a complete sweep or a finished run, but is neither; give the --out of a "
            "`rocore sweep` or `rocore train`"
        )
    try:
        return _read_sweep(directory) if is_sweep else _read_run(directory)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise CheckpointError(
            f"{directory} must be a complete sweep or a finished run, but {type(error).__name__}: {error}; "
            "let it come to its end first"
        ) from error


def _read_sweep(directory: Path) -> Side:
    results = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    chosen = results["final"][0]
    scores = {
        metric: dict(zip(chosen["seeds"], summary["values"], strict=True))
        for metric, summary in chosen["metrics"].items()
    }
    tree = load_sweep(directory / "config.yaml").tree(chosen["params"])
    journal = directory / FILE
    names = {f"{chosen['name']}-seed{seed}" for seed in chosen["seeds"]}
    rows = [
        {**event, **event["scalars"]}
        for event in (read_events(journal) if journal.is_file() else ())
        if event["event"] == "report" and event["name"] in names
    ]
    return Side(
        f"{directory.name} ({chosen['name']})",
        dict(dotted(tree)),
        scores,
        _curves(rows, int(tree["train"]["pretrain_epochs"])),
    )


def _read_run(directory: Path) -> Side:
    config = load_config(directory / "config.yaml")
    metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    figures = {
        name: value
        for name, value in dotted(metrics)
        if name.partition(".")[0] in GROUPS or name.count("accuracy")
    }
    scores = {name: {config.seed: float(value)} for name, value in figures.items()}
    epochs = directory / "epochs.jsonl"
    lines = epochs.read_text(encoding="utf-8").splitlines() if epochs.is_file() else []
    curves = _curves([json.loads(line) for line in lines], config.train.pretrain_epochs)
    return Side(directory.name, dict(dotted(config.model_dump(mode="json"))), scores, curves)


def _curves(rows: Sequence[Mapping[str, Any]], num_pretrain: int) -> Curves:
    """Gather the figures of joint epochs; what an epoch hasn't measured is left out."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in CURVES}
    for row in rows:
        for name, epochs in found.items():
            if row["epoch"] > num_pretrain and row.get(name) is not None:
                epochs.setdefault(row["epoch"] - num_pretrain, []).append(float(row[name]))
    return found


def _merged(side: Side, other: Side) -> Side:
    scores = {
        metric: {**side.scores.get(metric, {}), **other.scores.get(metric, {})}
        for metric in dict.fromkeys((*side.scores, *other.scores))
    }
    curves = {
        name: {
            epoch: [*side.curves[name].get(epoch, ()), *other.curves[name].get(epoch, ())]
            for epoch in sorted({*side.curves[name], *other.curves[name]})
        }
        for name in CURVES
    }
    return Side(side.label, side.keys, scores, curves)


def _shared_seeds(side: Side, other: Side) -> bool:
    seeds = [{seed for values in each.scores.values() for seed in values} for each in (side, other)]
    return bool(seeds[0] & seeds[1])


def _compared(side: Side) -> dict[str, Any]:
    return {key: value for key, value in side.keys.items() if key not in NOT_COMPARED}
