"""Commands for a directory beside the one that makes it: `rocore sweep status DIR` beside `rocore sweep CONFIG`."""

from typing import Any

import click


def with_beside(*commands: click.Command) -> type[click.Command]:
    """Return the class of a command that hands over to others, where they are named first.

    A file of the same name is ./NAME.

    Args:
        commands: Those beside it.
    """
    beside = {command.name: command for command in commands}

    class Command(click.Command):
        def make_context(
            self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
        ) -> click.Context:
            if args and (command := beside.get(args[0])) is not None:
                return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
            return super().make_context(info_name, args, parent, **extra)

    return Command
