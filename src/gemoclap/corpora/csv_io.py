"""Tables of one utterance a line: CSV or TSV, columns named like the manifest's fields or in other toolkits' words."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from gemoclap.corpora.layout import AudioFinder
from gemoclap.corpora.manifest import FIELDS, Utterance
from gemoclap.errors import GemoclapError
from gemoclap.files import atomic_write, read_text
from gemoclap.labels import canonical_emotion

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
}
"""Field -> column names it is read from, in any case; of several in one table the first counts."""

GENDER_WORDS = {
    "female": "female", "f": "female", "woman": "female", "w": "female",
    "male": "male", "m": "male", "man": "male",
}  # fmt: skip


def read_csv(source: str | os.PathLike, audio_root: str | os.PathLike | None = None) -> list[Utterance]:
    """Read a CSV (comma or semicolon) or TSV table with a header line.

    A path column is needed; the others of `ALIASES` are read where they are, unknown columns are passed over. Without
    an id column the id is the path without its suffix, with ``#START-END`` after it for a stretch of a file.

    Parameters
    ----------
    audio_root : the folder that relative paths start from; without it, the table's own.

    Raises
    ------
    GemoclapError : no such file, no path column, or a row without a path, with a gender or time that cannot be read, or
        with an id that another row has; the message names the line.
    """
    path = Path(source)
    if not path.is_file():
        raise GemoclapError(f"{path}: no such file; name a CSV or TSV table with a header line")
    finder = AudioFinder(Path(audio_root) if audio_root is not None else path.parent)
    utterances: list[Utterance] = []
    seen: dict[str, int] = {}
    with io.StringIO(read_text(path), newline="") as file:
        reader = csv.DictReader(file, delimiter=_delimiter(path, file.readline()), restkey="(more)")
        file.seek(0)
        columns = _columns(list(reader.fieldnames or []), path)
        for row in reader:
            where = f"{path}:{reader.line_num}"
            values = {field: (row[column] or "").strip() or None for field, column in columns.items()}
            utterance = _utterance(values, finder, where)
            if utterance.id in seen:
                raise GemoclapError(
                    f"{where}: id {utterance.id!r} is already on line {seen[utterance.id]}; make it unique"
                )
            seen[utterance.id] = reader.line_num
            utterances.append(utterance)
    return utterances


def write_csv(utterances: Iterable[Utterance], target: str | os.PathLike) -> None:
    """Write a CSV table with the manifest's fields as columns; audio under the table's folder is named relatively.

    Raises
    ------
    GemoclapError : `target` is there already, or is a folder.
    """
    path = Path(target)
    if path.exists():
        raise GemoclapError(f"{path}: is there already; remove it or name another file")
    folder = path.parent.resolve()
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for utterance in utterances:
            audio = Path(utterance.path).resolve()
            name = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
            writer.writerow(asdict(utterance) | {"path": str(name)})


def _delimiter(path: Path, header: str) -> str:
    candidates = "\t,;" if path.suffix.lower() == ".tsv" else ",;\t"
    return max(candidates, key=header.count)


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


def _utterance(values: dict[str, str | None], finder: AudioFinder, where: str) -> Utterance:
    name = values.get("path")
    if name is None:
        raise GemoclapError(f"{where}: the row names no audio file; fill the column or drop the row")
    start, end = (_seconds(values.get(field), field, where) for field in ("start", "end"))
    stretch = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
    emotion = values.get("emotion")
    return Utterance(
        id=values.get("id") or Path(name).with_suffix("").as_posix() + stretch,
        path=finder(name),
        start=start,
        end=end,
        corpus=values.get("corpus"),
        session=values.get("session"),
        speaker=values.get("speaker"),
        gender=_gender(values.get("gender"), where),
        emotion=canonical_emotion(emotion) if emotion else None,
        text=values.get("text"),
        language=values.get("language"),
    )


def _seconds(value: str | None, field: str, where: str) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        raise GemoclapError(f"{where}: {field} must be seconds, not {value!r}") from None


def _gender(value: str | None, where: str) -> str | None:
    if value is None:
        return None
    if value.lower() not in GENDER_WORDS:
        raise GemoclapError(
            f"{where}: gender must be female or male (or f, m), not {value!r}; leave it empty where unknown"
        )
    return GENDER_WORDS[value.lower()]
