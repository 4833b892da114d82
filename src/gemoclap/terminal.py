"""What commands show on a terminal: tables on standard output, progress bars on standard error."""

from __future__ import annotations

import io
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gemoclap.running import running_seconds
from gemoclap.wording import roughly
from gemoclap.writing import is_stream

WIDE = 200
"""Columns of a table that goes into a file or a pipe, where nothing is cut off."""


STANDARD_ERROR = ("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2")


def summary_stream(*targets: Path | None) -> TextIO:
    """Return where a command can print lines that are not part of its output: standard output if possible.

    If the output goes to a pipe or a device, such as ``-o /dev/stdout``, its reader may see standard output too. It must not
    find a summary among the rows. Lines go to standard error then.

    Parameters
    ----------
    targets : all files that the command writes; None stands for an option that was not given.
    """
    is_mixed = any(target and str(target) not in STANDARD_ERROR and is_stream(target) for target in targets)
    return sys.stderr if is_mixed else sys.stdout


def print_summary(summary: str, *targets: Path | None) -> None:
    """Print a line about what a command has written to `targets`, where it does not mix with that; see `summary_stream`."""
    print(summary, file=summary_stream(*targets), flush=True)


def output_console(*targets: Path | None) -> Console:
    """Return a console on the `summary_stream` of what a command writes, as wide as the terminal or, without one, `WIDE`."""
    stream = summary_stream(*targets)
    console = Console(file=stream, highlight=False)
    return console if console.is_terminal else Console(file=stream, highlight=False, width=WIDE)


def on_one_line(text: str) -> str:
    r"""Return text with ``\\n``, ``\\x1b`` and similar in place of control characters.

    Names of files may have them: a line would become two, or change the colours of the terminal.
    """
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) == "Cc" else sign for sign in text)


def show_what_cannot_be_encoded() -> None:
    r"""Let standard output and standard error print ``\\xNN`` for a character that the terminal has none for.

    Names of files may be in any encoding, and a terminal may know ASCII alone; neither may end a command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal to draw a bar on."""


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callable ``(done, total)`` that moves a bar; without a terminal it prints a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines_of_progress(description)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines_of_progress(description: str) -> Callable[[int, int], None]:
    """Return what prints ``reading audio: 120 of 480, about 3 min left`` every `EVERY` seconds, on standard error."""
    begun = said = running_seconds()
    first: int | None = None

    def show(done: int, total: int) -> None:
        nonlocal said, first
        first = done if first is None else first
        now = running_seconds()
        if now - said < EVERY or done >= total:
            return
        said = now
        left = f", {roughly((now - begun) / (done - first) * (total - done))} left" if done > first else ""
        print(f"{description}: {done} of {total}{left}", file=sys.stderr, flush=True)

    return show
