"""Outputs of plain heads and labels -> named losses; see `clap.objectives` for what an objective is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gemoclap.config import ObjectiveSettings
from gemoclap.heads.classifier import Head
from gemoclap.heads.losses import am_softmax, concordance_loss, cross_entropy, soft_cross_entropy
from gemoclap.labels import UNKNOWN_GENDER

Losses = dict[str, Tensor]
NO_CLASS = -100
"""Index of a missing emotion label. Training utterances always have one."""


def _emotion(logits: Tensor, emotions: Tensor, classes: Tensor | None, votes: Tensor | None) -> Tensor:
    """Return the cross-entropy to the labels, or if there are votes, to their distribution [C]."""
    if votes is not None:
        return soft_cross_entropy(logits, votes, classes)
    return cross_entropy(logits, emotions, NO_CLASS, classes)


class CrossEntropy:
    """``CE(emotion)``."""

    row_outputs: tuple[str, ...] = ("logits",)

    def __call__(
        self,
        outputs: dict[str, Tensor],
        emotions: Tensor,
        genders: Tensor,
        classes: Tensor | None = None,
        votes: Tensor | None = None,
    ) -> Losses:
        return {"loss": _emotion(outputs["logits"], emotions, classes, votes)}


class AMSoftmax:
    """Additive-margin softmax over the cosines [S]."""

    row_outputs: tuple[str, ...] = ("cosines",)

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(
        self, outputs: dict[str, Tensor], emotions: Tensor, genders: Tensor, classes: Tensor | None = None
    ) -> Losses:
        return {"loss": am_softmax(outputs["cosines"], emotions, self.settings.scale, self.settings.margin, classes)}


class EmotionAndGender:
    """``alpha CE(emotion) + (1 - alpha) CE(gender)`` [P: multi-task; C: 0.9], the first step of GMP-TL.

    An utterance of unknown gender is left out of CE(gender) [C].
    """

    row_outputs: tuple[str, ...] = ("logits", "gender_logits")

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(
        self,
        outputs: dict[str, Tensor],
        emotions: Tensor,
        genders: Tensor,
        classes: Tensor | None = None,
        votes: Tensor | None = None,
    ) -> Losses:
        alpha = self.settings.alpha
        emotion = _emotion(outputs["logits"], emotions, classes, votes)
        gender = cross_entropy(outputs["gender_logits"], genders, UNKNOWN_GENDER)
        return {"loss": alpha * emotion + (1 - alpha) * gender, "emotion": emotion, "gender": gender}


class Concordance:
    """``1 - CCC`` of each dimension, averaged; the model has one output for each of them."""

    row_outputs: tuple[str, ...] = ("logits",)

    def __call__(
        self,
        outputs: dict[str, Tensor],
        emotions: Tensor,
        genders: Tensor,
        classes: Tensor | None = None,
        dimensions: Tensor | None = None,
    ) -> Losses:
        assert dimensions is not None
        return {"loss": concordance_loss(outputs["logits"], dimensions)}


OBJECTIVES: dict[str, Callable[[ObjectiveSettings], CrossEntropy | AMSoftmax | EmotionAndGender]] = {
    "ce": lambda settings: CrossEntropy(),
    "am_softmax": AMSoftmax,
    "multi_task": EmotionAndGender,
}
"""Method -> objective; the names of `config.HEADS`."""
HEAD_OF: dict[str, Head] = {"ce": "linear", "am_softmax": "cosine", "multi_task": "linear"}
"""Method -> head of `heads.classifier.SpeechClassifier`."""
GENDER_HEAD = frozenset({"multi_task"})
"""Methods whose model has a gender head, and which use gender labels."""
