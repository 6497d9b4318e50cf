"""The final comparison: which configurations enter it, and what their seeds say."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tune.config import Sweep, Value
from tune.ledger import PAPER, TrialRecord
from tune.specification import final_spec
from tune.statistics import Comparison, compare, summarize, verdict_text

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


def finalists(
    records: Sequence[TrialRecord], paper: Mapping[str, Value], top_k: int
) -> dict[str, dict[str, Value]]:
    """Return the configurations of the final comparison by name, best first; the paper's is always there."""
    chosen = {name_of(record, paper): dict(record.params) for record in rank(records)[:top_k]}
    chosen.setdefault(PAPER, dict(paper))
    return chosen


def final_specs(sweep: Sweep, chosen: Mapping[str, Mapping[str, Value]]) -> list[dict[str, Any]]:
    """Return one specification a seed and configuration, seed by seed, so that pairs end close together."""
    return [
        final_spec(sweep, name, params, seed) for seed in sweep.final_seeds for name, params in chosen.items()
    ]


def summarize_final(
    chosen: Mapping[str, Mapping[str, Value]], records: Sequence[TrialRecord]
) -> list[dict[str, Any]]:
    """Return the `final` list of results.json; failed seeds are shown, not averaged away."""
    return [
        _summarize_one(name, params, [record for record in records if record.name.startswith(f"{name}-seed")])
        for name, params in chosen.items()
    ]


def judge(best: str, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Compare the search's choice with the paper's configuration over the seeds that both finished.

    The choice is the search's, made by its objective: choosing by the final scores would favor luck.
    """
    ours, theirs = _scores(best, records), _scores(PAPER, records)
    seeds = sorted(set(ours) & set(theirs))
    comparison = compare([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    return {
        "best": best,
        "against": PAPER,
        "metric": METRIC,
        "difference": comparison.difference or 0.0,
        "ci95": list(comparison.ci95) if comparison.ci95 else None,
        "p_value": comparison.p_value if best != PAPER else None,
        "probability_better": comparison.probability_better if best != PAPER else None,
        "num_pairs": comparison.num_pairs,
        "significant": comparison.significant and best != PAPER,
        "text": _text(best, records, comparison),
    }


def _identity(params: Mapping[str, Value]) -> str:
    return json.dumps(dict(params), sort_keys=True)


def _scores(name: str, records: Sequence[TrialRecord]) -> dict[int, float]:
    """Return the metric by seed, of the seeds that finished and have it."""
    return {
        record.seed: record.metrics[METRIC]
        for record in records
        if record.name == f"{name}-seed{record.seed}" and record.metrics and METRIC in record.metrics
    }


def _summarize_one(name: str, params: Mapping[str, Value], records: Sequence[TrialRecord]) -> dict[str, Any]:
    finished = [record for record in records if record.state == "complete" and record.metrics is not None]
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
        "failed_seeds": [
            {"seed": record.seed, "error": record.error or f"ended as {record.state}"}
            for record in records
            if record not in finished
        ],
        "metrics": metrics,
        "seconds": sum(record.seconds for record in records),
    }


def _text(best: str, records: Sequence[TrialRecord], comparison: Comparison) -> str:
    finished = [record for record in records if record.metrics is not None]
    if finished and not any(METRIC in (record.metrics or {}) for record in finished):
        return (
            "The novel instances carry no gold relations, so that nothing can be said about how good a "
            "configuration is on them; the figures are label-free."
        )
    if best == PAPER:
        return "By its objective, the search found nothing better than the paper's configuration."
    return verdict_text(
        f"the search's choice ({best})", "the paper's configuration", "novel-test B-cubed F1", comparison
    )
