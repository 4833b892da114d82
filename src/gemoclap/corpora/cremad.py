"""CREMA-D (Cao et al. 2014): 91 actors, twelve sentences, six emotions, English.

A file name is actor, sentence, emotion and level: ``AudioWAV/1001_DFA_ANG_XX.wav``; the actors' sex is in
``VideoDemographics.csv``. The label is the emotion that the actor was asked to express, not the raters' vote.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import replace
from pathlib import Path

from gemoclap.corpora.layout import describe_by_name, parse_by_name, require_folder
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.files import read_text
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
"""Sex of the actors, for copies of the audio without the table, and for other toolkits' manifests. The table overrides it."""

DEMOGRAPHICS = "VideoDemographics.csv"
FOLDS = {"folds": "kfold", "n_folds": 5}
"""About 18 actors per fold [C]; published splits of CREMA-D share speakers."""

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
    """Read all clips under `root`, and the actors' sex from ``VideoDemographics.csv`` in, under or above it.

    Raises
    ------
    GemoclapError : no such folder, no CREMA-D clip in it, or a table without the columns ActorID and Sex.
    """
    root = require_folder(root)
    utterances = parse_by_name(
        root, describe, "AudioWAV/1001_DFA_ANG_XX.wav (CREMA-D: actor, sentence, emotion, level)"
    )
    genders = _genders(root)
    return [replace(row, gender=genders.get(row.speaker or "", row.gender)) for row in utterances]


def _genders(root: Path) -> dict[str, str]:
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir()), root.absolute().parent]
    table = next((folder / DEMOGRAPHICS for folder in folders if (folder / DEMOGRAPHICS).is_file()), None)
    if table is None:
        return {}
    with io.StringIO(read_text(table), newline="") as file:
        reader = csv.DictReader(file)
        for column in ("ActorID", "Sex"):
            if column not in (reader.fieldnames or ()):
                raise GemoclapError(f"{table}: no column {column!r} in its first line; fetch the table again")
        rows = [(row["ActorID"].strip(), (row["Sex"] or "").strip().lower()) for row in reader]
    return {actor: sex for actor, sex in rows if sex in GENDERS}
