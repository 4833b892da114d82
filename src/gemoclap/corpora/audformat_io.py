"""Reads and writes audformat databases (audEERING): ``db.yaml`` with schemes, and tables of labels for files or segments.

audformat's own loader is not used for reading. It opens ``db.TABLE.pkl`` wherever the name of a table points, and a pickle can
run any code.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemoclap.corpora.csv_io import id_of, votes_of, votes_text
from gemoclap.corpora.layout import AudioFinder
from gemoclap.corpora.manifest import DIMENSIONS, OPTIONAL, Utterance
from gemoclap.corpora.speakers import one_spelling
from gemoclap.corpora.tables import read_table, say_unused
from gemoclap.corpora.values import known, name, number, partition, seconds
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.files import parse_yaml, read_text, relative_to
from gemoclap.labels import EMOTIONS, GENDERS, canonical_emotion
from gemoclap.wording import counted

if TYPE_CHECKING:
    import audformat
    import pandas as pd

HEADER = "db.yaml"
TABLE = "utterances"
SCHEMES = {
    "id": "id", "corpus": "corpus", "session": "session", "speaker": "speaker", "gender": "gender",
    "emotion": "emotion", "text": "transcription", "language": "language", "partition": "partition", "valence": "valence",
    "arousal": "arousal", "dominance": "dominance", "votes": "emotion_votes",
}  # fmt: skip
"""Our field -> name of the scheme. The names are those in the published databases of audEERING, where there are any."""

_PLAIN = re.compile(r"\w[\w.-]*", re.ASCII)
"""Pattern of names of tables that cannot point outside the folder."""

_Key = tuple[str, float | None, float | None]
"""A file, and start and end in seconds. Both are None for the whole file."""


def read_audformat(source: str | os.PathLike, audio_root: str | os.PathLike | None = None) -> list[Utterance]:
    """Read the labels of an audformat database: schemes emotion and, if they exist, speaker, gender, transcription.

    The gender is usually stored in the labels of speakers, and is found there too. Without a scheme *id*, the id is the path
    without its suffix, followed by ``#START-END`` for a segment. Columns that are not used are named on standard error.

    Parameters
    ----------
    source : the folder with ``db.yaml``, or that file.
    audio_root : the folder that paths are relative to. The default is the folder of the database.

    Raises
    ------
    GemoclapError : there is no database, or no emotion in it; tables contradict each other; or reading could run code: the
        header has Python objects, tables are pickles, or the name of a table leads out of the folder.
    """
    root = Path(source).parent if Path(source).name == HEADER else Path(source)
    header = _header(root)
    values = _Values(root, header)
    for table, content in _mapping(header, "tables").items():
        values.add_table(table, content)
    if not values.labelled:
        named = ", ".join(_mapping(header, "schemes")) or "none"
        raise GemoclapError(
            f"{root}: no labels for a scheme 'emotion'; schemes: {named}; rename the one that holds them"
        )
    say_unused(root / HEADER, values.unused)
    finder = AudioFinder(Path(audio_root) if audio_root is not None else root)
    usual = {"corpus": known(header.get("name")), "language": _language(header)}
    usual = {field: None if values.has(field) else word for field, word in usual.items()}
    return one_spelling([_utterance(key, values.of(key), usual, finder) for key in values.labelled])


def write_audformat(utterances: Sequence[Utterance], folder: str | os.PathLike) -> None:
    """Write an audformat database with one table, ``utterances``, as CSV, and one scheme per field.

    Fields that most corpora lack (`manifest.OPTIONAL`) have a scheme if a row has them.

    Paths of audio below `folder` are relative, so that the database can be moved. Other paths are absolute. No audio is copied.

    Raises
    ------
    GemoclapError : there is nothing to write, or a database is there already.
    """
    folder = Path(folder)
    if not utterances:
        raise GemoclapError(f"{folder}: nothing to write, the manifest has no rows")
    if (folder / HEADER).exists():
        raise GemoclapError(f"{folder / HEADER}: is there already; remove it or name another folder")
    database = _database(utterances, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as beside:
        database.save(beside, storage_format="csv")
        # The header is written last. Without it there is no database, only files that the next run replaces.
        for path in sorted(Path(beside).iterdir(), key=lambda path: path.name == HEADER):
            path.replace(folder / path.name)


def _header(root: Path) -> dict[str, Any]:
    path = root / HEADER
    if not path.is_file():
        raise GemoclapError(f"{root}: no {HEADER} here; point at the folder of an audformat database")
    pickles = sorted(root.glob("db.*.pkl"))
    if pickles:
        raise GemoclapError(
            f"{pickles[0]}: reading a pickle can run code; delete it, the csv or parquet table is read then"
        )
    try:
        header = parse_yaml(read_text(path))
    except ValueError as error:
        raise GemoclapError(f"{root}: not a readable audformat database ({error}); save it again") from None
    if not isinstance(header, dict) or "name" not in header:
        raise GemoclapError(f"{root}: not a readable audformat database ({HEADER} has no 'name'); save it again")
    for kind in ("tables", "misc_tables"):
        for table in _mapping(header, kind):
            if not (isinstance(table, str) and _PLAIN.fullmatch(table)):
                raise GemoclapError(
                    f"{path}: table {str(table)[:60]!r} may lead out of the folder; rename it with letters, digits, dots, "
                    "hyphens and underscores alone"
                )
    return header


def _mapping(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _language(header: Mapping[str, Any]) -> str | None:
    languages = header.get("languages")
    one = languages[0] if isinstance(languages, list) and len(languages) == 1 else None
    return str(one)[:2] if known(one) else None


def _rows(root: Path, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (position in the file, value by column) for each row of a table's file."""
    parquet, plain = root / f"db.{table}.parquet", root / f"db.{table}.csv"
    if parquet.is_file():
        yield from _parquet_rows(parquet)
    elif plain.is_file():
        yield from read_table(plain, ",")[1]
    else:
        raise GemoclapError(f"{root}: no db.{table}.csv or db.{table}.parquet, though {HEADER} names it; save it again")


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # Imported here, because every command would wait for it, and few tables are stored in this form.
    pyarrow, parquet = (needed(name, f"{path}: Parquet") for name in ("pyarrow", "pyarrow.parquet"))
    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise GemoclapError(f"{path}: not a readable table ({str(error).splitlines()[0]}); save it again") from None
    yield from ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


class _Values:
    """The contents of all tables of a database, by file and segment, and by our fields."""

    def __init__(self, root: Path, header: Mapping[str, Any]) -> None:
        self.root, self.header = root, header
        self.labelled: dict[_Key, None] = {}
        """The segments in the tables with a column of emotions, in the order of the tables."""
        self.unused: dict[str, None] = {}
        self._found: dict[str, dict[_Key, str]] = {field: {} for field in SCHEMES}
        self._columns: set[str] = set()

    def has(self, field: str) -> bool:
        """Return whether any table has a column of a field."""
        return field in self._columns

    def of(self, key: _Key) -> dict[str, str | None]:
        """Return the fields of a segment. Values for a whole file also hold for its segments."""
        whole = (key[0], None, None)
        return {field: found.get(key, found.get(whole)) for field, found in self._found.items()}

    def add_table(self, table: str, content: Any) -> None:
        """Add the rows of a table."""
        columns = _mapping(content, "columns") if isinstance(content, dict) else {}
        sources = {column: self._fields_of(column, about) for column, about in columns.items()}
        self.unused |= dict.fromkeys(column for column, fields in sources.items() if not fields)
        fields = {field for found in sources.values() for field in found}
        self._columns |= fields
        if not fields:
            return
        for where, row in _rows(self.root, table):
            key = _key(row, where)
            if "emotion" in fields:
                self.labelled[key] = None
            for column, found in sources.items():
                for field, words in found.items():
                    self._set(field, key, _translate(row.get(column), words), where)

    def _set(self, field: str, key: _Key, word: str | None, where: str) -> None:
        if word is None:
            return
        known_one = self._found[field].setdefault(key, word)
        if known_one != word:
            raise GemoclapError(
                f"{self.root}: its tables contradict each other ({SCHEMES[field]} of {key[0]} is "
                f"{word!r} here and {known_one!r} elsewhere); keep one table of labels"
            )

    def _fields_of(self, column: str, about: Any) -> dict[str, dict[str, Any] | None]:
        """Return the fields that a column has values for. Each has a map from values to words; None if the values are words."""
        scheme = about.get("scheme_id") if isinstance(about, dict) else None
        name = scheme if scheme is not None else column
        fields = {scheme: field for field, scheme in SCHEMES.items()}
        labels = self._labels(scheme)
        found: dict[str, dict[str, Any] | None] = {}
        if name in fields and (fields[name] not in OPTIONAL or column == name):  # not one column for each rater
            own = {value: said for value, said in labels.items() if not isinstance(said, dict)}
            found[fields[name]] = own or None
        inside = {one for said in labels.values() if isinstance(said, dict) for one in said}
        for one in inside & fields.keys() - {name}:
            found[fields[one]] = {value: said.get(one) for value, said in labels.items() if isinstance(said, dict)}
        return found

    def _labels(self, scheme: str | None) -> dict[str, Any]:
        """Return value -> its word, or several words by name. It is empty if the values are words."""
        about = _mapping(self.header, "schemes").get(scheme) if scheme is not None else None
        labels = about.get("labels") if isinstance(about, dict) else None
        if isinstance(labels, str) and labels in _mapping(self.header, "misc_tables"):
            levels = _levels(_mapping(self.header, "misc_tables")[labels])
            return {
                str(name(row.get(levels[0]))): {one: value for one, value in row.items() if one not in levels}
                for _, row in _rows(self.root, labels)
                if levels
            }
        return {str(name(value)): said for value, said in labels.items()} if isinstance(labels, dict) else {}


def _levels(table: Any) -> list[str]:
    levels = table.get("levels") if isinstance(table, dict) else None
    return [str(one) for one in levels] if isinstance(levels, dict | list) else []


def _translate(value: Any, words: Mapping[str, Any] | None) -> str | None:
    word = name(value)
    return word if words is None or word is None else name(words.get(word))


def _key(row: Mapping[str, Any], where: str) -> _Key:
    file = known(row.get("file"))
    if file is None:
        raise GemoclapError(f"{where}: the row names no file; save the database again")
    start, end = seconds(row.get("start"), "start", where), seconds(row.get("end"), "end", where)
    # A whole file is written as a segment from 0 without an end.
    return (file, (start or 0.0) if start or end is not None else None, end)


def _utterance(
    key: _Key, words: Mapping[str, str | None], usual: Mapping[str, str | None], finder: AudioFinder
) -> Utterance:
    file, start, end = key
    gender = (words["gender"] or "").lower()
    dimensions: dict[str, Any] = {field: number(words[field], field, file) for field in DIMENSIONS}
    return Utterance(
        id=words["id"] or id_of(file, start, end),
        path=finder(file),
        start=start,
        end=end,
        corpus=words["corpus"] or usual["corpus"],
        session=words["session"],
        speaker=words["speaker"],
        gender=gender if gender in GENDERS else None,
        emotion=canonical_emotion(words["emotion"]) if words["emotion"] else None,
        text=words["text"],
        language=words["language"] or usual["language"],
        partition=partition(words["partition"]),
        votes=votes_of(words["votes"], file),
        **dimensions,
    )


def _database(utterances: Sequence[Utterance], folder: Path) -> audformat.Database:
    # Imported here, because it is an extra, and takes a second that other commands should not wait for.
    audformat = _audformat()
    corpora = sorted({utterance.corpus for utterance in utterances if utterance.corpus})
    database = audformat.Database(
        name=corpora[0] if len(corpora) == 1 else folder.resolve().name,
        source="gemoclap",
        usage="other",
        description=f"{counted(len(utterances), 'utterance')} exported from a gemoclap manifest; "
        "see the corpora's own licences.",
        languages=sorted({utterance.language for utterance in utterances if utterance.language}),
    )
    table = audformat.Table(_index(utterances, folder))
    database[TABLE] = table
    for field, scheme in SCHEMES.items():
        values = [getattr(utterance, field) for utterance in utterances]
        if field in OPTIONAL and all(value is None for value in values):
            continue
        if field == "votes":
            values = list(map(votes_text, values))
        kind = "float" if field in DIMENSIONS else "str"
        database.schemes[scheme] = audformat.Scheme(kind, labels=_labels(field, values))
        table[scheme] = audformat.Column(scheme_id=scheme)
        table[scheme].set(values)
    return database


def _labels(field: str, values: list[Any]) -> list[str] | None:
    seen = {value for value in values if value is not None}
    fixed = {"emotion": EMOTIONS, "gender": GENDERS, "speaker": ()}.get(field)
    return None if fixed is None or not (seen or fixed) else [*fixed, *sorted(seen - set(fixed))]


def _audformat() -> Any:
    return needed("audformat", "writing an audformat database")


def _index(utterances: Sequence[Utterance], folder: Path) -> pd.Index:
    audformat, pd = _audformat(), needed("pandas", "writing an audformat database")
    names = [relative_to(utterance.path, folder).as_posix() for utterance in utterances]
    if all(utterance.start is None and utterance.end is None for utterance in utterances):
        return audformat.filewise_index(names)
    starts = [pd.to_timedelta(utterance.start or 0.0, unit="s") for utterance in utterances]
    ends = [pd.NaT if utterance.end is None else pd.to_timedelta(utterance.end, unit="s") for utterance in utterances]
    return audformat.segmented_index(names, starts, ends)
