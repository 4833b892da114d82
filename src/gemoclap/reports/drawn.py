"""Prints a report on a terminal: tables are drawn, and the Markdown of the other parts is laid out.

This is a file of its own because `rich.markdown` takes a second to import on a slow machine, and most commands do not need it.
"""

from __future__ import annotations

from rich.console import Console
from rich.markdown import Markdown

from gemoclap.reports.document import Bullets, Content, Document, Drawing, Grid
from gemoclap.reports.tables import drawn_table


def print_document(document: Document, console: Console) -> None:
    """Print a report without its pictures and without the sentence on its files."""
    console.print(Markdown("\n\n".join([f"# {document.title}", *document.warnings])))
    for part in document.parts:
        console.print(Markdown(f"## {part.title}"))
        for one in part.content:
            _print(one, console)
            console.print()


def _print(one: Content, console: Console) -> None:
    if isinstance(one, Grid):
        console.print(Markdown(one.caption))
        console.print()
        console.print(drawn_table(*one.cells, text_columns=one.text_columns))
    elif isinstance(one, Bullets):
        console.print(Markdown("\n".join(f"- {line}" for line in one.lines)))
    elif not isinstance(one, Drawing):
        console.print(Markdown(one))
