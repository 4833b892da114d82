"""What commands show on a terminal: tables on standard output, progress bars on standard error."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

WIDE = 200
"""Columns of a table that goes into a file or a pipe, where nothing is cut off."""


def output_console() -> Console:
    """Return a console on standard output, as wide as the terminal or, without one, `WIDE`."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def show_what_cannot_be_encoded() -> None:
    r"""Let standard output and standard error print ``\\xNN`` for a character that the terminal has none for.

    Names of files may be in any encoding, and a terminal may know ASCII alone; neither may end a command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callable ``(done, total)`` that moves a bar; without a terminal it does nothing."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
