"""What may be added to an experiment that has begun: seeds, settings and data sets; what is there stays."""

from collections.abc import Collection

from rocore.errors import ConfigError
from tune.experiments.config import ExperimentConfig
from tune.resumption import check_same_computation

STARTS_ANEW = "or start an experiment anew in another directory"


def check_growth(begun: ExperimentConfig, wanted: ExperimentConfig) -> None:
    """Refuse to go on with an experiment whose runs so far would no longer be its own.

    Args:
        begun: What it began with.
        wanted: What it shall go on with.

    Raises:
        ConfigError: If a seed, a setting or a data set is gone or computes something else.
    """
    if bool(begun.data_sets) != bool(wanted.data_sets):
        before, now = ("has" if each.data_sets else "has no" for each in (begun, wanted))
        raise ConfigError(
            f"an experiment that goes on must name its runs as it did, but `data_sets` {now} names, and {before} at "
            f"its start; leave it as it was, {STARTS_ANEW}"
        )
    _check_kept("seeds", begun.seeds, wanted.seeds)
    _check_kept("settings", begun.settings, wanted.settings)
    _check_kept("data_sets", begun.data_sets, wanted.data_sets)
    assert isinstance(begun.base, dict)
    assert isinstance(wanted.base, dict)
    without_more = {
        "name": begun.name,
        "seeds": begun.seeds,
        "settings": {name: wanted.settings[name] for name in begun.settings},
        "data_sets": {name: wanted.data_sets[name] for name in begun.data_sets},
        # Any of the seeds.
        "base": {**wanted.base, "seed": begun.base["seed"]},
    }
    check_same_computation(
        begun,
        wanted.model_copy(update=without_more),
        what="experiment",
        hint=" (seeds, settings and data sets may be added)",
    )


def _check_kept(key: str, begun: Collection[object], wanted: Collection[object]) -> None:
    if gone := [each for each in begun if each not in wanted]:
        raise ConfigError(
            f"an experiment that goes on must compute what it began to, but `{key}` lacks "
            f"{', '.join(map(str, gone))}; leave them in, {STARTS_ANEW}"
        )
