"""Writes values over the time of a clip: CSV on the terminal or in a file, or a picture."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gemoclap.terminal import print_summary
from gemoclap.writing import atomic_write, check_target


def series_path(output: str | None, overwrite: bool = False) -> Path | None:
    """Return the file for a series; None stands for the terminal.

    Raises
    ------
    GemoclapError : the name does not end in .csv or .png, or as `writing.check_target`.
    """
    return None if output is None else check_target(output, (".csv", ".png"), overwrite)


def write_series(
    path: Path | None,
    rows: Iterable[Sequence[str]],
    draw: Callable[[Path], None],
    summary: str,
    remark: str | None = None,
) -> None:
    """Write `rows`, a header first, or let `draw` make a picture.

    `summary` is printed where it does not mix with the rows. `remark`, on why the values may mean little, is printed to
    standard error.
    """
    if path is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    else:
        if path.suffix.lower() == ".png":
            draw(path)
        else:
            with atomic_write(path) as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
        print_summary(f"{path}: {summary}", path)
    if remark:
        print(f"beware: {remark}", file=sys.stderr)
