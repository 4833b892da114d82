"""Writes predictions as rows of a file. Each row is kept as soon as it is made, and an interrupted run can be resumed."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.files import parse_json, to_json
from gemoclap.writing import NOT_UTF8, as_unicode, atomic_write, is_stream, readable_write_errors, written_beside

Row = Mapping[str, Any]
SUFFIXES = (".csv", ".jsonl", ".parquet")
"""Suffixes of a file of predictions."""
PARTIAL = ".partial"
"""Added to the name of the file while rows are missing."""


class RowFile:
    """The file of ``predict -o``: ``with RowFile(...) as rows: rows.add(row) ...; rows.finish(keys)``.

    Rows are appended to ``NAME.partial``, one line of JSON each, after a line with model and options. `finish` writes the table
    to another name and renames it. If the run ends before that, the next run with the same model and options finds the rows.
    Only one process at a time can write the file.

    Parameters
    ----------
    path : file to write. If it is a pipe or device, such as /dev/stdout, rows go there as CSV and nothing is kept.
    made_with : model and options; they must be equal for all rows of a file.
    columns : names of the table's columns.
    overwrite : whether rows of another model or other options may be thrown away.

    Attributes
    ----------
    failed : key of a row (`key_of`) -> whether the row has an error instead of a prediction.

    Raises
    ------
    GemoclapError : another process is writing the file, or it has rows of another model or other options.
    """

    def __init__(
        self, path: Path, made_with: Mapping[str, Any], columns: Sequence[str], overwrite: bool = False
    ) -> None:
        self.path, self.columns = path, columns
        self.partial = path.with_name(path.name + PARTIAL)
        self.failed: dict[str, bool] = {}
        self._made_with = json.loads(to_json(dict(made_with)))
        self._overwrite = overwrite
        self._is_stream = is_stream(path)

    def __enter__(self) -> RowFile:
        with ExitStack() as stack:
            if self._is_stream:
                self._file = stack.enter_context(atomic_write(self.path))
                self._writer = csv.DictWriter(self._file, self.columns, lineterminator="\n", extrasaction="ignore")
                self._writer.writeheader()
            else:
                stack.enter_context(self._held())
                self._file = stack.enter_context(self._begun())
            self._leave = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if not self.failed and not self._is_stream:
            self.partial.unlink(missing_ok=True)  # there are no rows to resume from
        with readable_write_errors(self.path):  # a full disk is also met when what is left is written
            self._leave.__exit__(*error)

    def add(self, row: Row) -> None:
        """Add a row. After this call, the row is kept even if the process is killed."""
        self.failed[key_of(row)] = "error" in row
        if self._is_stream:
            self._writer.writerow(row)
            self._file.flush()
            return
        with readable_write_errors(self.path):
            self._file.write(to_json(dict(row)) + "\n")
            self._file.flush()

    def finish(self, wanted: Iterable[str]) -> None:
        """Write the table: all rows that have one of the `wanted` keys, in the order in which they were added."""
        if self._is_stream:
            return
        keys = set(wanted)
        write_rows(self.path, self.columns, (row for row in self._rows() if key_of(row) in keys))
        self.partial.unlink()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Lock the file for this process."""
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        with readable_write_errors(self.path):
            self.path.parent.mkdir(exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise GemoclapError(
                    f"{self.path}: another 'gemoclap predict' is writing it; wait, or give -o another name"
                ) from None
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def _begun(self) -> IO[str]:
        """Return the file to append rows to: the one of an interrupted run, or a new one."""
        try:
            found = self._found()
        except GemoclapError:
            if not self._overwrite:
                raise
            found = None
        if found is not None:
            self.failed = found
            return self.partial.open("a", encoding="utf-8", errors=NOT_UTF8)
        file = self.partial.open("w", encoding="utf-8", errors=NOT_UTF8)
        file.write(to_json({"made_with": self._made_with}) + "\n")
        return file

    def _found(self) -> dict[str, bool] | None:
        """Return the rows of an interrupted run in the form of `failed`, or None; an incomplete last line is cut off."""
        whole = _end_of_whole_lines(self.partial) if self.partial.exists() else 0
        if not whole:
            return None
        if _parsed(next(_lines(self.partial)), self.partial).get("made_with") != self._made_with:
            raise GemoclapError(
                f"{self.partial}: begun with another model or other options; run that command again to finish it, or add "
                "--overwrite to start again"
            )
        os.truncate(self.partial, whole)
        return {key_of(row): "error" in row for row in self._rows()}

    def _rows(self) -> Iterator[dict[str, Any]]:
        lines = _lines(self.partial)
        next(lines)
        return (_parsed(line, self.partial) for line in lines)


def key_of(row: Row) -> str:
    """Return a unique key of a row: its path, and for a row of a manifest also its id, start and end."""
    return "\t".join(str(row.get(name, "")) for name in ("path", "id", "start", "end"))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table as CSV, JSON lines or Parquet, according to the suffix of the file.

    If a row has no value in a column, it is empty in CSV, null in Parquet, and left out in JSON.
    """
    if path.suffix.lower() == ".parquet":
        _write_parquet(path, columns, rows)
        return
    with atomic_write(path) as file:
        if path.suffix.lower() == ".jsonl":
            file.writelines(to_json(dict(row)) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def check_parquet(path: Path) -> None:
    """Raise a GemoclapError if `path` is to be Parquet and the library for that is missing."""
    if path.suffix.lower() == ".parquet":
        _pyarrow(path)


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    pyarrow, parquet = _pyarrow(path)
    kinds = dict.fromkeys(("path", "id", "emotion", "gender", "remark", "error"), pyarrow.string())
    kinds["embedding"] = pyarrow.list_(pyarrow.float32())
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in columns])
    with written_beside(path) as beside, parquet.ParquetWriter(beside, schema) as writer:
        for group in _groups(rows, 10_000):
            writer.write_table(pyarrow.Table.from_pylist([_readable(row) for row in group], schema=schema))


def _pyarrow(path: Path) -> tuple[Any, Any]:
    # An extra of 170 MB, which CSV and JSON do not need.
    return needed("pyarrow", f"{path}: Parquet"), needed("pyarrow.parquet", f"{path}: Parquet")


def _readable(row: Row) -> dict[str, Any]:
    """Return a row in valid Unicode, because Parquet cannot store the bytes of a name that is not UTF-8."""
    return {name: as_unicode(value) if isinstance(value, str) else value for name, value in row.items()}


def _groups(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors=NOT_UTF8, newline="\n") as file:
        yield from file


def _parsed(line: str, path: Path) -> dict[str, Any]:
    try:
        found = parse_json(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise GemoclapError(f"{path}: does not contain rows of predictions; add --overwrite to start again")
    return found


def _end_of_whole_lines(path: Path) -> int:
    """Return the position after the last line end of a file, or 0 if there is none."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(end - 65536, 0)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0
