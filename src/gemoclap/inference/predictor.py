"""A folder with a model -> the emotion of a clip."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch

from gemoclap.audio import SAMPLE_RATE, load_audio, prepare_clip
from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.models import Classifier, EmotionModel, classifier_of, load_emotion_model

Audio = str | os.PathLike | np.ndarray | Utterance
"""A file, a manifest row (its stretch of the file), or a waveform (T,) at 16 kHz mono: float with full scale at 1, or
signed PCM."""


@dataclass(frozen=True)
class Prediction:
    """What is said of one clip.

    Attributes
    ----------
    emotion : the likeliest label.
    confidence : its probability.
    probabilities : label -> probability; they add up to one.
    embedding : (E,) float32: of unit length in the space that audio and prompts share; of a model with a plain head its
        pooled features.
    """

    emotion: str
    confidence: float
    probabilities: dict[str, float]
    embedding: np.ndarray = field(repr=False)


class Predictor:
    """Emotions of clips, by the classes a model was trained on or, compared with prompts, by any others.

    The same clip gives the same numbers alone, among others (to within 1e-6), and at every call.

    Examples
    --------
    >>> predictor = Predictor.from_pretrained("runs/demo/model")  # doctest: +SKIP
    >>> predictor("clip.wav").emotion  # doctest: +SKIP
    'happy'
    >>> predictor("clip.wav", labels=["bored", "excited"]).probabilities  # doctest: +SKIP
    {'bored': 0.07, 'excited': 0.93}
    """

    def __init__(self, model: EmotionModel) -> None:
        self.model = model.eval()
        self._classifiers: dict[str | tuple[str, ...] | None, Classifier] = {}

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, device: str | torch.device | None = None) -> Self:
        """Load a model's folder, or a repository of the hub.

        Parameters
        ----------
        device : where it runs; None takes the accelerator where there is one.

        Raises
        ------
        GemoclapError : there is no model.
        """
        folder = Path(name)
        if folder.is_dir() and not (folder / "config.json").is_file():
            raise GemoclapError(f"{folder}: no model in it (no config.json); {_where_to_look(folder)}")
        model = load_emotion_model(name)
        model.to(device or default_device())  # type: ignore[arg-type]  # transformers' wrapper of it is typed as a plain function
        return cls(model)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes the model was trained on."""
        return self.model.config.emotions.emotions

    def __call__(self, audio: Audio, labels: Sequence[str] | None = None) -> Prediction:
        """Classify one clip, trimmed as in training.

        Parameters
        ----------
        audio : a file of any format that soundfile reads, or a waveform (T,) at 16 kHz mono, float with full scale at 1
            or signed PCM.
        labels : classes to choose among, put into the model's emotion prompt; None takes the trained ones.

        Raises
        ------
        GemoclapError : the audio cannot be read or has no samples, or fewer than two labels, or others than a plain head knows.
        """
        prediction = next(self.predict_many([audio], labels))
        if isinstance(prediction, GemoclapError):
            raise prediction
        return prediction

    def predict_many(
        self, audios: Sequence[Audio], labels: Sequence[str] | None = None, batch_size: int = 16
    ) -> Iterator[Prediction | GemoclapError]:
        """Yield, for each clip in turn, what is said of it, or the error that kept it from being read."""
        classifier = self._classifier(labels)
        for first in range(0, len(audios), batch_size):
            clips = [_attempt(self.load, audio) for audio in audios[first : first + batch_size]]
            predictions = self._classify([clip for clip in clips if isinstance(clip, np.ndarray)], classifier)
            for clip in clips:
                yield clip if isinstance(clip, GemoclapError) else next(predictions)

    def load(self, audio: Audio) -> np.ndarray:
        """Return a clip as the encoder gets it, (T,) float32: decoded and trimmed as in training."""
        return prepare_clip(decode(audio), self.model.config.audio_settings)

    def _classifier(self, labels: Sequence[str] | None) -> Classifier:
        key = labels if labels is None or isinstance(labels, str) else tuple(labels)
        if key not in self._classifiers:
            self._classifiers[key] = classifier_of(self.model, labels)
        return self._classifiers[key]

    def _classify(self, waveforms: Sequence[np.ndarray], classifier: Classifier) -> Iterator[Prediction]:
        if not waveforms:
            return
        clips = [torch.from_numpy(waveform) for waveform in waveforms]
        lengths = torch.tensor([len(clip) for clip in clips], device=self.model.device)
        padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True).to(self.model.device)
        with torch.inference_mode():
            embeddings = classifier.embed(padded, lengths)
            probabilities = classifier.classify(embeddings).cpu().numpy()
        for scores, embedding in zip(probabilities, embeddings.cpu().numpy(), strict=True):
            by_label = {label: float(score) for label, score in zip(classifier.labels, scores, strict=True)}
            emotion = max(by_label, key=lambda label: by_label[label])
            yield Prediction(emotion, by_label[emotion], by_label, embedding)


def default_device() -> torch.device:
    """Return the accelerator, or the CPU where there is none."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def decode(audio: Audio) -> np.ndarray:
    """Return a clip as it was recorded, (T,) float32 at 16 kHz."""
    if isinstance(audio, Utterance):
        return load_audio(audio.path, audio.start, audio.end)
    if isinstance(audio, str | os.PathLike):
        return load_audio(audio)
    return _checked(np.asarray(audio))


def _where_to_look(folder: Path) -> str:
    """Return a hint for the folder of a run, which holds one model, or one a method and fold."""
    for pattern in ("model", "*/model", "*/*/model"):
        for inner in sorted(folder.glob(pattern)):
            if (inner / "config.json").is_file():
                return f"did you mean {inner}?"
    return "'gemoclap train' writes one"


def _attempt(load: Callable[[Audio], np.ndarray], audio: Audio) -> np.ndarray | GemoclapError:
    try:
        return load(audio)
    except GemoclapError as error:
        return error


def _checked(waveform: np.ndarray) -> np.ndarray:
    """Return a waveform as `load_audio` would have: float32, full scale at 1."""
    if waveform.ndim != 1 or not len(waveform):
        raise GemoclapError(
            f"a waveform must be one-dimensional, mono at {SAMPLE_RATE} Hz, not of shape {waveform.shape}"
        )
    if waveform.dtype.kind == "i":
        waveform = waveform / -float(np.iinfo(waveform.dtype).min)
    if waveform.dtype.kind != "f":
        raise GemoclapError(f"a waveform must hold float or signed PCM samples, not {waveform.dtype}")
    waveform = waveform.astype(np.float32)
    if not np.isfinite(waveform).all():
        raise GemoclapError("the waveform has NaN or infinite samples; mend the recording")
    return waveform
