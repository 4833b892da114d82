"""EMOVO (Costantini et al. 2014): six actors, fourteen sentences, seven emotions, Italian.

A file name is emotion, actor and sentence: ``rab-f1-b1.wav``.
"""

from __future__ import annotations

import os
import re

from gemoclap.corpora.layout import describe_by_name, parse_by_name
from gemoclap.corpora.manifest import Utterance

EMOTIONS = {
    "rab": "angry", "dis": "disgusted", "pau": "fearful", "gio": "happy", "neu": "neutral", "tri": "sad",
    "sor": "surprised",
}  # fmt: skip
"""The first letters of rabbia, disgusto, paura, gioia, neutro, tristezza and sorpresa."""

SENTENCES = {
    "b1": "Gli operai si alzano presto.",
    "b2": "I vigili sono muniti di pistola.",
    "b3": "La cascata fa molto rumore.",
    "l1": "L'autunno prossimo Tony partirà per la Spagna nella prima metà di ottobre.",
    "l2": "Ora prendo la felpa di là ed esco per fare una passeggiata.",
    "l3": "Un attimo dopo s'è incamminato ed è inciampato.",
    "l4": "Vorrei il numero telefonico del Signor Piatti.",
    "n1": "La casa forte vuole col pane.",
    "n2": "La forza trova il passo e l'aglio rosso.",
    "n3": "Il gatto sta scorrendo nella pera.",
    "n4": "Insalata pastasciutta coscia d'agnello limoncello.",
    "n5": "Uno quarantatré dieci mille cinquantasette venti.",
    "d1": "Sabato sera cosa farà?",
    "d2": "Porti con te quella cosa?",
}
"""What the actors read; the codes stand for brief, long, nonsense and question."""

FOLDS = {"folds": "speaker"}
"""Leave one actor out, six folds: EmoBox's [S]."""

_NAME = re.compile(
    rf"(?P<emotion>{'|'.join(EMOTIONS)})-(?P<speaker>[fm][1-3])-(?P<sentence>{'|'.join(SENTENCES)})", re.IGNORECASE
)


def _labels(match: re.Match[str]) -> dict[str, str | None]:
    speaker = match["speaker"].lower()
    return {
        "speaker": speaker,
        "gender": "female" if speaker[0] == "f" else "male",
        "emotion": EMOTIONS[match["emotion"].lower()],
        "text": SENTENCES[match["sentence"].lower()],
    }


describe = describe_by_name(_NAME, _labels, corpus="emovo", language="it")
"""Reads the labels from a file name, ``describe(stem, path)``; None if the name is not EMOVO's."""


def parse(root: str | os.PathLike) -> list[Utterance]:
    """Read all clips under `root`, at any depth.

    Raises
    ------
    GemoclapError : no such folder, or no EMOVO clip in it.
    """
    return parse_by_name(root, describe, "F1/rab-f1-b1.wav (EMOVO: emotion, actor, sentence)")
