"""Tables with an utterance per line, CSV or TSV. Columns are called like the fields of a manifest, or as in other toolkits."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from gemoclap.corpora.judgements import Judgement, about_labels, join_judgements, most_voted
from gemoclap.corpora.layout import AudioFinder, without_suffix
from gemoclap.corpora.manifest import DIMENSIONS, FIELDS, OPTIONAL, Utterance, read_votes
from gemoclap.corpora.speakers import one_spelling
from gemoclap.corpora.tables import (
    by_plain_name,
    column_called,
    open_table,
    plain_name,
    require_utf8,
    say_unused,
    shown_columns,
    with_point,
)
from gemoclap.corpora.values import known, name, number, partition, seconds
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.files import parse_json, relative_to, to_json
from gemoclap.labels import canonical_emotion, canonical_votes, folded
from gemoclap.writing import as_unicode, atomic_write, is_stream

logger = logging.getLogger(__name__)

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
    "rater": ("rater", "rater_id", "annotator", "annotator_id", "worker", "worker_id", "evaluator"),
}
"""Field, or ``rater`` -> names of its column. Case, blanks, ``_`` and ``-`` do not matter: ``Speaker ID``. If a table has
several of them, the first one is used."""

GENDER_WORDS = {
    "female": "female", "f": "female", "woman": "female", "w": "female", "weiblich": "female", "frau": "female",
    "femme": "female", "mujer": "female", "femenino": "female", "donna": "female", "kobieta": "female", "女": "female",
    "女性": "female",
    "male": "male", "m": "male", "man": "male", "männlich": "male", "mann": "male", "homme": "male", "hombre": "male",
    "masculino": "male", "uomo": "male", "mężczyzna": "male", "男": "male", "男性": "male",
}  # fmt: skip
"""Words for genders, as `labels.folded` writes them. A letter that is the other gender in another language is not among them,
except m."""


def read_csv_manifest(
    source: str | os.PathLike,
    audio_root: str | os.PathLike | None = None,
    columns: Mapping[str, str] | None = None,
    votes: Mapping[str, str] | None = None,
) -> list[Utterance]:
    """Read a CSV (comma or semicolon) or TSV table with a header line.

    There must be a column of paths. The other columns of `ALIASES` are read if they exist. Columns that are not used are listed
    on standard error. An unknown value can be empty or a word (`values.MISSING`). Times are read by `values.seconds`. Numbers
    can have a comma (``1,5``) unless it separates the cells. Without a column of ids, the id is the path without its suffix,
    followed by ``#START-END`` for a part of a file. If there is a column of raters, a clip can have a row for each of them
    (`judgements.join_judgements`).

    Parameters
    ----------
    audio_root : the folder that paths are relative to. The default is the folder of the table.
    columns : field -> name of its column, for columns that are not called as in `ALIASES`.
    votes : emotion -> name of the column with the number of its votes. Without a column of labels, the label is the emotion
        with the most votes.

    Raises
    ------
    GemoclapError : there is no such file, no column of paths, or none of those in `columns` or `votes`; a row is malformed
        (`tables.open_table`); or a row has no path to a file, a gender or time that cannot be read, text that is not UTF-8, or
        the id of another row. The message has the line.
    """
    path = Path(source)
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "no such file"
        raise GemoclapError(f"{path}: {what}; name a CSV or TSV table with a header line")
    finder = AudioFinder(Path(audio_root) if audio_root is not None else path.parent)
    table = open_table(path)
    chosen = _columns(table.header, path, columns or {})
    counted_in = _vote_columns(votes or {}, table.header, path, chosen)
    used = {*chosen.values(), *counted_in.values()}
    unused = [column for column in table.header if column not in used]
    judgements: list[Judgement] = []
    seen: dict[str, Judgement] = {}
    for where, row in table.rows:
        one = _judgement(row, chosen, counted_in, table.delimiter, finder, where)
        if one.row.id in seen and "rater" not in chosen:
            raise GemoclapError(_id_twice(one, seen[one.row.id], chosen, unused))
        seen[one.row.id] = one
        judgements.append(one)
    if not judgements:
        raise GemoclapError(f"{path}: has column names and no rows; add a line per utterance")
    several = len(seen) < len(judgements)
    say_unused(path, unused if several or "rater" not in chosen else [*unused, chosen["rater"]])
    # Before judgements are joined, so that votes for two spellings of a label are votes for one emotion.
    rows = one_spelling([one.row for one in judgements])
    if several:
        return join_judgements([replace(one, row=row) for one, row in zip(judgements, rows, strict=True)], str(path))
    if counted_in and "emotion" not in chosen:
        logger.warning("%s: %s", path, about_labels(rows))
    return rows


def _judgement(
    row: Mapping[str, str],
    columns: Mapping[str, str],
    votes: Mapping[str, str],
    delimiter: str,
    finder: AudioFinder,
    where: str,
) -> Judgement:
    """Return the utterance of a row of the table, and its rater. `columns` and `votes` are field and emotion -> column."""
    cells = row if delimiter == "," else {column: with_point(cell) for column, cell in row.items()}
    values = {field: (cells if field in NUMBERS else row)[column] for field, column in columns.items()}
    utterance = _utterance(values, finder, where)
    if votes:
        counts = {
            word: number(cells[column], f"the number of votes for {word!r}", where) for word, column in votes.items()
        }
        heard = (
            read_votes({word: count or 0.0 for word, count in counts.items()}, where) if any(counts.values()) else None
        )
        label = utterance.emotion if "emotion" in columns else most_voted(heard or {})
        utterance = replace(utterance, votes=heard, emotion=label)
    return Judgement(utterance, name(values.get("rater")), where)


def _vote_columns(
    votes: Mapping[str, str], header: Sequence[str], path: Path, chosen: Mapping[str, str]
) -> dict[str, str]:
    """Return emotion -> name of the column of its votes."""
    if votes and "votes" in chosen:
        raise GemoclapError(f"{path}: --votes would replace the column {chosen['votes']!r}; leave one of the two out")
    known = by_plain_name(header)
    found: dict[str, str] = {}
    for word, column in votes.items():
        emotion = canonical_emotion(word)
        if emotion in found:
            raise GemoclapError(
                f"--votes: {word} is the emotion {emotion}, which has a column already; give each one column"
            )
        named = _column_for(f"votes for {word}", column, known, path)
        if named in found.values():
            raise GemoclapError(f"--votes: two emotions have the column {named!r}; give each a column of its own")
        found[emotion] = named
    return found


def _id_twice(one: Judgement, earlier: Judgement, columns: Mapping[str, str], unused: Iterable[str]) -> str:
    name, line = one.row.id, earlier.where.rpartition(":")[2]
    if "id" in columns:
        return f"{one.where}: id {name!r} is already on line {line}; make it unique"
    if any(getattr(one.row, field) != getattr(earlier.row, field) for field in ("path", "start", "end")):
        return f"{one.where}: another clip on line {line} is called {name} too; drop one, or name both in a column id"
    rest = ", ".join(column for column in unused if column.strip())
    cure = "if the rows are parts of a file, name the columns start and end; if they are judgements of raters, the column rater"
    return f"{one.where}: the same clip as on line {line}, {name}; {cure}" + (
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
    known = by_plain_name(header)
    columns = {field: _given_column(field, column, known, path) for field, column in given.items()}
    free = {plain: column for plain, column in known.items() if column not in columns.values()}
    for field, aliases in ALIASES.items():
        column = column_called(aliases, free)
        if field not in columns and column is not None:
            columns[field] = column
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
    return _column_for(f"the {field}", column, known, path)


def _column_for(what: str, column: str, known: Mapping[str, str], path: Path) -> str:
    """Return the name of a column as it is in the table."""
    if plain_name(column) not in known:
        raise GemoclapError(
            f"{path}: no column {column!r}{did_you_mean(column, list(known.values()))} for {what}; columns: "
            f"{shown_columns(known.values())}"
        )
    return known[plain_name(column)]


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
    stretch = "" if start is None and end is None else f"#{start or 0:.10g}-{'' if end is None else f'{end:.10g}'}"
    whole = Path(path.replace("\\", "/"))
    return whole.with_name(without_suffix(whole.name)).as_posix() + stretch


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
    if folded(value) not in GENDER_WORDS:
        raise GemoclapError(
            f"{where}: gender must be female or male (or f, m), not {value!r}; write one of these words, or leave it empty "
            "where it is unknown"
        )
    return GENDER_WORDS[folded(value)]
