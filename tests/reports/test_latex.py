"""Tables in LaTeX: every row fills every column, and nothing in a cell is a command."""

from __future__ import annotations

import re

from gemoclap.reports.latex import escaped, latex_table


def columns(line: str) -> int:
    """Count the columns that a row fills, those of a multicolumn too."""
    cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
    spans = [re.search(r"\\multicolumn\{(\d+)\}", cell) for cell in cells]
    return sum(int(span[1]) if span else 1 for span in spans)


def test_every_row_has_every_column() -> None:
    blocks = [
        ("", [("a_b", [["1.0", "2.0"], ["not begun"]]), ("c", [["1", "2"], ["3 [2, 4]", "4"]])]),
        ("others, 100 %", [("d", [["1", "2"], ["3", "4"]])]),
    ]
    lines = latex_table("50 % of A & B", ["One", "Two"], ("WAR", "UAR"), blocks).splitlines()
    begin = lines.index(r"\begin{tabular}{lcccc}")
    rows = [line for line in lines[begin:] if line.endswith(r"\\")]
    assert len(rows) == 2 + 1 + 3 and all(columns(row) == 5 for row in rows)
    assert r"a\_b & 1.0 & 2.0 & \multicolumn{2}{c}{not begun} \\" in rows
    assert r"c & 1 & 2 & 3 {\scriptsize [2, 4]} & 4 \\" in rows
    assert lines.count(r"\midrule") == 2 and lines.count(r"\toprule") == lines.count(r"\bottomrule") == 1
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in lines
    assert r"\caption{50 \% of A \& B}" in lines
    # A bracket after a line break would be taken for its length.
    assert not any(line.startswith("[") for line in lines)


def test_braces_are_balanced_and_commands_close() -> None:
    text = latex_table("x", ["M"], ("WAR",), [("", [("n", [["5"]])])])
    plain = re.sub(r"\\[{}]", "", text)
    depth = 0
    for letter in plain:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    opened = re.findall(r"\\begin\{(.*?)\}", text)
    assert opened == re.findall(r"\\end\{(.*?)\}", text)[::-1]


def test_special_letters() -> None:
    assert escaped(r"50 % & $x_1^2 {~} \ #1 –") == (
        r"50 \% \& \$x\_1\textasciicircum{}2 \{\textasciitilde{}\} \textbackslash{} \#1 --"
    )
