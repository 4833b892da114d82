"""MSP-Podcast (Lotfian and Busso 2019): spontaneous speech from podcasts, with the labels of many raters, English.

``Labels/labels_consensus.csv`` has the emotion, the partition, the speaker and the gender of each clip in ``Audios/``, and
``Labels/labels_detailed.csv`` a row for each rater of a clip. ``Transcripts/`` has a file of text for each, in newer releases.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gemoclap.corpora.layout import audio_by_stem, require_folder
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.tables import read_table, require_utf8
from gemoclap.corpora.values import known, name, number, partition
from gemoclap.errors import GemoclapError
from gemoclap.labels import GENDERS, canonical_emotion

TABLES = ("labels_consensus.csv", "labels_concensus.csv")
"""The second is how older releases spell it."""
DIMENSIONS = {"valence": "EmoVal", "arousal": "EmoAct", "dominance": "EmoDom"}
"""Means of the raters, from 1 to 7."""
RATERS, HEARD = "labels_detailed.csv", "EmoClass_Major"
"""Table of the raters, and its column with the one emotion that each of them chose."""
COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender", "Split_Set", *DIMENSIONS.values())
EMOTIONS = {
    "A": "angry", "S": "sad", "H": "happy", "U": "surprised", "F": "fearful", "D": "disgusted", "C": "contemptuous",
    "N": "neutral", "O": "other", "X": None,
}  # fmt: skip
"""X is no agreement between the raters."""
FOLDS = {"folds": "partitions", "test_partitions": ["test1"]}
"""The corpus's own partitions, tested on Test1 [S: EmoBox]."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read a release at `root`, or in a folder directly under it; its clips may have been converted.

    If the clip of a row is missing, the row has the path where it should be, so that ``gemoclap inspect`` reports it. Rows
    without labels (Test3) have no emotion.

    Raises
    ------
    GemoclapError : no such folder, no table of labels, or one without the columns or with an unknown letter.
    """
    table = _find_table(require_folder(root))
    release = table.parent.parent if table.parent.name.lower().startswith("label") else table.parent
    folder = _folder(release, "audio") or release / "Audios"
    audio = audio_by_stem(folder) if folder.is_dir() else {}
    texts = _folder(release, "transcript")
    votes = _votes(table.parent / RATERS)
    rows = list(_rows(table, COLUMNS))
    for where, row in rows:
        require_utf8(row, where, ("FileName",))
    return [_utterance(row, audio, folder, texts, votes, where) for where, row in rows]


def _rows(table: Path, columns: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    header, rows = read_table(table, ",")
    for column in columns:
        if column not in header:
            raise GemoclapError(f"{table}: no column {column!r} in its first line; unpack the release again")
    return rows


def _votes(table: Path) -> dict[str, dict[str, float]]:
    """Return the name of a clip -> emotion -> number of raters; empty without a table."""
    found: dict[str, dict[str, float]] = {}
    for _, row in _rows(table, ("FileName", HEARD)) if table.is_file() else ():
        word = _emotion_word(row[HEARD])
        if word is not None:
            counts = found.setdefault(Path(row["FileName"].strip()).stem, {})
            counts[word] = counts.get(word, 0.0) + 1
    return found


def _emotion_word(cell: str) -> str | None:
    """Return the emotion that a rater chose: a word, a letter, or a word of the rater's own, which is other."""
    word = known(cell)
    if word is None or word in EMOTIONS:
        return EMOTIONS.get(word or "")
    emotion = canonical_emotion(word)
    return emotion if emotion in EMOTIONS.values() else "other"


def _find_table(root: Path) -> Path:
    for folder in _folders(root):
        for table in TABLES:
            if (folder / table).is_file():
                return folder / table
    raise GemoclapError(f"{root}: no Labels/{TABLES[0]} here; point at the folder of an MSP-Podcast release")


def _folders(root: Path) -> Iterator[Path]:
    """Yield `root`, the folders in it, and those in them, the nearest first."""
    inside = sorted(path for path in root.iterdir() if path.is_dir())
    yield from (root, *inside)
    for folder in inside:
        if (folder / "Labels").is_dir():
            yield folder / "Labels"


def _folder(release: Path, word: str) -> Path | None:
    """Return the folder whose name begins with a word, in upper or lower case."""
    fitting = (path for path in sorted(release.iterdir()) if path.is_dir() and path.name.lower().startswith(word))
    return next(fitting, None)


def _utterance(
    row: dict[str, str],
    audio: dict[str, Path],
    folder: Path,
    texts: Path | None,
    votes: dict[str, dict[str, float]],
    where: str,
) -> Utterance:
    file = known(row["FileName"])
    if file is None:
        raise GemoclapError(f"{where}: the row names no file; unpack the release again")
    stem = Path(file).stem
    gender = row["Gender"].strip().lower()
    dimensions: dict[str, Any] = {field: number(row[column], column, where) for field, column in DIMENSIONS.items()}
    return Utterance(
        id=stem,
        path=str(audio.get(stem, folder / file)),
        corpus="msppodcast",
        speaker=name(row["SpkrID"]),
        gender=gender if gender in GENDERS else None,
        emotion=_emotion(known(row["EmoClass"]), where),
        text=_text(texts, stem) if texts else None,
        language="en",
        partition=partition(row["Split_Set"]),
        votes=votes.get(stem),
        **dimensions,
    )


def _emotion(letter: str | None, where: str) -> str | None:
    if letter is not None and letter not in EMOTIONS:
        raise GemoclapError(f"{where}: EmoClass {letter!r} is none of {', '.join(EMOTIONS)}; unpack the release again")
    return EMOTIONS[letter] if letter else None


def _text(folder: Path, stem: str) -> str | None:
    try:
        return known(" ".join((folder / f"{stem}.txt").read_text(encoding="utf-8-sig", errors="replace").split()))
    except OSError:
        return None
