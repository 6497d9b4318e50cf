"""Options that several sub-commands share."""

from pathlib import Path
from typing import Any

import click

from rocore.config import parse_override


def _parse(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    return dict(parse_override(value) for value in values)


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    callback=_parse,
    help="Override a configuration key; the value is read as YAML. Can be given several times.",
)
"""`--set key.path=value ...` as a dict `overrides` of dotted keys; of a key given twice, the last counts."""

config_argument = click.argument("config", type=click.Path(path_type=Path))
"""The configuration file; `rocore.config.load_config` says clearly when it is absent."""
