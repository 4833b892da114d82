"""All class prompts in one weight matrix, for evaluation, prediction and export."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gemoclap.clap.model import GEmoClapModel, fill_prompt
from gemoclap.errors import GemoclapError
from gemoclap.labels import chosen_labels, prompt_word, refuse_same, untrained_labels


class PromptClassifier(nn.Module):
    """A trained model with its class prompts encoded once: ``classifier(waveforms, lengths) -> probabilities (B, C)``.

    The class of a clip is that of the most similar prompt [P]; its probabilities are the softmax over the classes of
    ``eps_a * cosine / T``. T is the temperature that was fitted for the trained classes, if all labels are these classes or
    known words for them [C]; if one is new (`labels.untrained_labels`), T is 1.

    Parameters
    ----------
    labels : the classes, which can be any words; each is put into the emotion prompt (`labels.prompt_word`). None = those the
        model was trained on.
    prompts : complete prompts to use instead, one per label.

    Raises
    ------
    GemoclapError : fewer than two labels, a label given twice, or not as many prompts as labels.
    """

    weight: Tensor
    is_calibrated: bool
    """Whether the temperature that was fitted on held-out predictions of the trained classes is used."""

    def __init__(
        self, model: GEmoClapModel, labels: Sequence[str] | None = None, prompts: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.labels = chosen_labels(labels, model.config.emotions.emotions)
        if prompts is None:
            emotions = model.config.emotions.emotions
            words = [prompt_word(label, emotions) for label in self.labels]
            refuse_same(self.labels, words)
            prompts = [fill_prompt(model.config.emotion_prompt, word) for word in words]
            trained = not untrained_labels(self.labels, emotions)
        else:
            trained = False
        self.prompts = tuple(prompts)
        if len(self.prompts) != len(self.labels):
            raise GemoclapError(f"{len(self.prompts)} prompts for {len(self.labels)} labels; give one each")
        self.model = model
        with torch.no_grad():
            embeddings = model.embed_prompts(self.prompts)
            scale, _ = model.emotion_head.scales()
        self.is_calibrated = trained and model.config.calibration is not None
        temperature = model.config.softmax_temperature if self.is_calibrated else 1.0
        self.register_buffer("weight", scale * embeddings / temperature, persistent=False)

    def embed(self, waveforms: Tensor | None = None, lengths: Tensor | None = None, **cached: Tensor) -> Tensor:
        """Return unit-length audio embeddings ``(B, E)`` of what `GEmoClapModel.get_audio_features` takes."""
        return self.embed_features(self.model.get_audio_features(waveforms, lengths, **cached))

    def embed_features(self, features: Tensor) -> Tensor:
        """Return unit-length audio embeddings ``(B, E)`` of what `GEmoClapModel.get_audio_features` returns."""
        return self.model.emotion_head.embed_audio(features)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Return probabilities ``(B, C)`` of audio embeddings ``(B, E)``."""
        return self.logits(embeddings).softmax(dim=-1)

    def logits(self, embeddings: Tensor) -> Tensor:
        """Return what the softmax is over, ``eps_a * cosine / T`` ``(B, C)``, of audio embeddings ``(B, E)``."""
        return embeddings.float() @ self.weight.T

    def forward(self, waveforms: Tensor | None = None, lengths: Tensor | None = None, **cached: Tensor) -> Tensor:
        return self.classify(self.embed(waveforms, lengths, **cached))
