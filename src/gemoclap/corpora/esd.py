"""ESD (Zhou et al. 2022): ten speakers of Mandarin, ten of English, 350 sentences a language, five emotions.

A file lies in folders of its speaker and emotion, and in some releases of its partition: ``0011/Angry/train/0011_000401.wav``.
Each speaker has a table of texts, ``0011/0011.txt``.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from gemoclap.corpora.layout import describe_by_name, files_named, parse_by_name, require_folder
from gemoclap.corpora.manifest import Utterance
from gemoclap.labels import canonical_emotion

EMOTIONS = ("neutral", "angry", "happy", "sad", "surprised")
"""In the order of the numbers: 1 to 350 are neutral, 351 to 700 angry, and so on."""
SENTENCES = 350
WOMEN = frozenset({1, 2, 3, 7, 9, 15, 16, 17, 18, 19})
MANDARIN = range(1, 11)
PARTITIONS = {"train": "train", "evaluation": "dev", "test": "test"}

FOLDS = {
    "folds": "lists",
    "test_speakers": [
        ["0005", "0011", "0016", "0018"], ["0012", "0014", "0015", "0019"], ["0003", "0004", "0006", "0009"],
        ["0007", "0008", "0013", "0020"], ["0001", "0002", "0010", "0017"],
    ],
}  # fmt: skip
"""The test speakers of EmoBox's five folds [S]. ESD's own partitions share speakers."""

_NAME = re.compile(r"(?P<speaker>00[01]\d|0020)_(?P<number>\d{6})")
_LINE = re.compile(
    r"(?P<id>\d{4}_\d{6})\s+(?P<text>.*?)(?:\s+(?:Neutral|Angry|Happy|Sad|Surprise|中立|生气|快乐|伤心|惊喜))?\s*"
)
"""Id, text and emotion, usually with tabs between; a few lines lack the emotion or a tab."""


def _labels(match: re.Match[str]) -> dict[str, str | None]:
    speaker, place = int(match["speaker"]), (int(match["number"]) - 1) // SENTENCES
    return {
        "speaker": match["speaker"],
        "gender": "female" if speaker in WOMEN else "male",
        "emotion": EMOTIONS[place] if 0 <= place < len(EMOTIONS) else None,
        "language": "zh" if speaker in MANDARIN else "en",
    }


_by_number = describe_by_name(_NAME, _labels, corpus="esd")


def describe(stem: str, path: str) -> Utterance | None:
    """Read the labels from a file name, or return None if it is not ESD's.

    The emotion and the partition are those of the folders. Without a folder of an emotion, the number in the name decides.
    """
    row = _by_number(stem, path)
    if row is None:
        return None
    above = Path(path).parts[:-1]
    inner = above[::-1].index(row.speaker) if row.speaker in above else 2
    folders = above[len(above) - inner :]
    emotions = (word for word in map(canonical_emotion, folders) if word in EMOTIONS)
    partitions = (PARTITIONS[folder.lower()] for folder in folders if folder.lower() in PARTITIONS)
    return replace(row, emotion=next(emotions, row.emotion), partition=next(partitions, None))


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read all clips under `root`, at any depth, and the texts from the speakers' tables, if they are there.

    Raises
    ------
    GemoclapError : no such folder, or no ESD clip in it.
    """
    root = require_folder(root)
    utterances = parse_by_name(root, describe, "0011/Angry/0011_000351.wav (ESD: speaker, emotion, number)")
    texts: dict[str, str] = {}
    for table in files_named(root, "00[012][0-9].txt"):
        texts |= _texts(table)
    return [replace(row, text=texts.get(row.id)) for row in utterances]


def _texts(table: Path) -> dict[str, str]:
    mandarin = int(table.stem) in MANDARIN
    lines = _decoded(table.read_bytes(), "gb18030" if mandarin else "cp1252").splitlines()
    matches = (_LINE.fullmatch(line.strip()) for line in lines)
    return {match["id"]: match["text"] for match in matches if match and match["text"]}


def _decoded(content: bytes, otherwise: str) -> str:
    """Return the text of a table: the tables of the corpus are in UTF-16, UTF-8, GB 2312 or Latin 1."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content[:2]:  # UTF-16 without a mark: one of the two bytes of an ASCII digit is zero
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(otherwise, errors="replace")
