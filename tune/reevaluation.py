"""The final comparison: which configurations enter it, and what their seeds say."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tune.config import Sweep, Value
from tune.records import PAPER, TrialRecord
from tune.repetitions import compare_each, summarize_runs
from tune.specification import final_spec
from tune.statistics import Comparison, as_json

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
    """Return the `final` list of results.json.

    `against_paper` compares each with the paper's configuration, corrected for all of them.
    """
    comparisons = against_paper(list(chosen), records)
    return [
        {
            **summarize_runs(name, params, records),
            "against_paper": as_json(comparisons[name]) if name in comparisons else None,
        }
        for name, params in chosen.items()
    ]


def against_paper(names: Sequence[str], records: Sequence[TrialRecord]) -> dict[str, Comparison]:
    """Compare each configuration with the paper's over the seeds that both finished, corrected for all of them."""
    return compare_each({name: PAPER for name in names if name != PAPER}, records, METRIC)


def has_gold(records: Sequence[TrialRecord]) -> bool:
    """Tell whether any finished run could be scored on novel relations."""
    return any(METRIC in (record.metrics or {}) for record in records)


def _identity(params: Mapping[str, Value]) -> str:
    return json.dumps(dict(params), sort_keys=True)
