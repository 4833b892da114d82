"""Outputs of plain heads and labels -> named losses; see `data.targets` for what an objective is."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gemoclap.config import ObjectiveSettings
from gemoclap.data.targets import Losses, Objective, Targets
from gemoclap.heads.classifier import Head
from gemoclap.heads.losses import am_softmax, concordance_loss, cross_entropy, soft_cross_entropy
from gemoclap.labels import UNKNOWN_GENDER

NO_CLASS = -100
"""Index of a missing emotion label. Training utterances always have one."""


def _emotion(logits: Tensor, targets: Targets) -> Tensor:
    """Return the cross-entropy to the labels, or if there are votes, to their distribution [C]."""
    if targets.votes is not None:
        return soft_cross_entropy(logits, targets.votes, targets.classes)
    return cross_entropy(logits, targets.emotions, NO_CLASS, targets.classes)


class CrossEntropy:
    """``CE(emotion)``."""

    row_outputs: tuple[str, ...] = ("logits",)

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        return {"loss": _emotion(outputs["logits"], targets)}


class AMSoftmax:
    """Additive-margin softmax over the cosines [S]."""

    row_outputs: tuple[str, ...] = ("cosines",)

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        scale, margin = self.settings.scale, self.settings.margin
        return {"loss": am_softmax(outputs["cosines"], targets.emotions, scale, margin, targets.classes)}


class EmotionAndGender:
    """``alpha CE(emotion) + (1 - alpha) CE(gender)`` [P: multi-task; C: 0.9], the first step of GMP-TL.

    An utterance of unknown gender is left out of CE(gender) [C].
    """

    row_outputs: tuple[str, ...] = ("logits", "gender_logits")

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        alpha = self.settings.alpha
        emotion = _emotion(outputs["logits"], targets)
        gender = cross_entropy(outputs["gender_logits"], targets.genders, UNKNOWN_GENDER)
        return {"loss": alpha * emotion + (1 - alpha) * gender, "emotion": emotion, "gender": gender}


class Concordance:
    """``1 - CCC`` of each dimension, averaged; the model has one output for each of them."""

    row_outputs: tuple[str, ...] = ("logits",)

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        assert targets.dimensions is not None
        return {"loss": concordance_loss(outputs["logits"], targets.dimensions)}


OBJECTIVES: dict[str, Callable[[ObjectiveSettings], Objective]] = {
    "ce": lambda settings: CrossEntropy(),
    "am_softmax": AMSoftmax,
    "multi_task": EmotionAndGender,
}
"""Method -> objective; the names of `config.HEADS`."""
HEAD_OF: dict[str, Head] = {"ce": "linear", "am_softmax": "cosine", "multi_task": "linear"}
"""Method -> head of `heads.classifier.SpeechClassifier`."""
GENDER_HEAD = frozenset({"multi_task"})
"""Methods whose model has a gender head, and which use gender labels."""
