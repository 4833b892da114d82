"""Predictions as rows of a file: each is kept as soon as it is made, and a run that was ended goes on behind the last."""

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
"""How the name of a file of predictions may end."""
PARTIAL = ".partial"
"""What is added to the name of the file while rows are still missing."""


class RowFile:
    """The file that ``predict -o`` names: ``with RowFile(...) as rows: rows.add(row) ...; rows.finish(keys)``.

    Rows are appended to ``NAME.partial``, a line of JSON each, below a line that says what they were made with. `finish`
    writes the table beside and renames it. Where the run ends before that, the next one of the same kind finds the rows.
    One process at a time has the file.

    Parameters
    ----------
    path : may be a pipe or device, such as /dev/stdout: rows then go there as CSV, and nothing is kept.
    made_with : what has to be equal for rows to stand in one file: model, labels.
    columns : names of the table's columns.
    overwrite : whether rows that were made with something else may be thrown away.

    Attributes
    ----------
    failed : of each row that is there, by its key (`key_of`), whether it tells an error in place of an answer.

    Raises
    ------
    GemoclapError : another process writes the file; the rows that are there were made with something else.
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
            self.partial.unlink(missing_ok=True)  # nothing to go on with
        self._leave.__exit__(*error)

    def add(self, row: Row) -> None:
        """Keep a row; when this returns, it outlives the process."""
        self.failed[key_of(row)] = "error" in row
        if self._is_stream:
            self._writer.writerow(row)
            self._file.flush()
            return
        with readable_write_errors(self.partial):
            self._file.write(to_json(dict(row)) + "\n")
            self._file.flush()

    def finish(self, wanted: Iterable[str]) -> None:
        """Write the table, a row for each of the `wanted` keys that there is one for, in the order they were made."""
        if self._is_stream:
            return
        keys = set(wanted)
        write_rows(self.path, self.columns, (row for row in self._rows() if key_of(row) in keys))
        self.partial.unlink()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Have the file for this process alone."""
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
        """Return the file of rows to append to: the one that an ended run has left, or a new one."""
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
        """Return what an ended run has left, as `failed` has it, and cut off a half line at its end; None for nothing."""
        whole = _end_of_whole_lines(self.partial) if self.partial.exists() else 0
        if not whole:
            return None
        if _parsed(next(_lines(self.partial)), self.partial).get("made_with") != self._made_with:
            raise GemoclapError(
                f"{self.partial}: begun with another model or other options; run that command again to finish it, or add "
                "--overwrite to begin anew"
            )
        os.truncate(self.partial, whole)
        return {key_of(row): "error" in row for row in self._rows()}

    def _rows(self) -> Iterator[dict[str, Any]]:
        lines = _lines(self.partial)
        next(lines)
        return (_parsed(line, self.partial) for line in lines)


def key_of(row: Row) -> str:
    """Return what tells one row from all others: the path, and of a manifest's row its id and stretch of the file."""
    return "\t".join(str(row.get(name, "")) for name in ("path", "id", "start", "end"))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a table as the name of the file says: CSV, a line of JSON a row, or Parquet.

    A column that a row lacks is empty in CSV, null in Parquet, and left out in JSON.
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
    # An extra: 170 MB that CSV and JSON do without.
    return needed("pyarrow", f"{path}: Parquet"), needed("pyarrow.parquet", f"{path}: Parquet")


def _readable(row: Row) -> dict[str, Any]:
    """Return a row whose words are Unicode: Parquet has no place for the bytes of a name that is not UTF-8."""
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
        raise GemoclapError(f"{path}: holds something else than rows of predictions; add --overwrite to begin anew")
    return found


def _end_of_whole_lines(path: Path) -> int:
    """Return the position behind the last line end of a file, 0 where there is none."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(end - 65536, 0)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0
