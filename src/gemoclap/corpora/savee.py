"""SAVEE (Haq and Jackson 2009): four men, seven emotions, British English.

The original has a folder for each speaker, ``DC/a01.wav``. Copies have one folder, with the speaker in the name: ``DC_a01.wav``
or ``DCa01.wav``. The letters before the number are the emotion. In all of them the id is ``DC_a01``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from gemoclap.corpora.layout import composed, describe_by_name, parse_by_name
from gemoclap.corpora.manifest import Utterance

EMOTIONS = {
    "a": "angry", "d": "disgusted", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad", "su": "surprised",
}  # fmt: skip

FOLDS = {"folds": "speaker"}
"""Leave one speaker out, four folds: EmoBox's [S]."""

_CLIP = rf"(?P<emotion>sa|su|[{''.join(letter for letter in EMOTIONS if len(letter) == 1)}])\d\d"
_NAME = re.compile(rf"(?P<speaker>DC|JE|JK|KL)_{_CLIP}")
_WITHOUT_LINE = re.compile(rf"(?P<speaker>DC|JE|JK|KL)(?P<clip>{_CLIP})")
_WITHOUT_SPEAKER = re.compile(_CLIP)


def _labels(match: re.Match[str]) -> dict[str, str | None]:
    return {"speaker": match["speaker"], "gender": "male", "emotion": EMOTIONS[match["emotion"]]}


describe = describe_by_name(_NAME, _labels, corpus="savee", language="en")
"""Reads the labels from a name such as DC_a01, ``describe(name, path)``; None if the name is not SAVEE's."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read all clips under `root`, at any depth, in any of the three layouts.

    Raises
    ------
    GemoclapError : no such folder, or no SAVEE clip in it.
    """
    folder = Path(root).absolute()  # root can be the folder of one speaker, named with a dot
    return parse_by_name(folder, describe, "DC/a01.wav or DC_a01.wav (SAVEE: speaker, emotion, number)", _name)


def _name(path: Path) -> str:
    """Return the name of a clip with its speaker: ``DC_a01``."""
    stem = composed(path.stem)
    if match := _WITHOUT_LINE.fullmatch(stem):
        return f"{match['speaker']}_{match['clip']}"
    return f"{path.parent.name}_{stem}" if _WITHOUT_SPEAKER.fullmatch(stem) else stem
