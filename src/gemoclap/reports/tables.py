"""Figures in words, and tables: Markdown for pages, CSV for other tools, rich for a terminal.

Tables for people have percentages with one decimal. Files for programs have shares between 0 and 1.
"""

from __future__ import annotations

import csv
import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gemoclap.metrics import Difference, Scores
from gemoclap.reports.columns import is_text
from gemoclap.writing import atomic_write

UNDEFINED = "\N{EN DASH}"
WITH_INTERVALS = ("war", "uar", "macro_f1")
"""Names of the figures that have intervals."""
WIDEST_FIGURE, LEAST_WORDS = 24, 10
"""On a terminal: characters of the longest cell that counts as a figure, and of the narrowest column of words."""
Cells = tuple[list[str], list[list[str]]]
"""The header and the rows of a table."""


def percent(share: float | None) -> str:
    """Return ``"61.3"`` for 0.613, or a dash if the figure is not defined."""
    return UNDEFINED if share is None or math.isnan(share) else f"{100 * share:.1f}"


def points(difference: float | None) -> str:
    """Return a difference in percentage points with its sign, ``"+1.2"``."""
    if difference is None or math.isnan(difference):
        return UNDEFINED
    rounded = round(100 * difference, 1) + 0.0  # turns -0.0 into 0.0
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}")


def with_interval(share: float, interval: tuple[float, float], gap: str = " ") -> str:
    """Return ``"61.3 [55.1, 67.0]"``, or only the figure if the interval is not defined."""
    low, high = interval
    return percent(share) if math.isnan(low) else f"{percent(share)}{gap}[{percent(low)}, {percent(high)}]"


def figure_cells(scores: Scores, names: Sequence[str] = ("war", "uar"), gap: str = " ") -> list[str]:
    """Return figures of an evaluation, each as `with_interval`; names are those of attributes of `scores`."""
    return [with_interval(getattr(scores, name), getattr(scores, f"{name}_interval"), gap) for name in names]


def with_sd(mean: float, sd: float, gap: str = " ") -> str:
    """Return ``"61.3 ± 4.2"``, or only the mean if there is one fold."""
    return percent(mean) if math.isnan(sd) else f"{percent(mean)}{gap}± {percent(sd)}"


def with_points(difference: Difference | None) -> str:
    """Return ``"+1.2 [−0.3, +2.7]"``, only the figure if the interval is not defined, or a dash if neither is."""
    if difference is None:
        return UNDEFINED
    interval = "" if math.isnan(difference.low) else f" [{points(difference.low)}, {points(difference.high)}]"
    return points(difference.value) + interval


def p_value(p: float) -> str:
    """Return a p-value with three decimals, ``"< 0.001"`` if it is smaller, or a dash if it is not defined."""
    if math.isnan(p):
        return UNDEFINED
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(differs: bool | None) -> str:
    """Return ``"yes"`` if a difference is significant after correction, ``"no"`` if not, or a dash if there is no p-value."""
    return {None: UNDEFINED, True: "yes", False: "no"}[differs]


# Markdown.


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return a Markdown table; columns of text are aligned left (`columns.is_text`), the others right."""
    ruler = [":---" if is_text(place, rows, text_columns) else "---:" for place in range(len(header))]
    cells = [header, ruler, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def shorten(words: Sequence[str], most: int) -> str:
    """Return the words separated by commas; beyond the first `most`, only their number."""
    more = len(words) - most
    return ", ".join(words) if more <= 0 else f"{', '.join(words[:most])} and {more} more"


# CSV.


def scores_row(scores: Scores) -> dict[str, Any]:
    """Return the figures of one evaluation as CSV cells by column."""
    figures = {
        "war": scores.war, "war_low": scores.war_interval[0], "war_high": scores.war_interval[1],
        "uar": scores.uar, "uar_low": scores.uar_interval[0], "uar_high": scores.uar_interval[1],
        "macro_f1": scores.macro_f1, "macro_f1_low": scores.macro_f1_interval[0],
        "macro_f1_high": scores.macro_f1_interval[1], "uar_female": scores.uar_by_gender.get("female"),
        "uar_male": scores.uar_by_gender.get("male"), "gender_gap": scores.gender_gap,
        **{f"recall_{name}": recall for name, recall in scores.recalls.items()},
    }  # fmt: skip
    return {"n": scores.n, **{name: share_cell(figure) for name, figure in figures.items()}}


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> None:
    """Write rows, which may have different columns. The columns `first` come first, the others in order of appearance."""
    columns = list(dict.fromkeys([*first, *(column for row in rows for column in row)]))
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def share_cell(share: float | None) -> str:
    """Return a share, or a difference of shares, with six decimals; empty if it is not defined."""
    return "" if share is None or math.isnan(share) else f"{share:.6f}"


# A terminal.


def new_table(title: str = "", caption: str = "", **options: Any) -> Table:
    """Return an empty table in the style of all; `options` are those of `rich.table.Table`."""
    return Table(
        title=escape(title) or None, caption=escape(caption) or None, box=box.SIMPLE_HEAD, show_edge=False, **options
    )


def print_cautions(cautions: Iterable[str], console: Console) -> None:
    """Print sentences on what a reader of the figures must know."""
    for caution in cautions:
        console.print(f"Beware: {escape(caution)}.")


def drawn_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", caption: str = "", text_columns: int = 1
) -> Table:
    """Return a table for a terminal. Columns of words are aligned left (`columns.is_text`), the others right.

    Words may be broken, figures may not. An interval is put below its figure, and the second of two figures with a slash
    between them, such as WAR / UAR, below the first. Headings are as narrow as the figures, so that the table fits 80 columns.
    """
    table = new_table(title, caption, pad_edge=False)
    cells = [[*row[:text_columns], *map(_in_lines, row[text_columns:])] for row in rows]
    for place, heading in enumerate(header):
        column = [line for row in cells for line in row[place].split("\n")]
        widest = max(map(cell_len, column), default=0)
        justify: Literal["left", "right"] = "left" if is_text(place, rows, text_columns) else "right"
        if place and all(map(_is_figure, column)):
            # rich would break the heading only if it could break the figures too.
            width = max(widest, *map(cell_len, heading.split()))
            lines = [line for part in heading.replace(" [", "\n[").split("\n") for line in textwrap.wrap(part, width)]
            table.add_column(escape("\n".join(lines)), justify=justify, no_wrap=True)
        else:
            table.add_column(escape(heading), justify=justify, min_width=min(widest, LEAST_WORDS), overflow="fold")
    for row in cells:
        table.add_row(*map(escape, row))
    return table


def _in_lines(cell: str) -> str:
    """Return figures in lines that are narrow enough for a terminal."""
    return cell.replace(" / ", "\n").replace(" [", "\n[")


def _is_figure(line: str) -> bool:
    """Whether a line must stay whole: it is a dash, or it is short and has a digit."""
    return line in ("", UNDEFINED) or len(line) <= WIDEST_FIGURE and any(map(str.isdigit, line))
