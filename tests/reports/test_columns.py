"""Text is aligned left and figures right, in Markdown, on a web page and on a terminal."""

from __future__ import annotations

import pytest

from gemoclap.reports import html
from gemoclap.reports.columns import is_text
from gemoclap.reports.tables import drawn_table, markdown_table

HEADER = ["system", "WAR / UAR", "difference", "p", "differs", "tested on x", "source", "labels", "n"]
ROWS = [
    ["1", "71.8 [52.9, 83.3]", "\N{MINUS SIGN}0.9", "< 0.001", "yes", "within: 41.7 [20.8, 62.5]", "`cv`", "angry", "1,480"],
    ["2", "\N{EN DASH} / 80.20", "+1.2 [\N{MINUS SIGN}0.3, +2.7]", "0.750", "no", "unfinished", "Table 2", "\N{EN DASH}", ""],
    ["3", "**61.3 ± 4.2**", "\N{EN DASH}", "\N{EN DASH}", "\N{EN DASH}", "28.2 [25.0, 29.6]", "a later version", "", "85"],
]  # fmt: skip
LEFT = {"system", "source", "labels"}


@pytest.mark.parametrize("name", HEADER)
def test_every_kind_of_table_aligns_a_column_alike(name: str) -> None:
    place, is_left = HEADER.index(name), name in LEFT
    ruler = markdown_table(HEADER, ROWS).splitlines()[1].strip("| ").split(" | ")
    assert ruler[place] == (":---" if is_left else "---:")
    heads = html.table("x", (HEADER, ROWS)).split("<tr>")[1].split("</th>")
    assert ('class="text' in heads[place]) == is_left
    assert (drawn_table(HEADER, ROWS).columns[place].justify == "left") == is_left


@pytest.mark.parametrize(
    ("cells", "has_text"),
    [
        (["2026-11-30", "2026-12-01"], True),
        (["2.12.0", "4.57.1"], True),
        (["0a1b2c3d4e5f", "93f2d1"], True),
        (["03a01Fa.wav", "1001_DFA_ANG_XX.wav", "03-01-05-01-02-01-12.wav"], True),
        (["61.3, 62.0", "1.235e+04", "1.23 to 1.50", "5: three, four"], False),
        (["2 of 3 seeds", "61.3 / 60.2", "12 %"], False),
        ([], False),
    ],
)
def test_what_only_begins_with_digits_is_text(cells: list[str], has_text: bool) -> None:
    assert is_text(1, [["row", cell] for cell in cells], text_columns=1) == has_text


def test_the_columns_that_name_the_rows_are_text_even_if_they_look_like_figures() -> None:
    assert markdown_table(["fold", "seed", "UAR"], [["1", "0", "61.3"]], text_columns=2).splitlines()[1] == (
        "| :--- | :--- | ---: |"
    )
