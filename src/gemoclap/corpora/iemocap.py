"""IEMOCAP (Busso et al. 2008), the raw release: ten actors in five dyadic sessions, English.

Labels are the majority votes in ``Session*/dialog/EmoEvaluation/*.txt``. An utterance with ``xxx`` (no majority) has no
emotion. All 10,039 utterances are read, and no labels are merged. A vocabulary such as ``iemocap4`` selects and merges later.
Valence, arousal and dominance are the means of the evaluators, from 1 to 5. Each evaluator has one vote.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemoclap.corpora.layout import audio_by_stem, require_folder
from gemoclap.corpora.manifest import DIMENSIONS, Utterance
from gemoclap.corpora.values import number
from gemoclap.errors import GemoclapError
from gemoclap.labels import canonical_emotion

FOLDS = {"folds": "session"}
"""Each fold tests on one session. This is the usual protocol, and that of the paper [P]."""

LABEL_FILES = "Session*/dialog/EmoEvaluation/*.txt"
NO_MAJORITY = "xxx"

_ID = re.compile(r"Ses(?P<session>\d\d)[FM]_.+_(?P<speaker>[FM])[^_]*")
_SUMMARY = re.compile(r"\[[\d.]+ - [\d.]+\]\t(?P<id>\S+)\t(?P<emotion>\S+)\t\[(?P<dimensions>[^\]]*)")
_VOTE = re.compile(r"C-E\d+:\t(?P<words>[^\t]*)")
"""What one evaluator heard. The actors judge themselves in lines C-F1 and C-M1, which are no votes [C]."""
_TRANSCRIPT = re.compile(r"(?P<id>\S+) \[[\d.]+-[\d.]+\]:\s*(?P<text>.*)")


def describe(stem: str, path: str) -> Utterance | None:
    """Return session, speaker and gender from the id of an utterance, or None if the id is not one of IEMOCAP.

    The speaker is the letter after the *last* underscore: in ``Ses01F_impro01_M003`` the man speaks. The first letter only says
    who wore the markers for motion capture. It is not the speaker in 2,750 of the 5,531 utterances of the usual four classes.
    """
    match = _ID.fullmatch(stem)
    if match is None:
        return None
    letter = match["speaker"]
    return Utterance(
        id=stem,
        path=path,
        corpus="iemocap",
        session=str(int(match["session"])),
        speaker=f"Ses{match['session']}{letter}",
        gender="female" if letter == "F" else "male",
        language="en",
    )


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read the raw release at `root`, or in a folder directly under it.

    If the wav of an utterance is missing, its row has the path where it should be, so that ``gemoclap inspect`` reports it.

    Raises
    ------
    GemoclapError : there is no such folder, no label file, or no label in them; or a label has an id that is not IEMOCAP's.
    """
    root = require_folder(root)
    releases = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    label_files = next((files for files in map(_label_files, releases) if files), [])
    if not label_files:
        raise GemoclapError(f"{root}: no {LABEL_FILES} here; point at IEMOCAP_full_release")
    utterances = [utterance for path in label_files for utterance in _dialogue(path)]
    if not utterances:
        raise GemoclapError(
            f"{root}: none of {len(label_files)} label files has a line '[START - END]<tab>ID<tab>neu<tab>[V,A,D]'; "
            "unpack the release again"
        )
    return utterances


def _label_files(release: Path) -> list[Path]:
    return sorted(path for path in release.glob(LABEL_FILES) if not path.name.startswith("."))


def _dialogue(label_file: Path) -> list[Utterance]:
    """Return the utterances of one label file, in the order of the file."""
    session, dialogue = label_file.parents[2], label_file.stem
    wav_folder = session / "sentences" / "wav" / dialogue
    audio = audio_by_stem(wav_folder)
    texts = _transcript(session / "dialog" / "transcriptions" / label_file.name)
    utterances = []
    for match, votes in _judgements(_lines(label_file)):
        stem, emotion = match["id"], match["emotion"]
        utterance = describe(stem, str(audio.get(stem, wav_folder / f"{stem}.wav")))
        if utterance is None:
            raise GemoclapError(
                f"{label_file}: {stem!r} is not an id like Ses01F_impro01_F000; unpack the release again"
            )
        label = None if emotion == NO_MAJORITY else canonical_emotion(emotion)
        means = _means(match["dimensions"], f"{label_file}: {stem}")
        utterances.append(replace(utterance, emotion=label, text=texts.get(stem), votes=votes or None, **means))
    return utterances


def _judgements(lines: Iterable[str]) -> list[tuple[re.Match[str], dict[str, float]]]:
    """Return the summary line of each utterance, and the votes in the lines below it.

    An evaluator who heard several emotions gives each an equal part of the vote [C].
    """
    found: list[tuple[re.Match[str], dict[str, float]]] = []
    for line in lines:
        if summary := _SUMMARY.match(line):
            found.append((summary, {}))
        elif found and (vote := _VOTE.match(line)):
            words = [_emotion_word(word) for word in vote["words"].split(";") if word.strip()]
            votes = found[-1][1]
            for word in words:
                votes[word] = votes.get(word, 0.0) + 1 / len(words)
    return found


def _emotion_word(word: str) -> str:
    emotion = canonical_emotion(word)
    return "neutral" if emotion == "neutral state" else emotion


def _means(text: str, where: str) -> dict[str, Any]:
    """Return valence, arousal and dominance of a summary line's ``V, A, D``; none of them if there are not three."""
    parts = text.split(",")
    if len(parts) != len(DIMENSIONS):
        return {}
    return {field: number(part, field, where) for field, part in zip(DIMENSIONS, parts, strict=True)}


def _transcript(path: Path) -> dict[str, str]:
    matches = (_TRANSCRIPT.match(line) for line in (_lines(path) if path.is_file() else []))
    return {match["id"]: match["text"].strip() for match in matches if match and match["text"].strip()}


def _lines(path: Path) -> list[str]:
    # In a few files of the release, remarks have bytes of other encodings. The fields that are read are ASCII.
    return path.read_text(encoding="utf-8", errors="replace").split("\n")
