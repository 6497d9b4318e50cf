"""The search space, checked before anything starts; knows no Ray and no Optuna."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import rocore
from rocore.config import Config, known_keys, nearest, override
from rocore.errors import ConfigError
from tune.config import Dimension, SweepConfig, Value

NOT_SEARCHED = ("seed", "data", "cache", "train.device", "train.num_threads")
"""Keys that change what is measured, or where, but not how good a configuration is."""
LOSS_SWITCHES = {"loss.use_center": ("loss.center_weight", "loss.pretrain_center")}
"""Keys that act only where a switch is on."""
INCREMENTAL_ONLY = ("incremental.rampup_peak", "incremental.rampup_epochs")


def check_space(config: SweepConfig, base: Config) -> dict[str, Value]:
    """Check every dimension and the paper's point.

    Returns:
        The paper's value of every searched key, of the key's own type.

    Raises:
        ConfigError: If a key is unknown, has no effect or can't be searched; if RoCORE refuses a value that
            the space reaches; or if the paper's point misses a key or lies outside the space.
    """
    space = config.search.space
    if not space:
        raise ConfigError(
            "`search.space` must name at least one key, but is empty; for example loss.center_weight"
        )
    for key, dimension in space.items():
        _check_key(key)
        _check_bounds(key, dimension)
        if key.startswith("encoder."):
            values(dimension)
        for value in (*extremes(dimension), *_between(dimension)):
            _check_value(key, value, base)
    _check_dead(space, base)
    _check_layers(space, base)
    return _check_paper(config.paper, space)


def extremes(dimension: Dimension) -> tuple[Value, ...]:
    """Return the outermost values: `low` and `high`, or every choice."""
    if dimension.distribution == "categorical":
        return dimension.choices or ()
    return (dimension.low, dimension.high)


def values(dimension: Dimension) -> tuple[Value, ...]:
    """Return every value of a dimension that has finitely many.

    Raises:
        ConfigError: If it is continuous.
    """
    if dimension.distribution == "categorical":
        return dimension.choices or ()
    if dimension.distribution == "integer":
        assert dimension.low is not None
        assert dimension.high is not None
        return tuple(range(int(dimension.low), int(dimension.high) + 1, int(dimension.step or 1)))
    raise ConfigError(
        f"a searched `encoder` key must be integer or categorical, but is {dimension.distribution}; "
        f"every value needs a trunk of its own, built before the trials start"
    )


def space_tree(space: Mapping[str, Dimension]) -> dict[str, dict[str, Any]]:
    """Return a space as a sweep's file holds it."""
    return {key: dimension.model_dump(mode="json", exclude_none=True) for key, dimension in space.items()}


def check_point(params: Mapping[str, Value], space: Mapping[str, Dimension], what: str) -> dict[str, Value]:
    """Check a point of the space.

    Args:
        params: A value of every searched key.
        space: Where it must lie.
        what: Says in messages who gives the value.

    Returns:
        The values, of their keys' own types.

    Raises:
        ConfigError: If one lies outside.
    """
    return {key: _check_value_of(key, params[key], dimension, what) for key, dimension in space.items()}


def is_inside(params: Mapping[str, Value], space: Mapping[str, Dimension]) -> bool:
    """Tell whether a point lies in a space of the same keys."""
    try:
        check_point(params, space, "the value")
    except ConfigError:
        return False
    return True


def trunk_configs(base: Config, space: dict[str, Dimension]) -> list[Config]:
    """Return one configuration for every frozen trunk that the space can reach."""
    keys = [key for key in space if key.startswith("encoder.")]
    combinations = itertools.product(*(values(space[key]) for key in keys))
    return [override(base, dict(zip(keys, combination, strict=True))) for combination in combinations]


def joint_budget(base: Config, space: dict[str, Dimension]) -> int:
    """Return the largest number of joint epochs that a trial can take."""
    dimension = space.get("train.max_epochs")
    if dimension is None:
        return base.train.max_epochs
    return max(int(value or 0) for value in extremes(dimension))


def _check_key(key: str) -> None:
    keys = known_keys(Config)
    if key not in keys:
        raise ConfigError(f"unknown key `{key}` in `search.space`; {nearest(key, keys)}")
    if any(other.startswith(f"{key}.") for other in keys):
        raise ConfigError(f"`search.space` takes single keys, but `{key}` is a section; name a key below it")
    if any(key == fixed or key.startswith(f"{fixed}.") for fixed in NOT_SEARCHED):
        raise ConfigError(
            f"`{key}` can't be searched: trials of different values can't be compared; set it in `overrides`"
        )


def _check_bounds(key: str, dimension: Dimension) -> None:
    where = f"`search.space` of `{key}`"
    if dimension.distribution == "categorical":
        if not dimension.choices or len(set(map(repr, dimension.choices))) < len(dimension.choices):
            raise ConfigError(
                f"{where} needs distinct `choices`, but got {dimension.choices}; list the values to try"
            )
        if dimension.low is not None or dimension.high is not None or dimension.step is not None:
            raise ConfigError(
                f"{where} is categorical and takes `choices` only; remove `low`, `high` and `step`"
            )
        return
    low, high, step = dimension.low, dimension.high, dimension.step
    if low is None or high is None or dimension.choices is not None:
        raise ConfigError(
            f"{where} is {dimension.distribution} and takes `low` and `high`, but got {low} and {high}"
        )
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{where} must have low < high, but got {low} and {high}; swap or widen them")
    if dimension.distribution == "log_uniform" and low <= 0:
        raise ConfigError(
            f"{where} is log_uniform and must have low > 0, but got {low}; try 1e-4, or uniform"
        )
    if dimension.distribution == "log_uniform" and step is not None:
        raise ConfigError(f"{where} is log_uniform and takes no `step`, but got {step}; remove it")
    if dimension.distribution == "integer" and any(float(number or 0) % 1 for number in (low, high, step)):
        raise ConfigError(
            f"{where} is integer, but got {low}, {high} and step {step}; use whole numbers or uniform"
        )


def _between(dimension: Dimension) -> tuple[float, ...]:
    """Return a fraction inside a continuous dimension: a key that takes whole numbers only refuses it."""
    if dimension.distribution not in ("uniform", "log_uniform") or dimension.step is not None:
        return ()
    assert dimension.low is not None
    assert dimension.high is not None
    return (dimension.low + (dimension.high - dimension.low) / math.pi,)


def _check_value(key: str, value: Value, base: Config) -> None:
    try:
        override(base, {key: value})
    except ConfigError as error:
        raise ConfigError(
            f"`search.space` reaches {key} = {value!r}, which RoCORE refuses: {error}"
        ) from error


def _check_dead(space: dict[str, Dimension], base: Config) -> None:
    if "incremental.enabled" in space:
        raise ConfigError(
            "`incremental.enabled` can't be searched: its modes solve different tasks; run one sweep for each"
        )
    dead = [key for key in INCREMENTAL_ONLY if key in space]
    if dead and not base.incremental.enabled:
        names = " and ".join(f"`{key}`" for key in dead)
        raise ConfigError(
            f"{names} act only where `incremental.enabled` is true, but it is false, so that searching them "
            f"wastes trials; set incremental.enabled to true, or remove them from `search.space` and `paper`"
        )
    for switch, keys in LOSS_SWITCHES.items():
        if getattr(base.loss, switch.partition(".")[2]) or switch in space:
            continue
        for key in keys:
            if key in space:
                raise ConfigError(
                    f"`{key}` acts only where `{switch}` is true, but it is false; don't search it"
                )


def _check_layers(space: dict[str, Dimension], base: Config) -> None:
    dimension = space.get("encoder.output_layer")
    names: Sequence[Value] = (
        values(space["encoder.name"]) if "encoder.name" in space else (base.encoder.name,)
    )
    layers = values(dimension) if dimension is not None else (base.encoder.output_layer,)
    top = max(int(layer) for layer in layers if layer is not None)
    for name in names:
        num_layers = rocore.num_layers(str(name))
        if top > num_layers:
            raise ConfigError(
                f"`encoder.output_layer` must be at most {num_layers}, the number of layers of `{name}`, but "
                f"{'the space reaches' if dimension is not None else 'it is'} {top}; lower it"
            )


def _check_paper(paper: dict[str, Value], space: dict[str, Dimension]) -> dict[str, Value]:
    for key in paper:
        if key not in space:
            raise ConfigError(f"`paper` holds `{key}`, which isn't searched; {nearest(key, list(space))}")
    missing = [key for key in space if key not in paper]
    if missing:
        raise ConfigError(
            f"`paper` must hold every searched key, but misses {', '.join(missing)}; give the paper's values"
        )
    return check_point(paper, space, "`paper`")


def _check_value_of(key: str, value: Value, dimension: Dimension, what: str) -> Value:
    if dimension.distribution == "categorical":
        for choice in dimension.choices or ():
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return choice
        raise ConfigError(
            f"{what} of `{key}` must be one of {list(dimension.choices or ())}, but is {value!r}; take one, or add it"
        )
    assert dimension.low is not None
    assert dimension.high is not None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{what} of `{key}` must be a number, but is {value!r}")
    if not dimension.low <= value <= dimension.high:
        raise ConfigError(
            f"{what} of `{key}` must lie in [{dimension.low}, {dimension.high}], but is {value}; change it, or widen "
            "that"
        )
    if dimension.step is not None:
        steps = (value - dimension.low) / dimension.step
        if abs(steps - round(steps)) > 1e-9:
            raise ConfigError(
                f"{what} of `{key}` must be {dimension.low} plus steps of {dimension.step}, but is {value}"
            )
    if dimension.distribution != "integer":
        return float(value)
    if value % 1:
        raise ConfigError(f"{what} of `{key}` must be a whole number, but is {value}")
    return int(value)
