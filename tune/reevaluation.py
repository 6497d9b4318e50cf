"""The final comparison: which configurations enter it, and what their seeds say."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tune.config import Sweep, Value
from tune.ledger import PAPER, TrialRecord
from tune.specification import final_spec
from tune.statistics import Comparison, as_json, compare, corrected, summarize

METRIC = "novel_test.b3_f1"


def rank(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Order trials by the objective of their last epoch, complete ones before pruned ones; none that failed.

    The best epoch of a curve is luck and doesn't count. Equal objectives go by number; of equal
    configurations the best-placed one is kept.
    """
    usable = [
        record
        for record in records
        if record.state in ("complete", "pruned") and record.objective is not None
    ]
    usable.sort(key=lambda record: (record.state != "complete", -(record.objective or 0.0), record.number))
    distinct = {_identity(record.params): record for record in reversed(usable)}
    return [record for record in usable if distinct[_identity(record.params)] is record]


def name_of(record: TrialRecord, paper: Mapping[str, Value]) -> str:
    """Return `paper` or `trial-N`."""
    return PAPER if _identity(record.params) == _identity(paper) else f"trial-{record.number}"


def candidates(
    records: Sequence[TrialRecord], paper: Mapping[str, Value], num_candidates: int
) -> dict[str, dict[str, Value]]:
    """Return the best configurations of the search by name, best first, and the paper's in its place among them."""
    named = {name_of(record, paper): dict(record.params) for record in rank(records)}
    best = [name for name in named if name != PAPER][:num_candidates]
    return {name: params for name, params in named.items() if name in (*best, PAPER)} | {PAPER: dict(paper)}


def final_specs(sweep: Sweep, chosen: Mapping[str, Mapping[str, Value]]) -> list[dict[str, Any]]:
    """Return one specification a seed and configuration, seed by seed, so that pairs end close together."""
    return [
        final_spec(sweep, name, params, seed) for seed in sweep.final_seeds for name, params in chosen.items()
    ]


def summarize_final(
    chosen: Mapping[str, Mapping[str, Value]], records: Sequence[TrialRecord]
) -> list[dict[str, Any]]:
    """Return the `final` list of results.json; failed seeds are shown, not averaged away.

    `against_paper` compares each with the paper's configuration, corrected for all of them.
    """
    entries = [_summarize_one(name, params, _of(name, records)) for name, params in chosen.items()]
    comparisons = against_paper(list(chosen), records)
    for entry in entries:
        comparison = comparisons.get(entry["name"])
        entry["against_paper"] = comparison and as_json(comparison)
    return entries


def against_paper(names: Sequence[str], records: Sequence[TrialRecord]) -> dict[str, Comparison]:
    """Compare each configuration with the paper's over the seeds that both finished, corrected for all of them."""
    others = [name for name in names if name != PAPER]
    theirs, compared = _scores(PAPER, records), []
    for name in others:
        ours = _scores(name, records)
        seeds = sorted(set(ours) & set(theirs))
        compared.append(compare([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]))
    return dict(zip(others, corrected(compared), strict=True))


def failed_seeds(name: str, records: Sequence[TrialRecord]) -> list[int]:
    """Return the seeds on which a configuration didn't finish."""
    return [record.seed for record in _of(name, records) if not _finished(record)]


def has_gold(records: Sequence[TrialRecord]) -> bool:
    """Tell whether any finished run could be scored on novel relations."""
    return any(METRIC in (record.metrics or {}) for record in records)


def _identity(params: Mapping[str, Value]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _scores(name: str, records: Sequence[TrialRecord]) -> dict[int, float]:
    """Return the metric by seed, of the seeds that finished and have it."""
    return {
        record.seed: record.metrics[METRIC]
        for record in _of(name, records)
        if record.metrics and METRIC in record.metrics
    }


def _of(name: str, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in records if record.name == f"{name}-seed{record.seed}"]


def _finished(record: TrialRecord) -> bool:
    return record.state == "complete" and record.metrics is not None


def _summarize_one(name: str, params: Mapping[str, Value], records: Sequence[TrialRecord]) -> dict[str, Any]:
    finished = [record for record in records if _finished(record)]
    names = list(dict.fromkeys(metric for record in finished for metric in record.metrics or {}))
    metrics = {}
    for metric in names:
        summary = asdict(
            summarize([figures[metric] for record in finished if metric in (figures := record.metrics or {})])
        )
        metrics[metric] = {
            **summary,
            "values": list(summary["values"]),
            "ci95": summary["ci95"] and list(summary["ci95"]),
        }
    return {
        "name": name,
        "params": dict(params),
        "seeds": [record.seed for record in finished],
        "stop_reasons": [record.stop_reason for record in finished],
        "failed_seeds": [
            {"seed": record.seed, "error": record.error or f"ended as {record.state}"}
            for record in records
            if not _finished(record)
        ],
        "metrics": metrics,
        "seconds": sum(record.seconds for record in records),
    }
