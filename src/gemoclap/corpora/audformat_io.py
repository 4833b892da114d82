"""audformat databases (audEERING): ``db.yaml`` with schemes, and tables of labels by file or by segment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import audformat
import pandas as pd
import yaml

from gemoclap.corpora.layout import AudioFinder
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.labels import EMOTIONS, GENDERS, canonical_emotion

HEADER = "db.yaml"
TABLE = "utterances"
SCHEMES = {
    "id": "id", "corpus": "corpus", "session": "session", "speaker": "speaker", "gender": "gender",
    "emotion": "emotion", "text": "transcription", "language": "language",
}  # fmt: skip
"""Field -> scheme; the names are those of audEERING's published databases, as far as these have one."""


def read_audformat(source: str | os.PathLike, audio_root: str | os.PathLike | None = None) -> list[Utterance]:
    """Read the labels of an audformat database: schemes emotion, and where there are, speaker, gender, transcription.

    A gender kept with the speaker's labels, as is usual, is found too. Without a scheme *id* the id is the path without
    its suffix, with ``#START-END`` after it for a segment.

    Parameters
    ----------
    source : folder with ``db.yaml``, or that file.
    audio_root : the folder that the files start from; without it, the database's.

    Raises
    ------
    GemoclapError : no database, no emotion in it, tables that contradict each other, or what could run code when read:
        a header with Python objects, tables stored as pickles.
    """
    root = Path(source).parent if Path(source).name == HEADER else Path(source)
    database = _load(root)
    wanted = [scheme for field, scheme in SCHEMES.items() if field != "emotion"]
    try:
        frame = database.get(SCHEMES["emotion"], wanted)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise GemoclapError(f"{root}: its tables contradict each other ({reason}); keep one table of labels") from None
    if frame.empty:
        known = ", ".join(database.schemes) or "none"
        raise GemoclapError(
            f"{root}: no labels for a scheme 'emotion'; schemes: {known}; rename the one that holds them"
        )
    frame = frame.set_index(audformat.utils.to_segmented_index(frame.index))
    language = database.languages[0][:2] if len(database.languages) == 1 and not _has(database, "language") else None
    finder = AudioFinder(Path(audio_root) if audio_root is not None else root)
    return [
        _utterance(index, values, database, finder, language)
        for index, values in zip(frame.index, frame.to_dict("records"), strict=True)
    ]


def write_audformat(utterances: Sequence[Utterance], folder: str | os.PathLike) -> None:
    """Write an audformat database with one table, ``utterances``, and a scheme a field; tables are CSV.

    Audio under `folder` is named relatively, which makes the database portable, else absolutely. No audio is copied.

    Raises
    ------
    GemoclapError : nothing to write, or a database is there already.
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
        # The header last: without it there is no database, only files that the next run replaces.
        for path in sorted(Path(beside).iterdir(), key=lambda path: path.name == HEADER):
            path.replace(folder / path.name)


def _load(root: Path) -> audformat.Database:
    header = root / HEADER
    if not header.is_file():
        raise GemoclapError(f"{root}: no {HEADER} here; point at the folder of an audformat database")
    pickles = sorted(root.glob("db.*.pkl"))
    if pickles:
        raise GemoclapError(
            f"{pickles[0]}: reading a pickle can run code; delete it, the csv or parquet table is read then"
        )
    try:
        # audformat reads the header with a loader that can build any Python object; the safe one refuses those.
        yaml.safe_load(header.read_text(encoding="utf-8"))
        return audformat.Database.load(str(root), load_data=True)
    except (yaml.YAMLError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise GemoclapError(f"{root}: not a readable audformat database ({reason}); save it again") from None


def _has(database: audformat.Database, scheme: str) -> bool:
    return any(scheme in table.columns for table in database.tables.values())


def _utterance(
    index: tuple[str, pd.Timedelta, Any],
    values: dict[str, Any],
    database: audformat.Database,
    finder: AudioFinder,
    language: str | None,
) -> Utterance:
    name, begin, finish = index
    end = None if pd.isna(finish) else finish.total_seconds()
    start = begin.total_seconds() if begin or end is not None else None
    words = {field: _word(values.get(scheme)) for field, scheme in SCHEMES.items()}
    stretch = "" if start is None else f"#{start:g}-{'' if end is None else f'{end:g}'}"
    gender = (words["gender"] or "").lower()
    return Utterance(
        id=words["id"] or Path(name).with_suffix("").as_posix() + stretch,
        path=finder(name),
        start=start,
        end=end,
        corpus=words["corpus"] or (None if _has(database, "corpus") else database.name),
        session=words["session"],
        speaker=words["speaker"],
        gender=gender if gender in GENDERS else None,
        emotion=canonical_emotion(words["emotion"]) if words["emotion"] else None,
        text=words["text"],
        language=words["language"] or language,
    )


def _word(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)


def _database(utterances: Sequence[Utterance], folder: Path) -> audformat.Database:
    corpora = sorted({utterance.corpus for utterance in utterances if utterance.corpus})
    database = audformat.Database(
        name=corpora[0] if len(corpora) == 1 else folder.resolve().name,
        source="gemoclap",
        usage="other",
        description=f"{len(utterances)} utterances exported from a gemoclap manifest; see the corpora's own licences.",
        languages=sorted({utterance.language for utterance in utterances if utterance.language}),
    )
    table = audformat.Table(_index(utterances, folder.resolve()))
    database[TABLE] = table
    for field, scheme in SCHEMES.items():
        values = [getattr(utterance, field) for utterance in utterances]
        database.schemes[scheme] = audformat.Scheme("str", labels=_labels(field, values))
        table[scheme] = audformat.Column(scheme_id=scheme)
        table[scheme].set(values)
    return database


def _labels(field: str, values: list[str | None]) -> list[str] | None:
    seen = {value for value in values if value is not None}
    fixed = {"emotion": EMOTIONS, "gender": GENDERS, "speaker": ()}.get(field)
    return None if fixed is None or not (seen or fixed) else [*fixed, *sorted(seen - set(fixed))]


def _index(utterances: Sequence[Utterance], folder: Path) -> pd.Index:
    files = [Path(utterance.path).resolve() for utterance in utterances]
    names = [(file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix() for file in files]
    if all(utterance.start is None and utterance.end is None for utterance in utterances):
        return audformat.filewise_index(names)
    starts = [pd.to_timedelta(utterance.start or 0.0, unit="s") for utterance in utterances]
    ends = [pd.NaT if utterance.end is None else pd.to_timedelta(utterance.end, unit="s") for utterance in utterances]
    return audformat.segmented_index(names, starts, ends)
