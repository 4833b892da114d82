"""`papers`: rows of runs beside the published systems of a paper."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from gemoclap.recipes.holding import holding
from gemoclap.reports.document import as_markdown
from gemoclap.reports.ems_paper import ems_document, read_ems, write_ems_beside
from gemoclap.reports.papers import document, read_beside, refuse_other_files, write_beside


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
    print("\n\n".join(as_markdown(shown)[: None if output or not shown.files else -1]))
    if output:
        with holding(output, brief=True):
            page = write_ems_beside(ems, output) if args.paper == "ems" else write_beside(beside, output)
        print(f"\n{page}: the page; HTML, CSV, JSON and LaTeX are in the same folder")
    return 0
