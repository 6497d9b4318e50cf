"""Progress bars on long work: on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rocore.text import shown

Advance = Callable[[int], None]


def silent(_title: str, _total: int) -> Advance:
    """Show nothing."""
    return lambda _steps: None


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int], Advance]]:
    """Yield a function (title, total) -> advance(steps) that draws bars on standard error, if that is a terminal."""
    console = Console(stderr=True)
    title_column = TextColumn("{task.description}", markup=False)  # titles hold names of files
    columns = (title_column, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:

        def start(title: str, total: int) -> Advance:
            task = bars.add_task(shown(title), total=total)
            return lambda steps: bars.advance(task, steps)

        yield start
