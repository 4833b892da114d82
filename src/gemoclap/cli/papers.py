"""`papers`: rows of runs beside the published systems of a paper."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from gemoclap.recipes.holding import holding
from gemoclap.reports.document import Document, as_markdown
from gemoclap.reports.drawn import print_document
from gemoclap.reports.ems_paper import ems_document, read_ems, write_ems_beside
from gemoclap.reports.papers import document, read_beside, refuse_other_files, write_beside
from gemoclap.terminal import output_console


def run_papers(args: Namespace) -> int:
    """Print our rows and the published ones, and write them to a folder."""
    output = Path(args.output) if args.output else None
    if output:
        refuse_other_files(output)
    if args.paper == "ems":
        ems = read_ems(args.runs)
        shown = ems_document(ems)
    else:
        beside = read_beside(args.paper, args.runs)
        shown = document(beside)
    _show(shown if output else replace(shown, files=""))
    if output:
        with holding(output, brief=True):
            page = write_ems_beside(ems, output) if args.paper == "ems" else write_beside(beside, output)
        print(f"\n{page}: the page; HTML, CSV, JSON and LaTeX are in the same folder")
    return 0


def _show(document: Document) -> None:
    """Draw the page on a terminal, and print its Markdown into a file or a pipe."""
    console = output_console()
    if console.is_terminal:
        print_document(document, console)
    else:
        print("\n\n".join(as_markdown(document)))
