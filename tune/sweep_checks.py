"""Rules between the keys of a sweep, checked when it is read."""

from typing import TYPE_CHECKING

from rocore.errors import ConfigError

if TYPE_CHECKING:
    from tune.config import Sweep


def check_budget(sweep: "Sweep") -> None:
    """Refuse two budgets of a trial, and one that the final comparison would cut.

    Raises:
        ConfigError: If they don't agree.
    """
    budget, bound = sweep.config.search.max_epochs, sweep.base.train.max_epochs
    if budget is None:
        return
    if "train.max_epochs" in sweep.config.search.space:
        raise ConfigError(
            "a trial must have one budget, but `search.max_epochs` is set and `train.max_epochs` is searched; remove "
            "one of them"
        )
    if budget > bound:
        raise ConfigError(
            f"`search.max_epochs` must be at most `train.max_epochs`, the bound of the final comparison, but is "
            f"{budget} of {bound}; lower it, or raise `train.max_epochs`"
        )


def check_seeds(sweep: "Sweep") -> None:
    """Refuse seeds that serve twice: what chose a configuration must not judge it.

    Raises:
        ConfigError: If they don't agree.
    """
    rules, seed = sweep.config.racing, sweep.config.seed
    if rules.min_pairs > rules.num_pairs:
        raise ConfigError(
            f"`racing.min_pairs` must be at most `racing.num_pairs`, but is {rules.min_pairs} of {rules.num_pairs}; "
            f"lower it"
        )
    if seed in sweep.race_seeds:
        raise ConfigError(
            f"the seeds of the race must differ from the search's, but {list(sweep.race_seeds)} hold `seed` = "
            f"{seed}; set `racing.first_seed` above it"
        )
    used = {seed, *sweep.race_seeds}
    if used & set(sweep.final_seeds):
        raise ConfigError(
            f"the seeds of the re-evaluation must differ from those of search and race, {sorted(used)}, but are "
            f"{list(sweep.final_seeds)}; set `reevaluation.first_seed` above them, or leave it out"
        )


def check_second_objective(sweep: "Sweep") -> None:
    """Refuse an accuracy that nobody measures: known test instances are held out in incremental mode.

    Raises:
        ConfigError: If they don't agree.
    """
    objective, base = sweep.config.objective, sweep.base
    if objective.second is not None and sweep.config.search.others:
        raise ConfigError(
            f"`search.others` needs a single objective, but `objective.second` is {objective.second}; leave one of "
            "them out"
        )
    if objective.second != "known_accuracy":
        return
    if not base.incremental.enabled or base.data.known_test_size == 0:
        raise ConfigError(
            f"`objective.second` known_accuracy needs `incremental.enabled` and known test instances, but got "
            f"incremental.enabled = {str(base.incremental.enabled).lower()} and data.known_test_size = "
            f"{base.data.known_test_size}; set `overrides: {{incremental.enabled: true}}`, or choose training_seconds"
        )


def check_startup(sweep: "Sweep") -> None:
    """Refuse a start of a search that never learns.

    Raises:
        ConfigError: If there is one.
    """
    search = sweep.config.search
    if search.startup == "sobol" and search.searcher == "random":
        raise ConfigError(
            "`search.startup` sobol is for searchers that learn, tpe and gp, but `search.searcher` is random; choose "
            "one of them, or leave `search.startup` out"
        )


def check_limits(sweep: "Sweep") -> None:
    """Refuse limits of the search that can never act.

    Raises:
        ConfigError: If one can't.
    """
    search, resources = sweep.config.search, sweep.config.resources
    if search.stop_after is not None and search.stop_after >= search.num_trials - 1:
        raise ConfigError(
            "`search.stop_after` must be at most `search.num_trials` - 2, so that trials are left to spare after the "
            f"first one, but is {search.stop_after} of {search.num_trials}; lower it, or leave it out"
        )
    if search.stop_after is not None and sweep.config.objective.second is not None:
        raise ConfigError(
            "`search.stop_after` counts trials by a single objective, but `objective.second` is "
            f"{sweep.config.objective.second}; leave one of them out, or set `search.max_hours`"
        )
    if search.max_gpu_hours is None:
        return
    if resources.gpus_per_trial == 0:
        raise ConfigError(
            "`search.max_gpu_hours` needs trials that hold a GPU, but `resources.gpus_per_trial` is 0; set "
            "`search.max_hours` instead"
        )
    if search.max_hours is None or resources.max_concurrent_trials is None:
        return
    most = search.max_hours * resources.max_concurrent_trials * resources.gpus_per_trial
    if search.max_gpu_hours > most:
        raise ConfigError(
            f"`search.max_gpu_hours` must be at most what `search.max_hours` leaves time for, {most:g} with "
            f"{resources.max_concurrent_trials} times {resources.gpus_per_trial:g} GPUs for {search.max_hours:g} h, "
            f"but is {search.max_gpu_hours:g}; lower it, or leave one of them out"
        )
