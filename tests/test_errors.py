"""Hints at what a misspelt name should have been."""

from __future__ import annotations

import pytest

from gemoclap.clap.words import EMOTION_WORDS
from gemoclap.errors import did_you_mean


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("furios", EMOTION_WORDS, "furious"),
        ("Hapy", EMOTION_WORDS, "happy"),
        ("ahppy", EMOTION_WORDS, "happy"),
        ("disgust", EMOTION_WORDS, "disgusted"),
        ("sda", ("sad", "angry"), "sad"),
        ("natural", ("neutral", "angry"), "neutral"),
        ("S2", ("s1", "s2"), "s2"),
        ("hubert", ("whisper_base", "hubert_base"), "hubert_base"),
    ],
)
def test_a_name_that_is_nearly_right_gets_a_hint(typed: str, known: tuple[str, ...], meant: str) -> None:
    assert did_you_mean(typed, [*known]) == f" (did you mean {meant!r}?)"


@pytest.mark.parametrize(
    "word",
    ["wütend", "traurig", "fröhlich", "glücklich", "ängstlich", "ruhig", "neugierig", "überrascht", "enttäuscht",
     "zufrieden", "colère", "triste", "tristesse", "heureux", "feliz", "enojado", "banana", "car", "table", "Tuesday"],
)  # fmt: skip
def test_a_word_of_another_kind_gets_none(word: str) -> None:
    """German, French and Spanish words for emotions, and English ones for other things."""
    assert did_you_mean(word, [*EMOTION_WORDS]) == ""
