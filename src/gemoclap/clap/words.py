"""Whether a word that somebody asks for is one for an emotion.

A model that compares with prompts gives probabilities for any words; "banana" next to "happy" gets its share too. MiniLM knows
which words mean similar things, so that words unlike every word for an emotion can be refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from gemoclap.clap.model import GEmoClapModel
from gemoclap.encoders.text import MINILM
from gemoclap.errors import GemoclapError, did_you_mean
from gemoclap.labels import OTHER_WORDS, prompt_word

_WORDS = """
afraid aggressive amused angry annoyed anxious arrogant ashamed bored calm cheerful confused contemptuous content
crying curious depressed desperate disappointed disgusted embarrassed enthusiastic euphoric excited fearful friendly
frustrated furious grateful grieving guilty happy hopeful hostile hurt impatient indifferent interested irritated
jealous joyful laughing lonely loving melancholic nervous neutral panicked polite proud relaxed relieved sad sarcastic
satisfied scared serious shouting shy stressed surprised tender tired unfriendly unhappy upset urgent whispering
worried
"""
EMOTION_WORDS = tuple(_WORDS.split())
"""Common English words for emotions and ways to speak, with which others are compared."""
FLOOR = 0.4
"""Smallest cosine with one of them [C]. English words for emotions have 0.41 or more, and so have words for ways to speak, such
as loud; banana, car and Tuesday have less than 0.4."""


def check_words(model: GEmoClapModel, labels: Sequence[str], what: str = "labels") -> None:
    """Raise a GemoclapError if a label is like no word for an emotion; the message begins with `what` they are."""
    for label in labels:
        if not any(map(str.isalpha, label)) and label not in model.config.emotions.emotions:
            # Text encoders take all signs that they do not know, such as emojis, for the same word.
            raise GemoclapError(f"{what}: {label!r} has no letters; take a word")
    for label, cosine in unlike_emotions(model, labels).items():
        found = (
            f"{what}: {label!r} is like no English word for an emotion (similarity {cosine:.2f}, it needs {FLOOR:g})"
            f"{spelling_hint(label, model.config.emotions.emotions)}"
        )
        raise GemoclapError(
            f"{found}; take another word, or add --any_words (in Python: predictor.any_words = True)",
            for_clients=f"{found}; take another word, or set any_words to true",
        )


def spelling_hint(word: str, trained: Sequence[str]) -> str:
    """Return ``" (did you mean 'angry'?)"`` for a misspelt class or word for an emotion, otherwise an empty string."""
    known = [*trained, *EMOTION_WORDS]
    return "" if word.casefold() in known else did_you_mean(word, known)


def unlike_emotions(model: GEmoClapModel, labels: Sequence[str]) -> dict[str, float]:
    """Return the labels that are like no word for an emotion, and their largest cosine with one.

    Labels that the model was trained on are never among them, nor are `OTHER_WORDS`, in upper or lower case. Only MiniLM's
    vectors of single words can be compared in this way; with another text encoder the result is empty.
    """
    trained = model.config.emotions.emotions
    known_words = {*trained, *(word for words in OTHER_WORDS.values() for word in words)}
    words = {label: prompt_word(label, trained) for label in labels}
    others = {label: word for label, word in words.items() if not known_words & {word, word.lower()}}
    if not others or model.config.text_weights != MINILM:
        return {}
    with torch.no_grad():
        known = functional.normalize(model.get_text_features(EMOTION_WORDS), dim=-1)
        cosines = (functional.normalize(model.get_text_features(tuple(others.values())), dim=-1) @ known.T).amax(1)
    return {label: cosine for label, cosine in zip(others, cosines.tolist(), strict=True) if cosine < FLOOR}
