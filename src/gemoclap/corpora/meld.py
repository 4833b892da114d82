"""MELD (Poria et al. 2019): clips from a television series with many speakers, seven emotions, English.

There are three tables of labels, ``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv``, and a folder of clips
for each. The numbers of dialogues begin anew in each partition, so that a clip is known by its folder and its name,
``train_splits/dia0_utt0.mp4``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from gemoclap.corpora.layout import audio_below, composed, files_named, require_folder
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.tables import read_table
from gemoclap.corpora.values import known, name
from gemoclap.errors import GemoclapError
from gemoclap.labels import canonical_emotion

CLIPS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
"""Partition -> folder of its clips in the release."""
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "Season")
GENDERS = {
    "chandler": "male", "joey": "male", "ross": "male", "monica": "female", "phoebe": "female", "rachel": "female",
}  # fmt: skip
"""Genders of the six leading roles, who speak most of the utterances. The tables have no genders."""

FOLDS = {"folds": "kfold", "n_folds": 6}
"""One leading role in each fold [C]. In MELD's own partitions all six are in training and in test."""

_CLIP = re.compile(r"(?:final_videos_test)?(?P<name>dia\d+_utt\d+)")
"""Some test clips are there a second time under a longer name."""
_PARTITION = re.compile(r"train|dev|val|test", re.IGNORECASE)
_MARKS = {0x80 + place: bytes([0x80 + place]).decode("cp1252", errors="ignore") for place in range(0x20)}
"""Windows' quotes and dashes, which the tables have as control characters in some copies, and as odd bytes in others."""
_MARKS |= {0xDC00 + byte: bytes([byte]).decode("cp1252", errors="ignore") for byte in range(0x80, 0x100)}


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read the three tables and the clips in `root`, in video or audio formats.

    If the clip of a row is missing, the row has the path where it should be, so that ``gemoclap inspect`` reports it.

    Raises
    ------
    GemoclapError : no such folder, no table in it, or a table without the columns or with a row that cannot be read.
    """
    root = require_folder(root)
    tables = {partition: _table(root, partition) for partition in CLIPS}
    found = {partition: table for partition, table in tables.items() if table is not None}
    if not found:
        raise GemoclapError(f"{root}: no train_sent_emo.csv here (MELD); copy MELD's three tables of labels into it")
    clips = _clips(audio_below(root).files, root)
    return [row for partition, table in found.items() for row in _rows(table, partition, clips)]


def _table(root: Path, partition: str) -> Path | None:
    """Return the table of a partition, the one nearest to `root`."""
    tables = files_named(root, f"{partition}_sent_emo.csv")
    return min(tables, key=lambda path: (len(path.parts), path), default=None)


def _clips(files: Iterable[Path], root: Path) -> dict[tuple[str, str], Path]:
    """Return (partition, dia0_utt0) -> file; a clip of the plain name is preferred to one of a longer name."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(files, key=lambda path: (len(path.name), path)):
        match, partition = _CLIP.fullmatch(composed(path.stem)), _partition(path.relative_to(root).parts[:-1])
        if match and partition:
            found.setdefault((partition, match["name"]), path)
    return found


def _partition(folders: Iterable[str]) -> str | None:
    """Return the partition that the names of the folders say, the innermost first."""
    matches = (_PARTITION.search(folder) for folder in reversed(tuple(folders)))
    word = next((match[0].lower() for match in matches if match), None)
    return "dev" if word == "val" else word


def _rows(table: Path, partition: str, clips: dict[tuple[str, str], Path]) -> list[Utterance]:
    header, rows = read_table(table, ",")
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise GemoclapError(f"{table}: no column {missing[0]!r} in its first line; download MELD's tables again")
    return [_utterance(row, partition, table.parent, clips, where) for where, row in rows]


def _utterance(
    row: dict[str, str], partition: str, folder: Path, clips: dict[tuple[str, str], Path], where: str
) -> Utterance:
    dialogue, number = name(row["Dialogue_ID"]), name(row["Utterance_ID"])
    if not (dialogue and number and known(row["Emotion"])):
        raise GemoclapError(f"{where}: the row lacks its numbers or its emotion; download MELD's tables again")
    clip = f"dia{dialogue}_utt{number}"
    speaker = known(row["Speaker"].translate(_MARKS))
    return Utterance(
        id=f"{clip}_{partition}",  # as EmoBox calls it, so that its folds can be used
        path=str(clips.get((partition, clip), folder / CLIPS[partition] / f"{clip}.mp4")),
        corpus="meld",
        session=name(row["Season"]),
        speaker=speaker,
        gender=GENDERS.get((speaker or "").casefold()),
        emotion=canonical_emotion(row["Emotion"]),
        text=known(row["Utterance"].translate(_MARKS)),
        language="en",
        partition=partition,
    )
