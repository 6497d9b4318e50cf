"""Options that several sub-commands share."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

import click

from rocore.config import known_keys, parse_override
from rocore.errors import ConfigError

FC = TypeVar("FC", bound=Callable[..., Any] | click.Command)


def _parse(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for key, value in map(parse_override, values):
        undone = [earlier for earlier in overrides if earlier.startswith(f"{key}.")]
        if undone:
            raise ConfigError(
                f"`--set {key}` must come before what sets a key of it, but would undo `--set {undone[0]}`; "
                "write it first, or leave one out"
            )
        overrides[key] = value
    return overrides


def make_set_option(*models: str) -> Callable[[FC], FC]:
    """Return `--set key.path=value ...` as a dict `overrides` of dotted keys; of a key given twice, the last counts.

    Args:
        models: Configuration classes as `module:name`, imported for shell completion alone.
    """

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        keys = [key for model in models for key in known_keys(resolve_name(model))]
        sections = {key.rpartition(".")[0] for key in keys}
        return [f"{key}=" for key in keys if key.startswith(incomplete) and key not in sections]

    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY.PATH=VALUE",
        callback=_parse,
        shell_complete=complete,
        help="Override a configuration key; the value is read as YAML. Can be given several times; of a key "
        "given twice, the last counts.",
    )


set_option = make_set_option("rocore.config:Config")
"""`--set` of a command that takes a RoCORE configuration."""

config_argument = click.argument("config", type=click.Path(path_type=Path))
"""The configuration file; `rocore.config.load_config` says clearly when it is absent."""
