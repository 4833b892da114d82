"""Checks, before anything is trained, of what single methods need. Found later, it would end a run after the other methods."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch

from gemoclap.clap import objectives as contrastive
from gemoclap.clap.model import fill_prompt
from gemoclap.config import METHODS, VOTED, ModelSettings, Settings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import Fold
from gemoclap.encoders.text import Pooling, TextEncoder
from gemoclap.errors import GemoclapError
from gemoclap.heads import objectives as plain
from gemoclap.labels import GENDERS, Vocabulary

USES_GENDER = contrastive.NEEDS_GENDER | plain.GENDER_HEAD
"""Methods of one stage that learn from gender labels."""


def check_needs(settings: Settings, method: str, folds: Iterable[Fold], vocabulary: Vocabulary) -> None:
    """Raise a GemoclapError if the votes, prompts or genders that a method is trained with are not there."""
    folds = list(folds)
    if settings.objective.votes:
        _check_votes(method, folds, vocabulary)
    if method in USES_GENDER:
        check_genders(settings, method, folds)
    if method in METHODS and folds:
        _check_prompts(settings.model, method, vocabulary)


def _check_votes(method: str, folds: Iterable[Fold], vocabulary: Vocabulary) -> None:
    if method not in VOTED:
        raise GemoclapError(
            f"objective.votes: {method} trains on one label for each utterance; methods that train on votes: "
            f"{', '.join(VOTED)}; leave the setting out, or the method"
        )
    for fold in folds:
        if not any(has_votes(row, vocabulary) for row in fold.train):
            raise GemoclapError(
                f"objective.votes: no training utterance of {fold.name} has votes for one of the classes "
                f"({', '.join(vocabulary.emotions)}); fill the manifest's field 'votes' in with these words, or leave the "
                "setting out"
            )


def has_votes(row: Utterance, vocabulary: Vocabulary) -> bool:
    """Whether an utterance has votes for one of the classes."""
    return any(vocabulary.counts(row.votes or {}))


def _check_prompts(settings: ModelSettings, method: str, vocabulary: Vocabulary) -> None:
    """Raise a GemoclapError unless the text encoder can be loaded and reads the prompts of all classes."""
    prompts = [fill_prompt(settings.emotion_prompt, word) for word in vocabulary.emotions]
    if method in contrastive.GENDER_HEAD:
        prompts += [fill_prompt(settings.gender_prompt, word) for word in GENDERS]
    _encode(settings.text_encoder, settings.text_pooling, tuple(prompts))


@lru_cache(maxsize=4)
def _encode(name: str, pooling: Pooling, prompts: tuple[str, ...]) -> None:
    """Encode prompts, and keep nothing. The methods and folds of a run mostly have the same prompts."""
    with torch.no_grad():
        TextEncoder.from_pretrained(name, pooling)(prompts)


def check_genders(settings: Settings, method: str, folds: Iterable[Fold]) -> None:
    """Raise a GemoclapError if a method learns gender, and no training utterance of a fold has one."""
    if (remedy := _remedy(settings, method)) is None:
        return
    for fold in folds:
        if not any(row.gender for row in fold.train):
            raise GemoclapError(
                f"{method} needs gender labels, and no training utterance of {fold.name} has one; fill the manifest's field "
                f"gender, or {remedy}"
            )


def one_gender(settings: Settings, method: str, folds: Iterable[Fold]) -> list[str]:
    """Return a warning for each gender that is the only one in the training of some folds, if the method learns gender."""
    remedy, alone = _remedy(settings, method), dict[str, list[str]]()
    for fold in folds if remedy else ():
        genders = {row.gender for row in fold.train if row.gender}
        if len(genders) == 1:
            alone.setdefault(genders.pop(), []).append(fold.name)
    return [
        f"{method}: all training utterances with a gender are {gender} in {', '.join(names)}, so it learns nothing about "
        f"gender there; fill the manifest's field gender, or {remedy}"
        for gender, names in alone.items()
    ]


def _remedy(settings: Settings, method: str) -> str | None:
    """Return how to do without genders; None if a method does not learn them."""
    if method == "gmp_tl":
        learns_features = (
            settings.gmp.frame_epochs or settings.gmp.start == "features"
        )  # the one step that learns gender
        return "set gmp.gender to false" if settings.gmp.gender and learns_features else None
    return {"multi_task": "train ce"}.get(method, "train emo_clap") if method in USES_GENDER else None
