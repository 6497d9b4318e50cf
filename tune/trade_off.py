"""A search with a second objective: its direction, and what trials scored."""

from collections.abc import Sequence
from typing import Any, Literal

from tune.config import ObjectiveConfig
from tune.records import TrialRecord

Direction = Literal["maximize", "minimize"]
DIRECTIONS: dict[str, Direction] = {"known_accuracy": "maximize", "training_seconds": "minimize"}
TITLES = {
    "pseudo_novel": "B-cubed F1 on hidden known relations",
    "oracle": "B-cubed F1 on the novel test split",
    "known_accuracy": "accuracy on known relations",
    "training_seconds": "training time in seconds",
}


def directions(objective: ObjectiveConfig) -> list[Direction]:
    """Return the direction of each objective, as Optuna names them; the first one is always maximized."""
    return ["maximize"] if objective.second is None else ["maximize", DIRECTIONS[objective.second]]


def values(record: TrialRecord, objective: ObjectiveConfig) -> list[float] | None:
    """Return a complete trial's value of each objective; None of one that has not all of them."""
    if record.state != "complete" or record.objective is None:
        return None
    if objective.second is None:
        return [record.objective]
    second = (record.metrics or {}).get(objective.second)
    if objective.second == "training_seconds":
        second = record.seconds
    return None if second is None else [record.objective, second]


def describe_trade_off(objective: ObjectiveConfig, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """Return what results.json says of two objectives; nothing where there is one."""
    if objective.second is None:
        return {}
    return {
        "objectives": [TITLES[objective.name], TITLES[objective.second]],
        "directions": directions(objective),
        "values": {str(record.number): values(record, objective) for record in records},
    }
