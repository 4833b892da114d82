"""A speech encoder with a plain head, for GMP-TL and as a baseline for the contrastive methods."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.cards import read_card
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.speech_model import (
    Projection,
    SpeechModel,
    SpeechModelConfig,
    check_config,
    check_loaded,
    restore_audio,
    speech_fields,
)
from gemoclap.labels import GENDERS, Vocabulary, chosen_labels, class_columns

Head = Literal["linear", "cosine"]


class SpeechClassifierConfig(SpeechModelConfig):
    """A speech encoder, its pooling and a plain head.

    Attributes
    ----------
    head : ``"linear"``, or ``"cosine"`` between features and class weights, for AM-Softmax.
    scale : factor s on the cosines in the softmax, as in AM-Softmax.
    gender_head : whether a second, linear head predicts the gender.
    projection_dim, projection_dropout : size and dropout of a projection between pooled features and heads, like that of the
        contrastive methods; None = no projection.
    """

    model_type = "gemoclap-classifier"

    head: Head = "linear"
    scale: float = 30.0
    gender_head: bool = False
    projection_dim: int | None = None
    projection_dropout: float = 0.0


class CosineHead(nn.Module):
    """Cosines between features ``(B, D)`` and class weights: ``(B, C)``."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, inputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(functional.normalize(features, dim=-1), functional.normalize(self.weight, dim=-1))


class SpeechClassifier(SpeechModel):
    """``model(waveforms (B, T) float32, lengths (B,))``, or with other inputs of `get_audio_features`, returns a dict.

    It has ``logits (B, C)``, or ``cosines (B, C)`` for a cosine head, and with a gender head ``gender_logits (B, 2)``.
    """

    config_class = SpeechClassifierConfig
    config: SpeechClassifierConfig

    def __init__(self, config: SpeechClassifierConfig, audio_encoder: SpeechEncoder | None = None) -> None:
        super().__init__(config, audio_encoder)
        classes = len(config.emotions.emotions)
        make = CosineHead if config.head == "cosine" else nn.Linear
        size = self.audio_dim
        self.projection: nn.Module = nn.Identity()
        if config.projection_dim is not None:
            size = config.projection_dim
            self.projection = Projection(self.audio_dim, size, config.projection_dropout)
        self.emotion_head = make(size, classes)
        self.gender_head = nn.Linear(size, len(GENDERS)) if config.gender_head else None
        self.post_init()

    @classmethod
    def from_audio_pretrained(
        cls,
        audio_encoder: str,
        vocabulary: Vocabulary,
        settings: ModelSettings | None = None,
        *,
        audio: AudioSettings | None = None,
        method: str | None = None,
        head: Head = "linear",
        scale: float = 30.0,
        gender_head: bool = False,
    ) -> Self:
        """Put new heads on an encoder from a hub id or a folder; heads are initialised from the global torch seed.

        Raises
        ------
        GemoclapError : the encoder cannot be loaded, or `settings.freeze` names more layers than there are.
        """
        settings = settings or ModelSettings()
        speech = load_audio_encoder(audio_encoder, settings.layers, settings.audio_options, settings.keep_layers)
        speech.settle(settings)
        config = SpeechClassifierConfig(
            **speech_fields(speech, vocabulary, settings, audio),
            method=method,
            head=head,
            scale=scale,
            gender_head=gender_head,
            projection_dim=settings.projection_dim if settings.project_plain_heads else None,
            projection_dropout=settings.projection_dropout if settings.project_plain_heads else 0.0,
        )
        model = cls(config, speech)
        return model

    def forward(
        self, waveforms: Tensor | None = None, lengths: Tensor | None = None, **cached: Tensor
    ) -> dict[str, Tensor]:
        features = self.projection(self.get_audio_features(waveforms, lengths, **cached))
        outputs = {"cosines" if self.config.head == "cosine" else "logits": self.emotion_head(features)}
        if self.gender_head is not None:
            outputs["gender_logits"] = self.gender_head(features)
        return outputs

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Self:
        """Load a folder that `save_pretrained` wrote, or such a repository of the hub; only safetensors are read.

        The model is in evaluation mode.

        Raises
        ------
        GemoclapError : there is no model, it is of another kind, or weights are missing or not finite.
        """
        name = str(pretrained_model_name_or_path)
        with readable_errors(name):
            config = kwargs.pop("config", None) or SpeechClassifierConfig.from_pretrained(name)
            check_config(name, config)
            loaded: Any = super().from_pretrained(
                name, *model_args, config=config, use_safetensors=True, output_loading_info=True, **kwargs
            )
        model, report = loaded
        check_loaded(name, model, restore_audio(model, report["missing_keys"]))
        model.card = read_card(name, kwargs)
        return model.eval()


class HeadClassifier(nn.Module):
    """A trained model with a plain head as a classifier: ``classifier(waveforms, lengths) -> probabilities (B, C)``.

    Parameters
    ----------
    labels : two or more of the classes that the model was trained on, in any order and case, or other names for them
        (`labels.same_word`); None takes them all. The softmax is over these classes alone.

    Raises
    ------
    GemoclapError : fewer than two labels, a label given twice, or one that is no class of the model.
    """

    def __init__(self, model: SpeechClassifier, labels: Sequence[str] | None = None) -> None:
        super().__init__()
        trained = model.config.emotions.emotions
        self.labels = chosen_labels(labels, trained)
        columns = class_columns(self.labels, trained)
        self._columns = None if columns == [*range(len(trained))] else columns
        self.model = model
        self.is_calibrated = model.config.calibration is not None

    def embed(self, waveforms: Tensor | None = None, lengths: Tensor | None = None, **cached: Tensor) -> Tensor:
        """Return the pooled features ``(B, D_a)``, projected if the model does so, of unit length for a cosine head."""
        return self.embed_features(self.model.get_audio_features(waveforms, lengths, **cached))

    def embed_features(self, features: Tensor) -> Tensor:
        """Return the same of what `SpeechClassifier.get_audio_features` returns."""
        projected = self.model.projection(features)
        return functional.normalize(projected, dim=-1) if self.model.config.head == "cosine" else projected

    def classify(self, embeddings: Tensor) -> Tensor:
        """Return probabilities ``(B, C)`` of what `embed` returned: for cosines the softmax of ``scale * cosine``.

        If a temperature was fitted, the logits are divided by it.
        """
        return self.logits(embeddings).softmax(dim=-1)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return what the softmax is over, ``(B, C)``."""
        scale = self.model.config.scale if self.model.config.head == "cosine" else 1.0
        logits = (scale * self.model.emotion_head(embeddings)).float()
        if self._columns is not None:
            logits = logits[:, self._columns]
        return logits / self.model.config.softmax_temperature

    def forward(self, waveforms: Tensor | None = None, lengths: Tensor | None = None, **cached: Tensor) -> Tensor:
        return self.classify(self.embed(waveforms, lengths, **cached))


AutoConfig.register(SpeechClassifierConfig.model_type, SpeechClassifierConfig)
AutoModel.register(SpeechClassifierConfig, SpeechClassifier)
