"""RAVDESS (Livingstone and Russo 2018), the speech part: 24 actors, two statements, eight emotions, English.

A file name is modality-channel-emotion-intensity-statement-repetition-actor. Speech without video (``03-01-...``) is read.
Songs, videos and other files are skipped.
"""

from __future__ import annotations

import os
import re

from gemoclap.corpora.layout import describe_by_name, parse_by_name
from gemoclap.corpora.manifest import Utterance

EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad",
    "05": "angry", "06": "fearful", "07": "disgusted", "08": "surprised",
}  # fmt: skip
STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}

FOLDS = {
    "folds": "lists",
    "test_speakers": [
        ["01", "11", "20", "21"], ["04", "10", "12", "14"], ["08", "09", "19", "23"],
        ["03", "05", "07", "24"], ["02", "15", "16", "18"], ["06", "13", "17", "22"],
    ],
}  # fmt: skip
"""The test actors of the six speaker-disjoint folds that EmoBox publishes [S]."""

_NAME = re.compile(r"03-01-(?P<emotion>0[1-8])-0[12]-(?P<statement>0[12])-0[12]-(?P<actor>\d\d)")


def _labels(match: re.Match[str]) -> dict[str, str | None]:
    return {
        "speaker": match["actor"],
        "gender": "male" if int(match["actor"]) % 2 else "female",  # odd actors are men
        "emotion": EMOTIONS[match["emotion"]],
        "text": STATEMENTS[match["statement"]],
    }


describe = describe_by_name(_NAME, _labels, corpus="ravdess", language="en")
"""Reads the labels from a file name, ``describe(stem, path)``; None if it is not that of RAVDESS's audio-only speech."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read all speech clips under `root`: ``Actor_07/03-01-03-01-02-01-07.wav``, at any depth.

    Raises
    ------
    GemoclapError : no such folder, or no RAVDESS speech in it.
    """
    expected = "Actor_NN/03-01-*.wav (RAVDESS speech: modality 03, channel 01)"
    return parse_by_name(root, describe, expected)
