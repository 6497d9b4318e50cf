"""The final comparison: which configurations enter it, and what their seeds say."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tune.config import Sweep, Value
from tune.ledger import PAPER, TrialRecord
from tune.specification import final_spec
from tune.statistics import Comparison, compare, holm, summarize, verdict_text

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
    """Return the `final` list of results.json; failed seeds are shown, not averaged away.

    `against_paper` compares each with the paper's configuration; its p values are corrected (Holm) for all of them.
    """
    entries = [_summarize_one(name, params, _of(name, records)) for name, params in chosen.items()]
    comparisons = {name: _against_paper(name, records) for name in chosen if name != PAPER}
    tested = [name for name, comparison in comparisons.items() if comparison.p_value is not None]
    corrected = dict(zip(tested, holm([comparisons[name].p_value or 0.0 for name in tested]), strict=True))
    for entry in entries:
        comparison = comparisons.get(entry["name"])
        entry["against_paper"] = comparison and {
            **_figures(comparison),
            "corrected_p_value": corrected.get(entry["name"]),
        }
    return entries


def judge(best: str, records: Sequence[TrialRecord], in_race: str = "") -> dict[str, Any]:
    """Compare the search's choice with the paper's configuration over the seeds that both finished.

    The choice is the search's, made by its objective: choosing by the final scores would favor luck.

    Args:
        best: The search's choice.
        records: Runs of the final comparison.
        in_race: What the race says of the same two; it is all that there is to say where nothing carries gold.
    """
    comparison = _against_paper(best, records)
    failed = {
        name: [record.seed for record in _of(name, records) if not _finished(record)]
        for name in (best, PAPER)
    }
    verdict = {"best": best, "against": PAPER, "metric": METRIC, **_figures(comparison)}
    if best == PAPER:
        verdict |= {"p_value": None, "probability_better": None}
    return {
        **verdict,
        "difference": comparison.difference or 0.0,
        "significant": comparison.significant and best != PAPER,
        "failed_seeds": failed,
        "num_failed_seeds": sum(len(seeds) for seeds in failed.values()),
        "text": _text(best, records, comparison, in_race) + _failures(failed),
    }


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


def _against_paper(name: str, records: Sequence[TrialRecord]) -> Comparison:
    ours, theirs = _scores(name, records), _scores(PAPER, records)
    seeds = sorted(set(ours) & set(theirs))
    return compare([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])


def _figures(comparison: Comparison) -> dict[str, Any]:
    return {
        "difference": comparison.difference,
        "ci95": list(comparison.ci95) if comparison.ci95 else None,
        "p_value": comparison.p_value,
        "probability_better": comparison.probability_better,
        "num_pairs": comparison.num_pairs,
        "num_better": comparison.num_better,
    }


def _failures(failed: Mapping[str, Sequence[int]]) -> str:
    """Say which seeds are missing from the comparison."""
    named = [f"{name} on {', '.join(map(str, seeds))}" for name, seeds in failed.items() if seeds]
    return f" Seeds that failed, and don't count: {'; '.join(named)}." if named else ""


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
        "failed_seeds": [
            {"seed": record.seed, "error": record.error or f"ended as {record.state}"}
            for record in records
            if not _finished(record)
        ],
        "metrics": metrics,
        "seconds": sum(record.seconds for record in records),
    }


def _text(best: str, records: Sequence[TrialRecord], comparison: Comparison, in_race: str) -> str:
    finished = [record for record in records if record.metrics is not None]
    if finished and not any(METRIC in (record.metrics or {}) for record in finished):
        return (
            "The novel instances carry no gold relations, so that nothing can be said about how good a "
            f"configuration is on them; the figures are label-free. {in_race}".strip()
        )
    if best == PAPER:
        return "By its objective, the search found nothing better than the paper's configuration."
    return verdict_text(
        f"the search's choice ({best})", "the paper's configuration", "novel-test B-cubed F1", comparison
    )
