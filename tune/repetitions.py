"""Named configurations, each trained over the same seeds: what their runs say, and how each differs from one of them.

The final comparison of a sweep is one such table, an experiment another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tune.config import Value
from tune.records import TrialRecord
from tune.statistics import Comparison, compare, corrected, summarize


def configuration_name(setting: str, data_set: str | None) -> str:
    """Return the name of a setting on a data set: `paper-on-fewrel`; where there is but one, that of the setting."""
    return setting if data_set is None else f"{setting}-on-{data_set}"


def setting_of(name: str, data_set: str | None) -> str:
    """Return the setting of a configuration on a data set: `paper`."""
    return name if data_set is None else name.removesuffix(configuration_name("", data_set))


def run_name(name: str, seed: int) -> str:
    """Return the name of one run: `paper-seed7`."""
    return f"{name}-seed{seed}"


def configuration_of(record: TrialRecord) -> str:
    """Return the name of the configuration that a run is of: `paper`."""
    return record.name.removesuffix(run_name("", record.seed))


def runs_of(name: str, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the runs of a configuration."""
    return [record for record in records if record.name == run_name(name, record.seed)]


def finished(record: TrialRecord) -> bool:
    """Tell whether a run reached its end and has figures."""
    return record.state == "complete" and record.metrics is not None


def failed_seeds(name: str, records: Sequence[TrialRecord]) -> list[int]:
    """Return the seeds on which a configuration didn't finish."""
    return [record.seed for record in runs_of(name, records) if not finished(record)]


def scores(name: str, records: Sequence[TrialRecord], metric: str) -> dict[int, float]:
    """Return a metric by seed, of the runs that have it."""
    return {
        record.seed: record.metrics[metric]
        for record in runs_of(name, records)
        if record.metrics and metric in record.metrics
    }


def compare_each(
    references: Mapping[str, str], records: Sequence[TrialRecord], metric: str
) -> dict[str, Comparison]:
    """Compare configurations over the seeds that both finished, corrected for all comparisons.

    Args:
        references: By configuration, the one that it is compared with.
        records: Runs.
        metric: What is compared.
    """
    compared = []
    for name, reference in references.items():
        ours, theirs = scores(name, records, metric), scores(reference, records, metric)
        seeds = sorted(set(ours) & set(theirs))
        compared.append(compare([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]))
    return dict(zip(references, corrected(compared), strict=True))


def summarize_runs(name: str, params: Mapping[str, Value], records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return what the runs of a configuration come to; failed seeds are shown, not averaged away."""
    runs = runs_of(name, records)
    ended_well = [record for record in runs if finished(record)]
    names = list(dict.fromkeys(metric for record in ended_well for metric in record.metrics or {}))
    metrics = {}
    for metric in names:
        summary = asdict(
            summarize(
                [figures[metric] for record in ended_well if metric in (figures := record.metrics or {})]
            )
        )
        metrics[metric] = {
            **summary,
            "values": list(summary["values"]),
            "ci95": summary["ci95"] and list(summary["ci95"]),
        }
    return {
        "name": name,
        "params": dict(params),
        "seeds": [record.seed for record in ended_well],
        "stop_reasons": [record.stop_reason for record in ended_well],
        "failed_seeds": [
            {"seed": record.seed, "error": record.error or f"ended as {record.state}"}
            for record in runs
            if not finished(record)
        ],
        "metrics": metrics,
        "seconds": sum(record.seconds for record in runs),
    }
