r"""Tables in LaTeX, for papers; they only need the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Sequence

Row = tuple[str, Sequence[Sequence[str]]]
"""A label, and the cells of each group: one per column of the group, or a single one that spans all of them."""

SPECIAL = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"} | {
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$", "<": "$<$", ">": "$>$",
}  # fmt: skip


def escaped(text: str) -> str:
    """Return text with LaTeX's special characters escaped; an interval in brackets is printed smaller."""
    plain = "".join(SPECIAL.get(letter, letter) for letter in text)
    return re.sub(r"\[.*?\]", r"{\\scriptsize \g<0>}", plain)


def latex_table(
    caption: str, groups: Sequence[str], columns: Sequence[str], blocks: Sequence[tuple[str, Sequence[Row]]]
) -> str:
    r"""Return a ``table*`` with the lines of booktabs.

    Parameters
    ----------
    groups : headings; each spans all `columns`.
    columns : headings of the columns in every group.
    blocks : parts of the table, with a line between them; each has a heading, which may be empty, and rows.
    """
    width = len(columns)
    spans = [(2 + width * place, 1 + width * (place + 1)) for place in range(len(groups))]
    first = [rf"\multicolumn{{{width}}}{{c}}{{{escaped(group)}}}" for group in groups]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        r"\label{tab:encoders-by-methods}",
        rf"\begin{{tabular}}{{l{'c' * width * len(groups)}}}",
        r"\toprule",
        " & ".join(["", *first]).lstrip() + r" \\",
        " ".join(rf"\cmidrule(lr){{{start}-{end}}}" for start, end in spans),
        " & ".join(["Audio encoder", *map(escaped, list(columns) * len(groups))]) + r" \\",
    ]
    for heading, rows in blocks:
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{1 + width * len(groups)}}}{{l}}{{\emph{{{escaped(heading)}}}}} \\")
        lines += [_line(row, width) for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def plain_latex_table(caption: str, label: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a ``table*`` with the lines of booktabs; its first column is aligned left, the others are centred."""
    return latex_blocks(caption, label, header, [("", rows)])


def latex_blocks(
    caption: str, label: str, header: Sequence[str], blocks: Sequence[tuple[str, Sequence[Sequence[str]]]]
) -> str:
    r"""Return a table as `plain_latex_table`, whose rows are in blocks with a line between them.

    It spans both columns of a page that has two, because figures with intervals do not fit into one.

    Parameters
    ----------
    blocks : a heading, which may be empty, and rows.
    """
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escaped(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(header) - 1)}}}",
        r"\toprule",
        " & ".join(map(escaped, header)) + r" \\",
    ]
    for heading, rows in blocks:
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(header)}}}{{l}}{{\emph{{{escaped(heading)}}}}} \\")
        lines += [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"]) + "\n"


def _line(row: Row, width: int) -> str:
    label, groups = row
    cells = [escaped(label)]
    for group in groups:
        whole = len(group) < width
        cells += [rf"\multicolumn{{{width}}}{{c}}{{{escaped(group[0])}}}"] if whole else map(escaped, group)
    return " & ".join(cells) + r" \\"
