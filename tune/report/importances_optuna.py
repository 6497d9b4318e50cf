"""Imports Optuna: how much each searched parameter matters, from the trials of results.json."""

from typing import TYPE_CHECKING

from tune.report.results import Record, Results

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_COMPLETE = 8


def importances(results: Results) -> dict[str, float]:
    """Return the share of the objective's variance that each searched key accounts for (fANOVA).

    Trials stopped early and failed ones are left out: their objective isn't that of a whole run.

    Returns:
        Shares that sum to 1, by dotted key; empty with fewer than `MIN_COMPLETE` complete trials, or
        where all of them scored the same.
    """
    import optuna

    space = results.space
    complete = [
        trial
        for trial in results.of_state("complete")
        if trial.get("objective") is not None and set(space) <= set(trial["params"])
    ]
    scores = {float(trial["objective"]) for trial in complete}
    if len(complete) < MIN_COMPLETE or len(scores) < 2 or not space:
        return {}
    distributions = {key: _distribution(dimension) for key, dimension in space.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        for trial in complete:
            params = {key: trial["params"][key] for key in space}
            frozen = optuna.trial.create_trial(
                params=params, distributions=distributions, value=float(trial["objective"])
            )
            study.add_trial(frozen)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {key: float(share) for key, share in shares.items()}


def _distribution(dimension: Record) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kind = dimension["distribution"]
    if kind == "categorical":
        return CategoricalDistribution(tuple(dimension["choices"]))
    low, high, step = dimension["low"], dimension["high"], dimension.get("step")
    if kind == "integer":
        whole = int(step or 1)
        return IntDistribution(int(low), int(high) - (int(high) - int(low)) % whole, step=whole)
    return FloatDistribution(float(low), float(high), log=kind == "log_uniform")
