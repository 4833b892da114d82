"""Reads tables of text row by row. Errors name the line of a malformed row."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gemoclap.errors import GemoclapError
from gemoclap.files import read_bytes
from gemoclap.labels import folded
from gemoclap.wording import counted
from gemoclap.writing import NOT_UTF8, as_unicode

logger = logging.getLogger(__name__)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[,;\t|]*\s*', re.IGNORECASE)
OTHER_KINDS = {
    b"PK\x03\x04": "a workbook of Excel or LibreOffice, or a zip archive, not a table of text; save the sheet as CSV UTF-8, or "
    "unpack the archive",
    b"\xd0\xcf\x11\xe0": "an old workbook of Excel, not a table of text; save the sheet as CSV UTF-8",
    b'{"': "JSON, not a table of text; a manifest is read as it is, without 'gemoclap prepare'",
}
"""First bytes of files that are given as tables -> what they are, and what to do."""
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class TextTable:
    """A table of text. `rows` has each row once, as (position in the file, column -> cell)."""

    header: list[str]
    rows: Iterator[tuple[str, dict[str, str]]]
    delimiter: str


def read_table(path: Path, delimiter: str | None = None) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """Return the header and the rows of `open_table`."""
    table = open_table(path, delimiter)
    return table.header, table.rows


def open_table(path: Path, delimiter: str | None = None) -> TextTable:
    """Read a CSV or TSV table. Lines that are empty, or have empty cells only, are skipped.

    Tables in UTF-16 are read too. Bytes that are not UTF-8 are kept (`files.NOT_UTF8`), because the names of files can have
    them. The caller must refuse them in other cells.

    Parameters
    ----------
    delimiter : the default is what a first line ``sep=;`` says, which Excel knows, or else comma, semicolon or tab, whichever
        is most frequent in the header.

    Raises
    ------
    GemoclapError : the file cannot be read, is empty, or has a column twice. While rows are read: a row has more or fewer
        cells than the header; a quote is not closed, or includes the next line; or a cell has a NUL or more than 131,072
        characters.
    """
    text = _text(path)
    if not text.strip():
        raise GemoclapError(f"{path}: is empty; name a table with a line of column names and a line per row")
    lines = io.StringIO(text, newline="").readlines()
    if said := _SEPARATOR.fullmatch(lines[0]):
        delimiter, lines[0] = delimiter or said[1], "\n"
    first = next((line for line in lines if line.strip()), "")
    delimiter = delimiter or max("\t,;" if path.suffix.lower() == ".tsv" else ",;\t", key=first.count)
    rows = _rows(lines, delimiter, path)
    begins, header = next(rows, (1, []))
    for column in header:
        if column.strip() and header.count(column) > 1:
            raise GemoclapError(f"{path}:{begins}: column {column!r} is there twice; rename one")
    named = ((f"{path}:{line}", _as_dict(header, row, f"{path}:{line}")) for line, row in rows)
    return TextTable(header, named, delimiter)


def plain_name(column: str) -> str:
    """Return a key that is equal for spellings of a column's name: ``Speaker ID``, ``speaker_id`` and ``SpeakerID``."""
    return re.sub(r"[\s_-]", "", folded(column))


def by_plain_name(header: Iterable[str]) -> dict[str, str]:
    """Return `plain_name` of each column -> its name; the first one if several are alike."""
    known: dict[str, str] = {}
    for column in header:
        known.setdefault(plain_name(column), column)
    return known


def column_called(names: Iterable[str], known: Mapping[str, str]) -> str | None:
    """Return the first column that is called like one of `names`, or None. `known` comes from `by_plain_name`."""
    return next((known[name] for name in map(plain_name, names) if name in known), None)


def with_point(cell: str) -> str:
    """Return a number with a point in place of a comma, ``1,5``; other text as it is.

    Only for tables whose cells something else separates: in others, ``1,250`` may be 1250.
    """
    return cell.replace(",", ".") if re.fullmatch(r"\s*[+-]?\d*,\d+\s*", cell) else cell


def shown_columns(header: Iterable[str]) -> str:
    """Return the names of columns for a message, and what to do if they are not UTF-8."""
    names = ", ".join(header) or "none"
    cure = " (not UTF-8 text; save the table as UTF-8)" if _NOT_UTF8.search(names) else ""
    return as_unicode(names) + cure


def _text(path: Path) -> str:
    """Return the text of a table. Excel's "Unicode text" is UTF-16, which begins with a mark; everything else is UTF-8."""
    content = read_bytes(path)
    if other := next((what for beginning, what in OTHER_KINDS.items() if content.startswith(beginning)), None):
        raise GemoclapError(f"{path}: is {other}")
    if content[:2] not in UTF16_MARKS:
        return content.decode("utf-8-sig", NOT_UTF8)
    try:
        return content.decode("utf-16")
    except UnicodeDecodeError:
        raise GemoclapError(f"{path}: begins as UTF-16 text and goes on as something else; save it as UTF-8") from None


def _rows(lines: list[str], delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield, for each row, the number of the line where it begins, and its cells."""
    # With strict, an open quote is an error, and so is text behind a closing quote.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width, begins = 0, 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = (
                f"a cell is longer than {csv.field_size_limit():,} characters" if "larger" in str(error) else str(error)
            )
            raise GemoclapError(
                f"{path}:{begins}: {what}; is a quote left open, or one inside a text not written twice?"
            ) from None
        taken = lines[begins - 1 : reader.line_num]
        if any("\0" in line for line in taken):
            raise GemoclapError(f"{path}:{begins}: holds a NUL character; save the table again as plain text")
        width = width or len(row)
        # A cell can have several lines. But if one of them looks like a complete row, it probably is one.
        if len(taken) > 1 < width and all(line.count(delimiter) >= width - 1 for line in taken):
            raise GemoclapError(
                f"{path}:{begins}: a quote is opened here and closed on line {reader.line_num}, with a whole row between; "
                "close it, or write a quote that is part of a text twice"
            )
        if any(cell.strip() for cell in row):
            yield begins, row
        begins = reader.line_num + 1


def _as_dict(header: list[str], row: list[str], where: str) -> dict[str, str]:
    if not any(cell.strip() for cell in row[len(header) :]):  # some programs end rows with empty cells
        row = row[: len(header)]
    if len(row) != len(header):
        cure = "put text with a delimiter in it in quotes" if len(row) > len(header) else "fill up the row"
        raise GemoclapError(
            f"{where}: {counted(len(row), 'cell')} where the header names {counted(len(header), 'column')}; {cure}"
        )
    return dict(zip(header, row, strict=True))


def require_utf8(row: Mapping[str, str], where: str, but: Container[str] = ()) -> None:
    """Raise a GemoclapError if a cell has bytes that are not UTF-8; the columns `but` may have them."""
    odd = next((column for column, cell in row.items() if column not in but and _NOT_UTF8.search(cell)), None)
    if odd is not None:
        raise GemoclapError(f"{where}: the {odd} is not UTF-8 text; save the table as UTF-8")


def say_unused(source: str | Path, names: Iterable[str]) -> None:
    """Print on standard error which columns or fields of a table were not used, except those without a name."""
    if unused := [str(name) for name in names if str(name).strip()]:
        logger.warning("%s: columns that were not used: %s", source, as_unicode(", ".join(unused)))
