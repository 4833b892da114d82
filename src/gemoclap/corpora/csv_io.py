"""Tables with an utterance per line, CSV or TSV. Columns are called like the fields of a manifest, or as in other toolkits."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from gemoclap.corpora.layout import AudioFinder
from gemoclap.corpora.manifest import DIMENSIONS, FIELDS, OPTIONAL, Utterance, read_votes
from gemoclap.corpora.speakers import one_spelling
from gemoclap.corpora.tables import open_table, require_utf8, say_unused, shown_columns
from gemoclap.corpora.values import known, name, number, partition, seconds
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import parse_json, relative_to, to_json
from gemoclap.labels import canonical_emotion, canonical_votes, folded
from gemoclap.writing import as_unicode, atomic_write, is_stream

NUMBERS = ("start", "end", *DIMENSIONS)
"""Fields whose cells are numbers."""

ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "utterance_id", "utt_id", "key"),
    "path": ("path", "file", "filename", "file_name", "file_path", "filepath", "wav", "audio", "audio_path"),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "corpus": ("corpus", "dataset", "database"),
    "session": ("session",),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "actor"),
    "gender": ("gender", "sex"),
    "emotion": ("emotion", "label", "emo"),
    "text": ("text", "transcription", "transcript", "sentence"),
    "language": ("language", "lang"),
    "partition": ("partition", "split", "split_set"),
    "valence": ("valence", "emoval"),
    "arousal": ("arousal", "activation", "emoact"),
    "dominance": ("dominance", "emodom"),
    "votes": ("votes",),
}
"""Field -> names of its column. Upper and lower case, and blanks, ``_`` and ``-`` are the same: ``Speaker ID``. If a table has
several of them, the first one is used."""

GENDER_WORDS = {
    "female": "female", "f": "female", "woman": "female", "w": "female", "weiblich": "female", "frau": "female",
    "femme": "female", "mujer": "female", "femenino": "female", "donna": "female", "kobieta": "female", "女": "female",
    "女性": "female",
    "male": "male", "m": "male", "man": "male", "männlich": "male", "mann": "male", "homme": "male", "hombre": "male",
    "masculino": "male", "uomo": "male", "mężczyzna": "male", "男": "male", "男性": "male",
}  # fmt: skip
"""Words for genders, in lower case. A letter that is the other gender in another language is not among them, except m."""


def read_csv_manifest(
    source: str | os.PathLike,
    audio_root: str | os.PathLike | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[Utterance]:
    """Read a CSV (comma or semicolon) or TSV table with a header line.

    There must be a column of paths. The other columns of `ALIASES` are read if they exist. Columns that are not used are listed
    on standard error. An unknown value can be empty or a word (`values.MISSING`). Times are read by `values.seconds`. Numbers
    can have a comma (``1,5``) unless it separates the cells. Without a column of ids, the id is the path without its suffix,
    followed by ``#START-END`` for a part of a file.

    Parameters
    ----------
    audio_root : the folder that paths are relative to. The default is the folder of the table.
    columns : field -> name of its column, for columns that are not called as in `ALIASES`.

    Raises
    ------
    GemoclapError : there is no such file, no column of paths, or none of those in `columns`; a row is malformed
        (`tables.open_table`); or a row has no path to a file, a gender or time that cannot be read, text that is not UTF-8, or
        the id of another row. The message has the line.
    """
    path = Path(source)
    if path.is_dir() or not path.exists():
        raise GemoclapError(f"{path}: no such file; name a CSV or TSV table with a header line")
    finder = AudioFinder(Path(audio_root) if audio_root is not None else path.parent)
    utterances: list[Utterance] = []
    seen: dict[str, int] = {}
    table = open_table(path)
    chosen = _columns(table.header, path, columns or {})
    unused = [column for column in table.header if column not in chosen.values()]
    for where, row in table.rows:
        values = {field: row[column] for field, column in chosen.items()}
        if table.delimiter != ",":
            values |= {field: _with_point(values[field]) for field in NUMBERS if field in values}
        utterance = _utterance(values, finder, where)
        if utterance.id in seen:
            raise GemoclapError(_id_twice(utterance.id, where, seen[utterance.id], chosen, unused))
        seen[utterance.id] = int(where.rpartition(":")[2])
        utterances.append(utterance)
    if not utterances:
        raise GemoclapError(f"{path}: has column names and no rows; add a line per utterance")
    say_unused(path, unused)
    return one_spelling(utterances)


def _with_point(cell: str) -> str:
    """Return a number with a point in place of a comma, ``1,5``; other text as it is."""
    return cell.replace(",", ".") if re.fullmatch(r"\s*[+-]?\d*,\d+\s*", cell) else cell


def _id_twice(one: str, where: str, line: int, columns: Mapping[str, str], unused: Iterable[str]) -> str:
    if "id" in columns:
        return f"{where}: id {one!r} is already on line {line}; make it unique"
    rest = ", ".join(column for column in unused if column.strip())
    cure = "if the rows are parts of a file, name the columns start and end; if they are judgements of one clip, write one row"
    return f"{where}: the same clip as on line {line}, {one}; {cure}" + (
        f" (columns that were not used: {as_unicode(rest)}; --columns '{{start: NAME}}' takes one)" if rest else ""
    )


def write_csv_manifest(utterances: Iterable[Utterance], target: str | os.PathLike, overwrite: bool = False) -> None:
    """Write a CSV table with a column for each field. Paths of audio below the folder of the table are relative.

    Fields that most corpora lack (`manifest.OPTIONAL`) have a column if a row has them. Votes are written as JSON.

    Raises
    ------
    GemoclapError : `target` exists, or is a folder.
    """
    path = Path(target)
    if path.exists() and not overwrite and not is_stream(path):
        raise GemoclapError(f"{path}: is there already; remove it or name another file")
    utterances = list(utterances)
    left_out = {field for field in OPTIONAL if all(getattr(row, field) is None for row in utterances)}
    with atomic_write(path) as file:
        columns = [field for field in FIELDS if field not in left_out]
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for utterance in utterances:
            audio = str(relative_to(utterance.path, path.parent))
            writer.writerow(asdict(utterance) | {"path": audio, "votes": votes_text(utterance.votes)})


def _columns(header: list[str], path: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return field -> column name. `given` are columns of other names; what is known of the other fields stays."""
    known: dict[str, str] = {}
    for column in header:
        known.setdefault(_plain(column), column)
    columns = {field: _given_column(field, column, known, path) for field, column in given.items()}
    for field, aliases in ALIASES.items():
        found = (known[_plain(alias)] for alias in aliases if _plain(alias) in known)
        free = [column for column in found if column not in columns.values()]
        if field not in columns and free:
            columns[field] = free[0]
    if "path" not in columns:
        raise GemoclapError(
            f"{path}: no column {' or '.join(ALIASES['path'][:3])} among {shown_columns(header)}; the first line must name the "
            "columns, or 'gemoclap prepare csv' must be told with --columns '{path: NAME}'"
        )
    return columns


def _given_column(field: str, column: str, known: Mapping[str, str], path: Path) -> str:
    if field not in ALIASES:
        raise GemoclapError(
            f"--columns: no field is called {field!r}{did_you_mean(field, list(ALIASES))}; fields: {', '.join(ALIASES)}"
        )
    if _plain(column) not in known:
        raise GemoclapError(
            f"{path}: no column {column!r}{did_you_mean(column, list(known.values()))} for the {field}; columns: "
            f"{shown_columns(known.values())}"
        )
    return known[_plain(column)]


def _plain(column: str) -> str:
    """Return a key that is equal for spellings of a column's name: ``Speaker ID``, ``speaker_id`` and ``SpeakerID``."""
    return re.sub(r"[\s_-]", "", folded(column))


def _utterance(values: dict[str, str], finder: AudioFinder, where: str) -> Utterance:
    path = _path(values["path"], where)
    audio = finder(path)
    _require_utf8(values, audio, where)
    start, end = (seconds(values.get(field), field, where) for field in ("start", "end"))
    emotion = name(values.get("emotion"))
    return Utterance(
        id=name(values.get("id")) or id_of(path, start, end),
        path=audio,
        start=start,
        end=end,
        corpus=name(values.get("corpus")),
        session=name(values.get("session")),
        speaker=name(values.get("speaker")),
        gender=_gender(known(values.get("gender")), where),
        emotion=canonical_emotion(emotion) if emotion else None,
        text=known(values.get("text")),
        language=known(values.get("language")),
        partition=partition(values.get("partition")),
        votes=votes_of(values.get("votes"), where),
        **{field: number(values.get(field), field, where) for field in DIMENSIONS},
    )


def votes_text(votes: Mapping[str, float] | None) -> str | None:
    """Return votes as JSON, for a cell of a table."""
    return None if votes is None else to_json(dict(votes))


def votes_of(cell: str | None, where: str) -> dict[str, float] | None:
    """Return the votes in a cell that `votes_text` wrote, for the words of labels; raises as `manifest.read_votes`."""
    try:
        votes = read_votes(parse_json(cell) if cell and known(cell) else None, where)
    except ValueError:
        votes = read_votes(cell, where)
    return None if votes is None else canonical_votes(votes)


def id_of(path: str, start: float | None, end: float | None) -> str:
    """Return an id for a row without one: the path without its suffix, followed by ``#START-END`` for a part of a file."""
    stretch = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
    return Path(path.replace("\\", "/")).with_suffix("").as_posix() + stretch


def _path(value: str, where: str) -> str:
    path = known(value)
    if path is None:
        raise GemoclapError(f"{where}: the row names no audio file; fill the column or drop the row")
    if path.endswith("/") or Path(path).name in ("", ".."):
        raise GemoclapError(f"{where}: {path!r} is a folder, not an audio file; name a file in it or drop the row")
    return path


def _require_utf8(values: dict[str, str], audio: str, where: str) -> None:
    """Raise a GemoclapError for bytes that are not UTF-8, unless they are in the name of an existing file."""
    require_utf8(values, where, ("id", "path") if os.path.lexists(audio) else ())


def _gender(value: str | None, where: str) -> str | None:
    if value is None:
        return None
    if value.lower() not in GENDER_WORDS:
        raise GemoclapError(
            f"{where}: gender must be female or male (or f, m), not {value!r}; write one of these words, or leave it empty "
            "where it is unknown"
        )
    return GENDER_WORDS[value.lower()]
