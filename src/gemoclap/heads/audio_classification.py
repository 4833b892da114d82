"""A plain head on a speech encoder as transformers' pipeline "audio-classification" calls it."""

from __future__ import annotations

from typing import Any

from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from gemoclap.encoders.audio_classification import ForAudioClassification
from gemoclap.encoders.clip_extractor import ClipExtractor
from gemoclap.heads.classifier import HeadClassifier, SpeechClassifier, SpeechClassifierConfig


class SpeechForAudioClassification(ForAudioClassification):
    """A `SpeechClassifier` with its trained classes."""

    config_class = SpeechClassifierConfig
    model_kind = SpeechClassifier

    @classmethod
    def classifier_of(cls, model: Any) -> HeadClassifier:
        return HeadClassifier(model)


AutoFeatureExtractor.register(SpeechClassifierConfig, ClipExtractor)
AutoModelForAudioClassification.register(SpeechClassifierConfig, SpeechForAudioClassification)
