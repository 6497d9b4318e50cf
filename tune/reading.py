"""How the file of a sweep or an experiment is read: its keys, `--set`, and the RoCORE keys that it starts from.

Such a file holds keys of its own, and RoCORE keys in some of its sections, where they stay dotted.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from rocore.config import Config, Section, explain, known_keys, nearest, read_yaml, with_overrides
from rocore.errors import ConfigError

S = TypeVar("S", bound=Section)


def validated(kind: type[S], tree: Any, where: str) -> S:
    """Return a checked section.

    Args:
        kind: What it must be.
        tree: Its keys.
        where: Names it in messages.

    Raises:
        ConfigError: If a key or a value is wrong.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise explain(error, kind, where) from error


def set_keys(
    kind: type[Section],
    tree: Mapping[str, Any],
    overrides: Mapping[str, Any],
    set_own: Callable[[dict[str, Any], str, Any], bool],
) -> dict[str, Any]:
    """Return a file's tree with dotted keys set; RoCORE keys go below its `overrides`.

    Args:
        kind: What the file holds.
        tree: Its keys.
        overrides: Values by dotted key.
        set_own: Sets a key of another section that holds RoCORE keys; False where the key is none.

    Raises:
        ConfigError: If a key is neither the file's nor RoCORE's.
    """
    result = with_overrides(tree, {})
    for key, value in overrides.items():
        first, _, rest = key.partition(".")
        if first not in kind.model_fields:
            if key not in known_keys(Config):
                hint = nearest(key, [*known_keys(kind), *known_keys(Config)])
                raise ConfigError(f"unknown key `{key}` in `--set`; {hint}")
            set_below(result, "overrides", key, value)
        elif first == "overrides" and rest:
            set_below(result, first, rest, value)
        elif not set_own(result, key, value):
            result = with_overrides(result, {key: value})
    return result


def set_below(tree: dict[str, Any], section: str, key: str, value: Any) -> None:
    """Set a key of a section that may be absent; the key stays dotted."""
    tree[section] = {**(tree.get(section) or {}), key: value}


def dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the leaves of a tree by their dotted keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read_base(base: str | dict[str, Any], path: Path) -> tuple[dict[str, Any], str]:
    """Return the RoCORE keys that a file of sweeps or experiments starts from, and what messages call them.

    Args:
        base: A file, relative to `path`, or the keys themselves.
        path: The file that names it.

    Raises:
        ConfigError: If the file can't be read.
    """
    if isinstance(base, str):
        file = path.parent / base
        return read_yaml(file), str(file)
    return base, f"`base` of {path}"
