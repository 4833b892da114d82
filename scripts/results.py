"""Keeps docs/results.md and the tables of other pages in step with the saved records of runs, in docs/records.

    python scripts/results.py record runs/emodb4 --command "gemoclap crossval emodb.jsonl ... -o runs/emodb4" \
        --title "EmoDB, 4 classes" -o docs/records/emodb4.json
    python scripts/results.py write          # fills every marked table, and draws the pictures: make results
    python scripts/results.py status         # which records are older than the code

A table stands on a page between two comments, `<!-- table: uar ravdess emodb4 -->` and `<!-- end -->`; a single figure between
`<!--v ravdess.emo_clap.uar-->` and `<!--/v-->`. `results_tables.py` has the kinds of tables, `results_pages.py` the figures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from results_pages import PAGES, RECORDS, filled, read_records
from results_pictures import draw_pictures
from results_record import make_record
from results_repeated import repeated
from results_tables import age

from gemoclap.errors import GemoclapError
from gemoclap.files import write_json
from gemoclap.recipes.made import code_hash
from gemoclap.writing import atomic_write

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    record = commands.add_parser("record", help="make a record of a run")
    record.add_argument("runs", nargs="+", type=Path, help="its folder; or several cross-validations to compare")
    record.add_argument("--command", action="append", required=True, help="that made it; one for each run")
    record.add_argument("--title", required=True, help="name of the corpus in tables, such as 'EmoDB, 4 classes'")
    record.add_argument(
        "--again",
        nargs="+",
        type=Path,
        help="the same runs repeated by code with today's RESULTS, one folder for each run, finished or not",
    )
    number = "RESULTS of the code (recipes/made.py) that made the run, if its folds did not note it and you know it"
    record.add_argument("--results", type=int, help=number)
    record.add_argument("-o", "--output", type=Path, required=True, help="docs/records/NAME.json")
    record.set_defaults(run=run_record)
    commands.add_parser("write", help="fill the pages and draw the pictures").set_defaults(run=run_write)
    commands.add_parser("status", help="list the records and their age").set_defaults(run=run_status)
    options = parser.parse_args()
    try:
        return options.run(options)
    except GemoclapError as error:
        print(error, file=sys.stderr)
        return 2


def run_record(options: argparse.Namespace) -> int:
    """Write a record of a run."""
    found = make_record(options.runs, options.command, options.title)
    if options.results is not None:
        found["made"].setdefault("results", [str(options.results)])
    if options.again:
        found["repeated"] = repeated(options.runs, options.again)
    write_json(options.output, found)
    return 0


def run_write(options: argparse.Namespace) -> int:
    """Fill every page, and draw the pictures."""
    records = read_records(ROOT / RECORDS)
    for page in (path for pattern in PAGES for path in sorted(ROOT.glob(pattern))):
        text = page.read_text(encoding="utf-8")
        new = filled(text, records, str(page.relative_to(ROOT)))
        if new != text:
            with atomic_write(page) as file:
                file.write(new)
            print(f"wrote {page.relative_to(ROOT)}")
    draw_pictures(records, ROOT / "docs" / "images")
    return 0


def run_status(options: argparse.Namespace) -> int:
    """Print a line for each record: its day, whether it is of today's code, and what has changed since."""
    for name, record in read_records(ROOT / RECORDS).items():
        codes = record["made"].get("code") or []
        same = "today's code" if codes == [code_hash()] else "other code"
        print(f"{name}: {' to '.join(record['made']['date'])}, {same}{'; ' if age(record) else ''}{age(record)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
