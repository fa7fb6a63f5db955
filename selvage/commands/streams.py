"""Words for the user: results on the standard output, progress and warnings on the standard error.

The user's text passes `base.text.visible` here and is never read as markup. What is no terminal gets plain ASCII around
it: no colours, no frames of other characters, no line broken or cut to a width.
"""

import sys
from typing import TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from selvage.base.text import visible

ROOM = 10_000
"""Columns of what has no width of its own, a file or a pipe."""
_results_to_error = False


def json_alone(alone: bool) -> None:
    """Set whether the standard output is JSON's alone, so that results go to the standard error."""
    global _results_to_error
    _results_to_error = alone


def show(what: str | Table) -> None:
    """Print a result: a table, or a sentence."""
    _print(what, sys.stderr if _results_to_error else sys.stdout)


def warn(sentence: str) -> None:
    """Print what the user should know beside the results."""
    _print(f"warning: {sentence}", sys.stderr)


def _print(what: str | Table, stream: TextIO) -> None:
    if isinstance(what, str):
        stream.write(visible(what) + "\n")
    else:
        console = console_of(stream)
        what.box = box.HEAVY_HEAD if console.is_terminal and not console.options.ascii_only else box.ASCII
        console.print(what, crop=False)
    stream.flush()


def console_of(stream: TextIO) -> Console:
    """Return Rich's view of a stream."""
    terminal = stream.isatty()
    return Console(file=stream, width=None if terminal else ROOM, color_system="auto" if terminal else None)


class Name(ProgressColumn):
    """A task's name, as it is."""

    def render(self, task: Task) -> Text:
        """Return the name without markup."""
        return Text(visible(task.description))


def bar_of(share: float, width: int = 16) -> str:
    """Return a bar as long as a share; of plain characters where the output cannot show others."""
    encoding = (sys.stdout.encoding or "").lower()
    mark = "\u2588" if sys.stdout.isatty() and "utf" in encoding else "#"
    return mark * round(share * width)


def progress(*, transient: bool = False) -> Progress:
    """Return a bar for each layer, on the standard error; ``transient``: it leaves nothing behind, in no log either."""
    console = console_of(sys.stderr)
    bar = [BarColumn()] if console.is_terminal else []
    silent = transient and not console.is_terminal
    columns = (Name(), *bar, MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=transient, disable=silent)
