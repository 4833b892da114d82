"""Any model of emotion: load it by what its config says it is, and let it classify."""

from __future__ import annotations

import os
from collections.abc import Sequence

from transformers import AutoConfig

from gemoclap.clap.classifier import PromptClassifier
from gemoclap.clap.model import GEmoClapModel
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.heads.classifier import HeadClassifier, SpeechClassifier, SpeechClassifierConfig

EmotionModel = GEmoClapModel | SpeechClassifier
Classifier = PromptClassifier | HeadClassifier


def load_emotion_model(name: str | os.PathLike) -> EmotionModel:
    """Load a model's folder, or a repository of the hub, in evaluation mode.

    Raises
    ------
    GemoclapError : there is no model, or it is of another kind.
    """
    with readable_errors(str(name)):
        config = AutoConfig.from_pretrained(str(name), trust_remote_code=False)
    kind = SpeechClassifier if isinstance(config, SpeechClassifierConfig) else GEmoClapModel
    return kind.from_pretrained(name)


def classifier_of(model: EmotionModel, labels: Sequence[str] | None = None) -> Classifier:
    """Return what gives the probabilities of `labels`, or of the trained classes.

    Raises
    ------
    GemoclapError : the model cannot tell these labels.
    """
    kind = PromptClassifier if isinstance(model, GEmoClapModel) else HeadClassifier
    return kind(model, labels)  # type: ignore[arg-type]
