"""TESS (Pichora-Fuller and Dupuis 2020): two actresses, 200 words in one carrier phrase, seven emotions, English.

A file name is speaker, word and emotion: ``OAF_back_angry.wav``. Only the file name is read, because the folders spell the
emotions in several ways (``OAF_Pleasant_surprise``, ``YAF_pleasant_surprised``).
"""

from __future__ import annotations

import os
import re

from gemoclap.corpora.layout import describe_by_name, parse_by_name
from gemoclap.corpora.manifest import Utterance

EMOTIONS = {
    "angry": "angry", "disgust": "disgusted", "fear": "fearful", "happy": "happy", "neutral": "neutral",
    "ps": "surprised", "sad": "sad",
}  # fmt: skip
"""``ps`` is pleasant surprise."""

FOLDS = {"folds": "speaker"}
"""Leave one actress out, two folds [C]; EmoBox's split of TESS shares the speakers."""

# One file of the corpus lacks a letter: OA_bite_neutral lies in the folder OAF_neutral.
_NAME = re.compile(rf"(?P<speaker>OAF?|YAF)_(?P<word>[a-z]+)_(?P<emotion>{'|'.join(EMOTIONS)})", re.IGNORECASE)


def _labels(match: re.Match[str]) -> dict[str, str | None]:
    return {
        "speaker": "YAF" if match["speaker"].upper() == "YAF" else "OAF",
        "gender": "female",
        "emotion": EMOTIONS[match["emotion"].lower()],
        "text": f"Say the word {match['word'].lower()}",
    }


describe = describe_by_name(_NAME, _labels, corpus="tess", language="en")
"""Reads the labels from a file name, ``describe(stem, path)``; None if the name is not TESS's."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read all clips under `root`, at any depth.

    Raises
    ------
    GemoclapError : no such folder, or no TESS clip in it.
    """
    return parse_by_name(root, describe, "OAF_back_angry.wav (TESS: speaker, word, emotion)")
