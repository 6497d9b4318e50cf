"""results.json, and the reports that are written from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tune import limits
from tune.config import Sweep
from tune.ledger import timestamp
from tune.objective import describe
from tune.preparation import Facts
from tune.records import Records, TrialRecord
from tune.reevaluation import rank
from tune.space import is_inside, joint_budget, space_tree
from tune.trade_off import describe_trade_off

SCHEMA = 1


def results_tree(
    sweep: Sweep,
    facts: Facts,
    *,
    status: str,
    trials: Sequence[TrialRecord],
    records: Records,
    race: Mapping[str, Any] | None = None,
    decision: Mapping[str, Any] | None = None,
    final: Sequence[Mapping[str, Any]] = (),
    verdict: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return results.json; `status` is searched (the re-evaluation lacks), interrupted or complete."""
    best, search = next(iter(rank(trials)), None), sweep.config.search
    return {
        "schema": SCHEMA,
        "name": sweep.config.name,
        "created": timestamp(),
        "synthetic": facts.synthetic,
        "status": status,
        "data": facts.data,
        "encoder": facts.encoder,
        "objective": describe(sweep.base, sweep.config.objective),
        "history": dict(records.history),
        "trade_off": describe_trade_off(sweep.config.objective, trials) or None,
        "search": {
            "space": space_tree(search.space),
            "earlier_spaces": [{"before_trial": n, "space": before} for n, before in records.spaces],
            "num_outside": sum(not is_inside(record.params, search.space) for record in trials),
            "searcher": search.searcher,
            "scheduler": describe_scheduler(sweep),
            "study_name": records.begin["study"],
            "seconds": records.seconds["search"],
            "ended_by": limits.as_tree(limits.ended_by(search, records)),
            "best_trial": None if best is None else best.number,
            "trials": [record.as_json() for record in trials],
        },
        "resources": sweep.config.resources.model_dump(
            mode="json", include={"cpus_per_trial", "gpus_per_trial"}
        ),
        "race": race,
        "decision": decision,
        "final": list(final),
        "verdict": verdict,
        "environment": facts.environment,
    }


def write_reports(directory: Path, results: dict[str, Any]) -> None:
    """Write what is made from results.json: the report first, then TensorBoard's table and pictures."""
    from tune.report import write_report
    from tune.representations import gather
    from tune.tensorboard import write_hparams
    from tune.tensorboard_representations import write_representations

    gathered = gather(directory, results)
    write_report(directory)
    write_hparams(directory, results)
    if gathered is not None:
        write_representations(directory, gathered)


def describe_scheduler(sweep: Sweep) -> dict[str, Any]:
    """Return the scheduler's entry of results.json; rungs are counted in joint epochs."""
    max_epochs = joint_budget(sweep.search_base, sweep.config.search.space)
    tree = sweep.config.scheduler.model_dump(mode="json")
    return {**tree, "first_rung": min(tree["grace_epochs"], max_epochs), "max_epochs": max_epochs}
