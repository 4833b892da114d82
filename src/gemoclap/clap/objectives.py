"""Model outputs and labels -> named losses: Emo-CLAP, SL-GEmo-CLAP and ML-GEmo-CLAP.

An objective is independent of model and loop. It takes the outputs by name and the targets of the utterances, gathered over
processes or not, and returns scalars. If several corpora are trained on together, ``targets.classes`` says which classes the
corpus of each utterance has. ``targets.votes``, if given, take the place of the labels in the target [C]. Each KL has a
``*_cross_entropy``, which is the KL plus the entropy of its target. It is what other implementations print, and never falls
below that entropy.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gemoclap.clap.losses import SymmetricLoss, agreement, symmetric_contrastive_loss, vote_agreement
from gemoclap.config import ObjectiveSettings
from gemoclap.data.targets import Losses, Objective, Targets
from gemoclap.labels import UNKNOWN_GENDER


def _emotion_branch(
    outputs: dict[str, Tensor],
    targets: Targets,
    agreements: tuple[Tensor, Tensor | None],
    settings: ObjectiveSettings,
) -> SymmetricLoss:
    """Compare every utterance with the prompt of every utterance's emotion, given what `_emotion_agreement` returned.

    An utterance is not compared with the prompt of a class that its own corpus does not have [C], because its annotators
    could not choose that class.
    """
    return symmetric_contrastive_loss(
        outputs["audio_embedding"],
        outputs["text_embedding"][targets.emotions],
        outputs["audio_scale"],
        outputs["text_scale"],
        agreements[0],
        settings.target,
        None if targets.classes is None else targets.classes[:, targets.emotions],
        agreements[1],
    )


def _emotion_agreement(targets: Targets) -> tuple[Tensor, Tensor | None]:
    """Return M_e of the two directions; the second is None if it is equal to the first."""
    if targets.votes is None:
        return agreement(targets.emotions), None
    return vote_agreement(targets.votes, targets.emotions)


class EmoCLAP:
    """``L = 1/2 (KL(C_a, M_e) + KL(C_t, M_e))`` [P]."""

    row_outputs: tuple[str, ...] = ("audio_embedding",)

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        emotion = _emotion_branch(outputs, targets, _emotion_agreement(targets), self.settings)
        return {"loss": emotion.kl, "emotion_cross_entropy": emotion.cross_entropy}


class SoftLabelGEmoCLAP:
    """The loss of Emo-CLAP with the soft labels ``M = alpha M_e + (1 - alpha) M_g`` [P].

    Two utterances of one emotion have the same prompt, so C_a cannot follow M_g for them. Unlike Emo-CLAP's, this KL stays
    above zero at its optimum.
    """

    row_outputs: tuple[str, ...] = ("audio_embedding",)

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        alpha = self.settings.alpha
        of_genders = (1 - alpha) * agreement(targets.genders, UNKNOWN_GENDER)
        there, back = _emotion_agreement(targets)
        mixed = alpha * there + of_genders, None if back is None else alpha * back + of_genders
        emotion = _emotion_branch(outputs, targets, mixed, self.settings)
        return {"loss": emotion.kl, "soft_label_cross_entropy": emotion.cross_entropy}


class MultiTaskGEmoCLAP:
    """``L = alpha L_e + (1 - alpha) L_g`` [P], L_g from the gender head's own projections and temperatures [C].

    An utterance of unknown gender has no gender prompt, and is left out of L_g [C].
    """

    row_outputs: tuple[str, ...] = ("audio_embedding", "gender_audio_embedding")

    def __init__(self, settings: ObjectiveSettings) -> None:
        self.settings = settings

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        alpha = self.settings.alpha
        emotion = _emotion_branch(outputs, targets, _emotion_agreement(targets), self.settings)
        gender = self._gender_branch(outputs, targets.genders)
        return {
            "loss": alpha * emotion.kl + (1 - alpha) * gender.kl,
            "emotion": emotion.kl,
            "gender": gender.kl,
            "emotion_cross_entropy": emotion.cross_entropy,
            "gender_cross_entropy": gender.cross_entropy,
        }

    def _gender_branch(self, outputs: dict[str, Tensor], genders: Tensor) -> SymmetricLoss:
        known = genders != UNKNOWN_GENDER
        audio = outputs["gender_audio_embedding"]
        if not known.any():  # zero, but part of the graph: every process must have a gradient for every weight
            zero = 0.0 * (audio.sum() + outputs["gender_text_embedding"].sum())
            zero = zero + 0.0 * (outputs["gender_audio_scale"] + outputs["gender_text_scale"])
            return SymmetricLoss(zero, zero.detach())
        return symmetric_contrastive_loss(
            audio[known],
            outputs["gender_text_embedding"][genders[known]],
            outputs["gender_audio_scale"],
            outputs["gender_text_scale"],
            agreement(genders[known]),
            self.settings.target,
        )


OBJECTIVES: dict[str, Callable[[ObjectiveSettings], Objective]] = {
    "emo_clap": EmoCLAP,
    "sl_gemo_clap": SoftLabelGEmoCLAP,
    "ml_gemo_clap": MultiTaskGEmoCLAP,
}
"""Method -> objective; the names of `config.METHODS`."""

GENDER_HEAD = frozenset({"ml_gemo_clap"})
"""Methods whose model has a gender head."""
NEEDS_GENDER = frozenset({"sl_gemo_clap", "ml_gemo_clap"})
"""Methods that use gender labels; without any they would be the same as Emo-CLAP."""
