"""CREMA-D (Cao et al. 2014): 91 actors, twelve sentences, six emotions, English.

A file name is actor, sentence, emotion and level: ``AudioWAV/1001_DFA_ANG_XX.wav``; the actors' sex is in
``VideoDemographics.csv``. The label is the emotion that the actor was asked to express, not the raters' vote. The votes of the
raters who only heard the clip are in ``processedResults/tabulatedVotes.csv``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gemoclap.corpora.layout import describe_by_name, parse_by_name, require_folder
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.tables import read_table
from gemoclap.corpora.values import name, number
from gemoclap.errors import GemoclapError
from gemoclap.labels import GENDERS

EMOTIONS = {
    "ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
ACTORS = range(1001, 1092)
WOMEN = frozenset({
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028, 1029, 1030, 1037,
    1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063, 1072, 1073, 1074, 1075, 1076, 1078,
    1079, 1082, 1084, 1089, 1091,
})  # fmt: skip
"""Sex of the actors, for audio without the table, and for manifests of other toolkits. If the table exists, it is used."""

DEMOGRAPHICS = "VideoDemographics.csv"
VOTES = "tabulatedVotes.csv"
LETTERS = {emotion[0]: word for emotion, word in EMOTIONS.items()}
"""Column of the table of votes -> emotion."""
VOICE_ONLY = 1
"""First digit of the rows' numbers in the table of votes, where raters heard the clip without the picture."""
FOLDS = {"folds": "kfold", "n_folds": 5}
"""About 18 actors per fold [C]. Published splits of CREMA-D have the same speakers in training and test."""

_NAME = re.compile(rf"(?P<actor>\d{{4}})_(?P<sentence>[A-Z]{{3}})_(?P<emotion>{'|'.join(EMOTIONS)})_[A-Z]{{1,2}}")


def _labels(match: re.Match[str]) -> dict[str, str | None]:
    actor = int(match["actor"])
    return {
        "speaker": match["actor"],
        "gender": ("female" if actor in WOMEN else "male") if actor in ACTORS else None,
        "emotion": EMOTIONS[match["emotion"]],
        "text": SENTENCES.get(match["sentence"]),
    }


describe = describe_by_name(_NAME, _labels, corpus="cremad", language="en")
"""Reads the labels from a file name, ``describe(stem, path)``; None if the name is not CREMA-D's."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read all clips under `root`, and tables in, under or above it: the actors' sex and the raters' votes.

    Raises
    ------
    GemoclapError : no such folder, no CREMA-D clip in it, or a table without its columns or with a row that cannot be read.
    """
    root = require_folder(root)
    utterances = parse_by_name(
        root, describe, "AudioWAV/1001_DFA_ANG_XX.wav (CREMA-D: actor, sentence, emotion, level)"
    )
    genders, votes = _genders(root), _votes(root)
    return [
        replace(row, gender=genders.get(row.speaker or "", row.gender), votes=votes.get(row.id)) for row in utterances
    ]


def _genders(root: Path) -> dict[str, str]:
    table = _find(root, DEMOGRAPHICS)
    if table is None:
        return {}
    rows = [(name(row["ActorID"]) or "", row["Sex"].strip().lower()) for _, row in _rows(table, "ActorID", "Sex")]
    return {actor: sex for actor, sex in rows if sex in GENDERS}


def _votes(root: Path) -> dict[str, dict[str, float]]:
    """Return the name of a clip -> emotion -> number of raters, of those who only heard it."""
    table = _find(root, VOTES)
    if table is None:
        return {}
    found: dict[str, dict[str, float]] = {}
    for where, row in _rows(table, "fileName", *LETTERS):
        if next(iter(row.values())).startswith(str(VOICE_ONLY)):
            counts = {word: number(row[letter], letter, where) or 0.0 for letter, word in LETTERS.items()}
            if min(counts.values()) < 0:
                raise GemoclapError(f"{where}: fewer than no votes for an emotion; fetch the table again")
            if any(counts.values()):
                found[row["fileName"].strip()] = {word: count for word, count in counts.items() if count}
    return found


def _find(root: Path, file: str) -> Path | None:
    """Return a table in `root`, directly under it, or above it, there also in processedResults."""
    above = root.absolute().parent
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir()), above, above / "processedResults"]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def _rows(table: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    header, rows = read_table(table, ",")
    for column in columns:
        if column not in header:
            raise GemoclapError(f"{table}: no column {column!r} in its first line; fetch the table again")
    return rows
