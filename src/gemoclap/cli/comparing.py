"""`compare`, the command without a second word; `compare ems` is in ems.py."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from gemoclap.corpora.manifest import read_manifest
from gemoclap.errors import GemoclapError
from gemoclap.recipes.holding import holding
from gemoclap.reports.comparison import compare_systems
from gemoclap.reports.comparison_page import print_comparison, refuse_others, write_comparison_files
from gemoclap.reports.systems import manifest_facts, read_systems
from gemoclap.terminal import output_console


def run_compare(args: Namespace) -> int:
    """Compare every system with every other on the same clips."""
    output = Path(args.output) if args.output else None
    if output:
        if output.suffix.lower() in (".md", ".csv", ".json", ".tex"):
            raise GemoclapError(
                f"{output}: give -o the name of a folder; comparison.md and other files are written to it"
            )
        refuse_others(output)
    utterances = read_manifest(args.manifest) if args.manifest else []
    systems = read_systems(args.systems, utterances, args.labels)
    comparison = compare_systems(systems, manifest_facts(utterances) if utterances else None, args.common)
    print_comparison(comparison, output_console())
    if output:
        with holding(output, brief=True):
            page = write_comparison_files(comparison, output, args.formats)
        print(f"{page}: the comparison, with how to read it; CSV, JSON, LaTeX and a picture are in the same folder")
    return 0
