"""Which columns of a table have text: it is aligned left, and figures right, in Markdown, web pages and terminals alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

EMPTY = ("", "\N{EN DASH}")
"""Cells without anything in them, which are neither text nor figures."""
_NUMBER = r"\d[\d,]*(\.\d+)?(e[+-]\d+)?(?![\w.-])"
FIGURE = re.compile(f"(within: )?[*<> +\N{MINUS SIGN}-]*({_NUMBER}|\N{EN DASH})|(yes|no)$")
"""How a cell with a figure begins: with a number, or a dash in place of the first of two, behind signs, marks of bold letters
or the word of a diagonal. The number ends there: a date, a version, a hash and 03a01Fa.wav only begin with digits. A verdict is
as short as a figure."""


def is_text(place: int, rows: Sequence[Sequence[str]], text_columns: int) -> bool:
    """Whether a column of a table has text.

    Parameters
    ----------
    place : of the column.
    text_columns : the first columns, which name the rows, have text in any case. Another has text if most of its cells do.
    """
    cells = [row[place] for row in rows if row[place] not in EMPTY]
    words = [cell for cell in cells if not FIGURE.match(cell)]
    return place < text_columns or 2 * len(words) > len(cells)
