"""nEMO (Christop 2024): nine actors, ninety sentences, six emotions, Polish; ``data.tsv`` beside ``samples/``."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from gemoclap.corpora.layout import audio_by_stem, require_folder
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.files import read_text
from gemoclap.labels import GENDERS, canonical_emotion

TABLE = "data.tsv"
COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id", "gender")

FOLDS = {
    "folds": "lists",
    "test_speakers": [["EB0", "KS0", "SM0"], ["IC0", "MK0", "TP0"], ["KD0", "MP0", "WR0"]],
}
"""Three folds with three speakers each. Every fold has women and men [C]."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read ``data.tsv`` in `root`, in a folder in it, or in the folder above it if `root` is the folder ``samples``.

    Audio is found by ``file_id`` without its suffix. If the audio of a row is missing, the row has the path where the file
    should be, so that ``gemoclap inspect`` reports it.

    Raises
    ------
    GemoclapError : there is no such folder or no ``data.tsv``; the table lacks a column; or a row is cut off.
    """
    table = _find_table(require_folder(root))
    samples = table.parent / "samples"
    audio = audio_by_stem(samples)
    with io.StringIO(read_text(table), newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise GemoclapError(f"{table}: no column {missing[0]!r} in its first line; download nEMO's data.tsv again")
        return [_utterance(row, samples, audio, f"{table}:{reader.line_num}") for row in reader]


def _find_table(root: Path) -> Path:
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir()), root.absolute().parent]
    for folder in folders:
        if (folder / TABLE).is_file() and (folder / "samples").is_dir():
            return folder / TABLE
    raise GemoclapError(f"{root}: no {TABLE} beside samples/ here; give the folder that has both (nEMO)")


def _utterance(row: dict[str, str | None], samples: Path, audio: dict[str, Path], where: str) -> Utterance:
    values = {column: (row[column] or "").strip() for column in COLUMNS}  # speaker_id is padded with blanks
    empty = [column for column in COLUMNS if not values[column]]
    if empty:
        raise GemoclapError(f"{where}: the row has no {empty[0]}; download nEMO's data.tsv again")
    stem = Path(values["file_id"]).stem
    gender = values["gender"].lower()
    return Utterance(
        id=stem,
        path=str(audio.get(stem, samples / values["file_id"])),
        corpus="nemo",
        speaker=values["speaker_id"],
        gender=gender if gender in GENDERS else None,
        emotion=canonical_emotion(values["emotion"]),
        text=values["raw_text"],
        language="pl",
    )
