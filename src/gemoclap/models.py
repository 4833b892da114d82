"""Loads any emotion model by the type in its config, and makes it a classifier."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from transformers import AutoConfig

from gemoclap.clap.classifier import PromptClassifier
from gemoclap.clap.model import ContrastiveHead, GEmoClapModel
from gemoclap.encoders.hub import expect_hub
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.heads.classifier import HeadClassifier, SpeechClassifier, SpeechClassifierConfig

EmotionModel = GEmoClapModel | SpeechClassifier
Classifier = PromptClassifier | HeadClassifier


def load_emotion_model(name: str | os.PathLike, with_text: bool = True) -> EmotionModel:
    """Load a model's folder, or a repository of the hub, in evaluation mode.

    Parameters
    ----------
    with_text : False loads the text encoder only when it is needed, if the model can predict its own classes without it.

    Raises
    ------
    GemoclapError : there is no model, or it is of another kind.
    """
    expect_hub(str(name))
    with readable_errors(str(name)):
        config = AutoConfig.from_pretrained(str(name), trust_remote_code=False)
    if isinstance(config, SpeechClassifierConfig):
        return SpeechClassifier.from_pretrained(name)
    return GEmoClapModel.from_pretrained(name, with_text=with_text)


def classifier_of(model: EmotionModel, labels: Sequence[str] | None = None) -> Classifier:
    """Return a classifier that gives the probabilities of `labels`, or of the trained classes.

    Raises
    ------
    GemoclapError : the model cannot predict these labels.
    """
    kind = PromptClassifier if isinstance(model, GEmoClapModel) else HeadClassifier
    return kind(model, labels)  # type: ignore[arg-type]


def predicts_gender(model: EmotionModel) -> bool:
    """Whether a model has a head for gender."""
    return model.gender_head is not None


def gender_probabilities(model: EmotionModel, features: Tensor) -> Tensor:
    """Return the probabilities ``(B, 2)`` of `labels.GENDERS` for what ``model.get_audio_features`` returns.

    They are those of the training: no temperature is fitted for them.
    """
    if isinstance(model, GEmoClapModel):
        head = cast(ContrastiveHead, model.gender_head)
        scale, _ = head.scales()
        prompts = head.embed_text(model.get_text_features(model.gender_prompts))
        return (scale * head.embed_audio(features) @ prompts.T).softmax(dim=-1)
    return cast(nn.Module, model.gender_head)(model.projection(features)).softmax(dim=-1)
