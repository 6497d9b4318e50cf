"""The command `rocore`: sub-commands come from the entry-point group `rocore.commands`, loaded on demand."""

import difflib
import sys
from contextlib import suppress
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

import click

from rocore.errors import RocoreError
from rocore.process import check_surroundings, explain, set_environment
from rocore.streams import CLOSED, discard, has_reader, write_any_text
from rocore.text import shown

GROUP = "rocore.commands"
INTERRUPTED = 130

EPILOG = """\b
Start here:
  rocore train configs/rocore/quickstart.yaml
  rocore sweep configs/tune/quickstart.yaml --dry-run

\b
Exit codes:
  0    done
  1    a sweep or an experiment that failed (every run failed, or the disk is full), or a report that isn't whole;
       also a bug, with its traceback
  2    a wrong option, configuration, data file or directory; the message says what to repair
  3    training diverged
  4    a cluster or an object store that can't be reached, or a store that holds something else than it should
  130  interrupted, and to be resumed
  141  nobody reads the output any more; what writes a directory goes on instead

\b
Shell completion, of commands, options and keys of --set:
  eval "$(_ROCORE_COMPLETE=bash_source rocore)"    # or zsh_source; fish: see fish_source
"""


class CommandLoadError(RocoreError):
    """A sub-command whose module can't be imported."""


class CommandGroup(click.Group):
    """A group whose sub-commands are entry points."""

    @cached_property
    def entry_points(self) -> dict[str, EntryPoint]:
        """Entry points by command name."""
        return {point.name: point for point in entry_points(group=GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all sub-commands."""
        return sorted({*self.entry_points, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one sub-command.

        Raises:
            CommandLoadError: If its module can't be imported or doesn't hold a command.
        """
        point = self.entry_points.get(cmd_name)
        if point is None:
            return super().get_command(ctx, cmd_name)
        try:
            command = point.load()
        except (ImportError, AttributeError) as error:
            raise CommandLoadError(
                f"`rocore {cmd_name}` must be importable from {point.value}, but {error}; "
                "install the project again (`make setup`, or pip install -e .)"
            ) from error
        if not isinstance(command, click.Command):
            raise CommandLoadError(f"{point.value} must be a command, but is a {type(command).__name__}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command that the arguments name; a misspelt one comes with the nearest name."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], names, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"commands: {', '.join(names)}"
            ctx.fail(f"there is no command `{args[0]}`; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of sub-commands; one that can't be loaded is named and doesn't hide the others."""
        rows = [(name, self._short_help(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _short_help(self, ctx: click.Context, name: str) -> str:
        try:
            command = self.get_command(ctx, name)
        except CommandLoadError:
            return f"(can't be loaded; `rocore {name}` says why)"
        return command.get_short_help_str(limit=100) if command else ""

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command; errors that a user can act on end without a traceback."""
        set_environment()
        write_any_text()
        try:
            check_surroundings()
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except RocoreError as error:
            _stop(ctx, f"error: {error}", error.exit_code)
        except KeyboardInterrupt:
            _stop(ctx, "interrupted", INTERRUPTED)
        except BrokenPipeError as error:
            if has_reader(sys.stdout) and has_reader(sys.stderr):
                # click would end without a word.
                raise RuntimeError(f"a connection broke: {error}") from error
            discard(sys.stdout)
            discard(sys.stderr)
            ctx.exit(CLOSED)
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            _stop(ctx, f"error: {explained}", explained.exit_code)
        return result


def _stop(ctx: click.Context, message: str, exit_code: int) -> NoReturn:
    with suppress(BrokenPipeError):
        click.echo(shown(message, lines=True), err=True)
    ctx.exit(exit_code)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EPILOG,
)
@click.version_option(package_name="rocore-tune", prog_name="rocore")
def main() -> None:
    """Discover novel relations in unlabeled text with RoCORE, and search for its best configuration."""
