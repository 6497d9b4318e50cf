"""What a sweep says in the end: what it stands for, and what the final comparison measured of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tune.decision import Decision
from tune.records import PAPER, TrialRecord
from tune.reevaluation import METRIC, against_paper, has_gold
from tune.repetitions import failed_seeds
from tune.statistics import Comparison, as_json, verdict_text

METRIC_TEXT = "novel-test B-cubed F1"
REFERENCE = "the paper's configuration"


def judge(decision: Decision, names: Sequence[str], records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return the `verdict` entry of results.json.

    The figures are those of the configuration that stands beside the paper's: the choice, or the runner-up where the
    paper's is the choice. They measure; nothing is chosen by them, as they read novel gold.

    Args:
        decision: What the sweep stands for.
        names: Configurations of the final comparison.
        records: Its runs.
    """
    beside = decision.choice if decision.choice != PAPER else decision.runner_up
    measured = against_paper(names, records).get(beside or "")
    failed = {name: failed_seeds(name, records) for name in names if name in (beside, PAPER)}
    return {
        "best": decision.choice,
        "against": PAPER,
        "compared": beside,
        "metric": METRIC,
        **(as_json(measured) if measured is not None else {}),
        "significant": measured is not None and measured.significant,
        "failed_seeds": failed,
        "num_failed_seeds": sum(len(seeds) for seeds in failed.values()),
        "headline": decision.headline,
        "text": f"{decision.text} {_measured(decision, beside, measured, records)}{_failures(failed)}".strip(),
    }


def _measured(
    decision: Decision, beside: str | None, measured: Comparison | None, records: Sequence[TrialRecord]
) -> str:
    finished = [record for record in records if record.metrics is not None]
    if finished and not has_gold(finished):
        return (
            "The novel instances carry no gold relations, so that nothing can be said about how good a "
            "configuration is on them; the figures are label-free."
        )
    if beside is None or measured is None:
        return ""
    text = verdict_text(beside, REFERENCE, METRIC_TEXT, measured)
    said = f"Measured on the novel relations afterwards: {text[:1].lower()}{text[1:]}"
    if not measured.significant:
        return said
    better = (measured.difference or 0.0) > 0
    if better == (decision.choice == beside):
        return said
    return f"{said} The choice stays: novel gold must not make it. A longer race may come to the same result."


def _failures(failed: Mapping[str, Sequence[int]]) -> str:
    """Say which seeds are missing from the comparison."""
    named = [f"{name} on {', '.join(map(str, seeds))}" for name, seeds in failed.items() if seeds]
    return f" Seeds that failed, and don't count: {'; '.join(named)}." if named else ""
