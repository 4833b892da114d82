"""GEmo-CLAP as transformers' pipeline "audio-classification" calls it."""

from __future__ import annotations

from typing import Any

from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from gemoclap.clap.classifier import PromptClassifier
from gemoclap.clap.model import GEmoClapConfig, GEmoClapModel
from gemoclap.encoders.audio_classification import ForAudioClassification
from gemoclap.encoders.clip_extractor import ClipExtractor


class GEmoClapForAudioClassification(ForAudioClassification):
    """A `GEmoClapModel` that compares a clip with the prompts of its trained classes."""

    config_class = GEmoClapConfig
    model_kind = GEmoClapModel
    load_options = {"with_text": False}

    @classmethod
    def classifier_of(cls, model: Any) -> PromptClassifier:
        return PromptClassifier(model)


AutoFeatureExtractor.register(GEmoClapConfig, ClipExtractor)
AutoModelForAudioClassification.register(GEmoClapConfig, GEmoClapForAudioClassification)
