"""What a sweep would do although nobody can want it: warnings before it starts."""

from collections.abc import Iterator

from tune.config import Sweep
from tune.rungs import rungs
from tune.space import extremes, joint_budget
from tune.statistics import detectable_difference, pairs_to_decide

RANDOM_TRIALS = 10
"""Optuna's TPE draws at random until as many trials have ended."""
TYPICAL_STD = 0.03
"""Standard deviation of a paired difference in B-cubed F1, as measured on FewRel."""
LARGE, WORTHWHILE = 0.1, 0.05
"""Differences in B-cubed F1: what hardly any configuration gains, and what a race should see."""
FEW_SEEDS = 5
RAMPUP = "incremental.rampup_epochs"


def advise(sweep: Sweep) -> list[str]:
    """Return warnings; what can't work at all was refused when the sweep was read."""
    return [*_dead_dimensions(sweep), *_rungs(sweep), *_rampup(sweep), *_numbers(sweep), *_race(sweep)]


def _dead_dimensions(sweep: Sweep) -> Iterator[str]:
    """Dimensions that change nothing, given what the others are fixed to."""
    space, base = sweep.config.search.space, sweep.base
    acts = {
        "loss.pretrain_center": base.train.pretrain_epochs > 0 or "train.pretrain_epochs" in space,
        "train.convergence_tolerance": base.train.convergence_patience < joint_budget(base, space)
        or "train.convergence_patience" in space,
    }
    for key, dimension in space.items():
        if len(set(extremes(dimension))) == 1:
            yield f"`{key}` is searched but has one value only; set it in `overrides` instead"
        elif not acts.get(key, True):
            yield f"`{key}` is searched but acts in no epoch of these trials; remove it from `search.space`"


def _rungs(sweep: Sweep) -> Iterator[str]:
    """Grace periods are joint epochs, so that none ends inside pre-training; it can be too long."""
    scheduler, budget = sweep.config.scheduler, joint_budget(sweep.search_base, sweep.config.search.space)
    if scheduler.name == "asha" and not rungs(scheduler, budget):
        yield (
            f"`scheduler.grace_epochs` = {scheduler.grace_epochs} reaches the end of the {budget} joint epochs, so "
            f"that no trial is ever stopped early; lower it, or set `scheduler.name` to none"
        )


def _rampup(sweep: Sweep) -> Iterator[str]:
    """mu(t) of equation 17 is still rising when trials are judged."""
    if not sweep.base.incremental.enabled:
        return
    space, budget = sweep.config.search.space, joint_budget(sweep.search_base, sweep.config.search.space)
    longest = max(int(value or 0) for value in extremes(space[RAMPUP])) if RAMPUP in space else None
    longest = sweep.base.incremental.rampup_epochs if longest is None else longest
    stops = rungs(sweep.config.scheduler, budget)
    if longest > budget:
        yield (
            f"ramp-ups of up to {longest} epochs (`{RAMPUP}`) are longer than the {budget} joint epochs of a trial, so "
            f"that mu0 is never reached; set it to at most {budget}, or raise `train.max_epochs`"
        )
    elif stops and longest > stops[0]:
        yield (
            f"ramp-ups of up to {longest} epochs (`{RAMPUP}`) are still rising at joint epoch {stops[0]}, where trials "
            f"are first stopped: long ones are judged before they act; raise `scheduler.grace_epochs`"
        )


def _numbers(sweep: Sweep) -> Iterator[str]:
    search, reevaluation = sweep.config.search, sweep.config.reevaluation
    if search.searcher == "tpe" and search.num_trials <= RANDOM_TRIALS:
        yield (
            f"`search.searcher` tpe draws at random until {RANDOM_TRIALS} trials have ended, so that a search of "
            f"{search.num_trials} learns nothing; raise `search.num_trials`"
        )
    if search.searcher == "tpe" and search.stop_after is not None and search.stop_after < RANDOM_TRIALS:
        yield (
            f"`search.stop_after` = {search.stop_after} may end the search before tpe has learnt anything: it draws at "
            f"random until {RANDOM_TRIALS} trials have ended; set it to at least {RANDOM_TRIALS}"
        )
    if sweep.config.objective.second and sweep.config.scheduler.name == "asha":
        yield (
            "trials that are stopped early have no second objective (`objective.second`), so that the searcher learns "
            "from complete ones alone; set `scheduler.name` to none, or allow for more trials"
        )
    if reevaluation.num_seeds == 1:
        yield (
            "one seed (`reevaluation.num_seeds`) can't tell a difference from chance: the final comparison has no test"
        )
    elif reevaluation.num_seeds < FEW_SEEDS:
        seen, more = (detectable_difference(TYPICAL_STD, n) for n in (reevaluation.num_seeds, FEW_SEEDS))
        yield (
            f"with {reevaluation.num_seeds} seeds (`reevaluation.num_seeds`) the final comparison sees differences of "
            f"about {seen:.2f} and more; {FEW_SEEDS} seeds see {more:.2f}"
        )


def _race(sweep: Sweep) -> Iterator[str]:
    """The paper's configuration stays unless the race calls a gain significant: it must be able to."""
    rules = sweep.config.racing
    num_candidates = min(rules.num_candidates, sweep.config.search.num_trials - 1)
    if num_candidates < 1:
        yield (
            "without a race (`racing.num_candidates` = 0) the paper's configuration stays the choice, whatever the "
            "search finds: one run of the objective is no evidence; set it to at least 1"
        )
        return
    level = rules.alpha / num_candidates
    seen = detectable_difference(TYPICAL_STD, rules.num_pairs, level=level)
    if seen > LARGE:
        enough = pairs_to_decide(WORTHWHILE, TYPICAL_STD, level=level)
        yield (
            f"a race of {num_candidates} candidate{'s' if num_candidates > 1 else ''} over {rules.num_pairs} pairs is "
            f"too short to decide: it would see gains of about {seen:.2f} and more, so that the paper's configuration "
            f"stays; `racing.num_pairs` = {enough} sees {WORTHWHILE}"
        )
