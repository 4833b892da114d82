"""Fills the marked tables and figures of a page from records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results_parts import nan
from results_tables import KINDS, UNDEFINED, difference_of, interval_of, p_value, percent, with_points

from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import read_json
from gemoclap.reports.tables import points

PAGES = ("README.md", "docs/*.md")
RECORDS = Path("docs") / "records"
TABLE = re.compile(r"^<!-- table: (?P<words>.+?) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
"""Blocks of code, in which markers are only shown."""
FIGURE = re.compile(r"(?<!`)<!--v (?P<path>\S+?)-->.*?<!--/v-->")
NOT_YET = "*Not measured with this version yet.*"
"""In place of a table whose record does not exist."""
Records = Mapping[str, Mapping[str, Any]]


def read_records(folder: Path) -> dict[str, Any]:
    """Return all records by name: the name of the file without .json."""
    files = sorted(path for path in folder.glob("*.json") if path.name != "changes.json")
    return {path.stem: read_json(path, "make it again with 'python scripts/results.py record'") for path in files}


def filled(text: str, records: Records, page: str) -> str:
    """Return a page with every marked table and figure as the records have them.

    Raises
    ------
    GemoclapError : a marker names no kind of table, or a figure that no record has; the message names the page.
    """
    try:
        parts = FENCED.split(text)
        return "".join(_filled(part, records) if number % 2 == 0 else part for number, part in enumerate(parts))
    except GemoclapError as error:
        raise GemoclapError(f"{page}: {error}") from error


def _filled(text: str, records: Records) -> str:
    text = TABLE.sub(
        lambda found: f"<!-- table: {found['words']} -->\n\n{table(found['words'], records)}\n\n<!-- end -->", text
    )
    return FIGURE.sub(lambda found: f"<!--v {found['path']}-->{figure(found['path'], records)}<!--/v-->", text)


def table(words: str, records: Records) -> str:
    """Return the table of a marker: its kind, the names of records (`all` for all), and ``option=value``."""
    kind, *rest = words.split()
    if kind not in KINDS:
        raise GemoclapError(
            f"no table is called {kind!r}{did_you_mean(kind, list(KINDS))}; give one of {', '.join(KINDS)}"
        )
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    names = list(records) if "all" in rest else [word for word in rest if "=" not in word]
    if any(name not in records for name in names):
        return NOT_YET
    return KINDS[kind]({name: records[name] for name in names}, options)


def named_records(text: str) -> set[str]:
    """Return the names of the records that the markers of a page need."""
    text = FENCED.sub("", text)
    words = [word for found in TABLE.finditer(text) for word in found["words"].split()[1:]]
    return {word for word in words if "=" not in word and word != "all"} | {
        found["path"].split(".")[0] for found in FIGURE.finditer(text)
    }


def figure(path: str, records: Records) -> str:
    """Return one figure: RECORD.ROW.FIGURE, or RECORD.ROW-OTHER.FIGURE for the difference of two rows in points.

    FIGURE is `uar` or `war`, alone or followed by `_ci` for figure and interval, or `_interval` for the interval alone. A row
    also has `seeds`, a difference `p`.
    """
    name, _, rest = path.partition(".")
    row, _, what = rest.rpartition(".")
    record = records.get(name)
    rows = record["rows"] if record else {}
    if row in rows:
        return _of_row(rows[row], what, path)
    one, _, other = row.partition("-")
    found = difference_of(record, one, other) if record and "pairs" in record else None
    if found is None:
        raise GemoclapError(f"{path}: no such figure; docs/records/{name}.json has {', '.join(rows) or 'no rows'}")
    difference, p = found
    shown = {
        "uar": points(difference.value),
        "uar_ci": with_points(difference),
        "uar_interval": with_points(difference).partition(" ")[2],
        "p": p_value(p),
    }
    return _one_of(shown, what, path)


def _of_row(row: Mapping[str, Any], what: str, path: str) -> str:
    shown = {"seeds": ", ".join(map(percent, row.get("seeds", {}).values())) or UNDEFINED}
    for name in ("uar", "war", "macro_f1"):
        if name in row:
            words = interval_of(row[name])
            shown |= {
                name: percent(nan(row[name][0])),
                f"{name}_ci": words,
                f"{name}_interval": words.partition(" ")[2],
            }
    return _one_of(shown, what, path)


def _one_of(shown: Mapping[str, str], what: str, path: str) -> str:
    if what not in shown:
        raise GemoclapError(f"{path}: no figure is called {what!r}; give one of {', '.join(shown)}")
    return shown[what]
