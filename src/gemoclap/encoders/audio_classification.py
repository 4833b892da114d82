"""Makes an emotion model usable in the pipeline "audio-classification" of transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar, Protocol, Self, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from gemoclap.audio import LONGEST_SECONDS, even_edges
from gemoclap.encoders.speech_model import SpeechModel, SpeechModelConfig
from gemoclap.errors import GemoclapError

PARTS_TOGETHER = 16
"""Number of parts of clips that go through the model together."""


class EmotionClassifier(Protocol):
    """The classifier of a model: `clap.classifier.PromptClassifier` or `heads.classifier.HeadClassifier`."""

    model: Any

    def embed(self, waveforms: Tensor, lengths: Tensor) -> Tensor: ...
    def logits(self, embeddings: Tensor) -> Tensor: ...


class ForAudioClassification(PreTrainedModel):
    """Base of the classes with which AutoModelForAudioClassification loads the folder of a model. Each kind of model has one.

    ``model(input_values (B, T), attention_mask (B, T))`` takes clips that a `ClipExtractor` has prepared, and returns ``logits
    (B, C)``. Their softmax is the result of `Predictor` for the trained classes. For a clip that is longer than the model uses,
    this is the mean over its parts. Saving and uploading give the same files as for the model itself.
    """

    main_input_name = "input_values"
    model_kind: ClassVar[type[SpeechModel]]
    load_options: ClassVar[dict[str, Any]] = {}
    config: SpeechModelConfig

    def __init__(self, config: SpeechModelConfig, classifier: EmotionClassifier | None = None) -> None:
        if classifier is None:
            raise GemoclapError(f"{type(self).__name__} is loaded from a model's folder: use from_pretrained")
        super().__init__(config)
        self.classifier: Any = classifier

    @classmethod
    def classifier_of(cls, model: Any) -> EmotionClassifier:
        """Return the classifier for the trained classes of a loaded model."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Self:
        """Load the folder of a model, or a repository of the hub, as `model_kind` does, in evaluation mode.

        Raises
        ------
        GemoclapError : there is no model; it is of another kind; or weights are missing or not finite.
        """
        options = {**cls.load_options, **kwargs}
        model: Any = cls.model_kind.from_pretrained(pretrained_model_name_or_path, *model_args, **options)
        return cast(Self, cls(model.config, cls.classifier_of(model)).eval())

    def forward(
        self, input_values: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        lengths = [input_values.shape[1]] * len(input_values)
        if attention_mask is not None:
            lengths = attention_mask.sum(1).tolist()
        longest = self.config.clip_settings.max_seconds or LONGEST_SECONDS
        parts = [
            [clip[first:last] for first, last in pairwise(even_edges(length, longest))]
            for clip, length in zip(input_values, lengths, strict=True)
        ]
        logits = torch.cat([*self._logits([part for of_clip in parts for part in of_clip])])
        by_clip = [_mean(of_clip) for of_clip in logits.split([len(of_clip) for of_clip in parts])]
        return SequenceClassifierOutput(logits=torch.cat(by_clip))  # type: ignore[arg-type]  # named after a class of tensors

    def _logits(self, parts: list[Tensor]) -> Iterator[Tensor]:
        """Yield the logits of waveforms ``(T,)``, for a group of them at a time."""
        for first in range(0, len(parts), PARTS_TOGETHER):
            some = parts[first : first + PARTS_TOGETHER]
            lengths = torch.tensor([len(part) for part in some], device=some[0].device)
            padded = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
            yield self.classifier.logits(self.classifier.embed(padded, lengths))

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:  # type: ignore[override]
        """Write the files of the model itself."""
        self.classifier.model.save_pretrained(save_directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:  # type: ignore[override]
        """Upload the model itself with its card, as `SpeechModel.push_to_hub` does."""
        return self.classifier.model.push_to_hub(repo_id, **kwargs)


def _mean(logits: Tensor) -> Tensor:
    """Return logits ``(1, C)`` whose softmax is the mean of those of ``(parts, C)``."""
    if len(logits) == 1:
        return logits
    probabilities = logits.softmax(dim=-1).mean(0, keepdim=True)
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()
