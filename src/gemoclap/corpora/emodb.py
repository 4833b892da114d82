"""EmoDB (Burkhardt et al. 2005): ten actors, ten sentences, seven emotions, German.

A file name is speaker, sentence, the German initial of the emotion, and the take: ``03a01Fa.wav``.
"""

from __future__ import annotations

import os
import re

from gemoclap.corpora.layout import describe_by_name, parse_by_name
from gemoclap.corpora.manifest import Utterance

EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgusted", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
GENDERS = {
    "03": "male", "08": "female", "09": "female", "10": "male", "11": "male",
    "12": "male", "13": "female", "14": "female", "15": "male", "16": "female",
}  # fmt: skip
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

FOLDS = {"folds": "kfold", "n_folds": 5}
"""Two actors per fold [C]. Published splits of EmoDB into five folds have the same speakers in training and test."""

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<emotion>[WLEAFTN])[a-z]")


def _labels(match: re.Match[str]) -> dict[str, str | None]:
    return {
        "speaker": match["speaker"],
        "gender": GENDERS.get(match["speaker"]),
        "emotion": EMOTIONS[match["emotion"]],
        "text": SENTENCES.get(match["sentence"]),
    }


describe = describe_by_name(_NAME, _labels, corpus="emodb", language="de")
"""Reads the labels from a file name, ``describe(stem, path)``; None if the name is not EmoDB's."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read all clips under `root`: the corpus folder, its ``wav`` folder, or a folder above.

    Raises
    ------
    GemoclapError : no such folder, or no EmoDB clip in it.
    """
    return parse_by_name(root, describe, "wav/03a01Fa.wav (EmoDB: speaker, sentence, emotion letter, take)")
