"""Tables with an utterance per line, CSV or TSV. Columns are called like the fields of a manifest, or as in other toolkits."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from gemoclap.corpora.layout import AudioFinder
from gemoclap.corpora.manifest import DIMENSIONS, FIELDS, OPTIONAL, Utterance, read_votes
from gemoclap.corpora.speakers import one_spelling
from gemoclap.corpora.tables import read_table, require_utf8, say_unused
from gemoclap.corpora.values import known, name, number, partition, seconds
from gemoclap.errors import GemoclapError
from gemoclap.files import parse_json, relative_to, to_json
from gemoclap.labels import canonical_emotion, canonical_votes
from gemoclap.writing import atomic_write, is_stream

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
"""Field -> names of its column, in upper or lower case. If a table has several of them, the first one is used."""

GENDER_WORDS = {
    "female": "female", "f": "female", "woman": "female", "w": "female",
    "male": "male", "m": "male", "man": "male",
}  # fmt: skip


def read_csv_manifest(source: str | os.PathLike, audio_root: str | os.PathLike | None = None) -> list[Utterance]:
    """Read a CSV (comma or semicolon) or TSV table with a header line.

    There must be a column of paths. The other columns of `ALIASES` are read if they exist. Columns that are not used are listed
    on standard error. An unknown value can be empty or a word (`values.MISSING`). Times are read by `values.seconds`. Without a
    column of ids, the id is the path without its suffix, followed by ``#START-END`` for a part of a file.

    Parameters
    ----------
    audio_root : the folder that paths are relative to. The default is the folder of the table.

    Raises
    ------
    GemoclapError : there is no such file or no column of paths; a row is malformed (`tables.read_table`); or a row has no path
        to a file, a gender or time that cannot be read, text that is not UTF-8, or the id of another row. The message has the
        line.
    """
    path = Path(source)
    if path.is_dir() or not path.exists():
        raise GemoclapError(f"{path}: no such file; name a CSV or TSV table with a header line")
    finder = AudioFinder(Path(audio_root) if audio_root is not None else path.parent)
    utterances: list[Utterance] = []
    seen: dict[str, int] = {}
    header, rows = read_table(path)
    columns = _columns(header, path)
    for where, row in rows:
        utterance = _utterance({field: row[column] for field, column in columns.items()}, finder, where)
        if utterance.id in seen:
            raise GemoclapError(f"{where}: id {utterance.id!r} is already on line {seen[utterance.id]}; make it unique")
        seen[utterance.id] = int(where.rpartition(":")[2])
        utterances.append(utterance)
    if not utterances:
        raise GemoclapError(f"{path}: has column names and no rows; add a line per utterance")
    say_unused(path, (column for column in header if column not in columns.values()))
    return one_spelling(utterances)


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


def _columns(header: list[str], path: Path) -> dict[str, str]:
    """Return field -> column name."""
    known = {column.strip().lower(): column for column in header}
    columns = {
        field: next(known[alias] for alias in aliases if alias in known)
        for field, aliases in ALIASES.items()
        if any(alias in known for alias in aliases)
    }
    if "path" not in columns:
        raise GemoclapError(
            f"{path}: no column {' or '.join(ALIASES['path'][:3])} among {', '.join(header) or 'none'}; "
            "the first line must name the columns"
        )
    return columns


def _utterance(values: dict[str, str], finder: AudioFinder, where: str) -> Utterance:
    path = _path(values["path"], where)
    audio = finder(path)
    _require_utf8(values, audio, where)
    start, end = (seconds(values.get(field), field, where) for field in ("start", "end"))
    emotion = known(values.get("emotion"))
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
    return Path(path).with_suffix("").as_posix() + stretch


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
            f"{where}: gender must be female or male (or f, m), not {value!r}; leave it empty where unknown"
        )
    return GENDER_WORDS[value.lower()]
