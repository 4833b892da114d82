"""Stand-ins for streams: a net that hears loud frames as speech, and a model whose answer can be told from the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
from torch import Tensor

from gemoclap.errors import GemoclapError
from gemoclap.inference.prediction import ClipFeatures, Prediction
from gemoclap.inference.silero import CONTEXT

LABELS = ("calm", "loud")


class LoudNet:
    """Takes a frame whose RMS is above 0.02 for speech."""

    def __call__(self, frames: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loud = frames[:, CONTEXT:].square().mean(1).sqrt() > 0.02
        return loud.float() * 0.9 + 0.02, hidden, cell


class LoudnessPredictor:
    """Says how loud a window is."""

    labels = LABELS

    def __init__(self, max_seconds: float | None = None) -> None:
        self.model = SimpleNamespace(config=SimpleNamespace(audio_settings=SimpleNamespace(max_seconds=max_seconds)))
        self.batches: list[int] = []

    def check_labels(self, labels: Sequence[str] | None) -> None:
        if labels is not None and len(labels) < 2:
            raise GemoclapError("labels must be two or more")

    def predict_many(
        self, audios: Sequence[np.ndarray], labels: Sequence[str] | None = None, batch_size: int = 16
    ) -> Iterator[Prediction]:
        self.batches.append(len(audios))
        return map(self.predict, audios)

    def predict(self, samples: np.ndarray) -> Prediction:
        loud = float(min(1.0, np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))
        by_label = {"calm": 1 - loud, "loud": loud}
        emotion = max(by_label, key=lambda label: by_label[label])
        return Prediction(emotion, by_label[emotion], by_label, np.zeros(1))


class FeaturePredictor(LoudnessPredictor):
    """Classifies by three features of a window, and can be adapted."""

    def check_adaptable(self) -> None: ...

    def feature_space(self) -> str:
        self.check_adaptable()
        return "level, height and crossings"

    def features_of(self, samples: np.ndarray) -> np.ndarray:
        wide = samples.astype(np.float64)
        crossings = np.mean(np.diff(np.sign(wide)) != 0)
        return np.array([8 * np.sqrt(np.mean(wide**2)) - 2, 5 * np.abs(wide).mean(), crossings], np.float32)

    def clip_features(self, audios: Sequence[np.ndarray], batch_size: int = 16) -> list[ClipFeatures | GemoclapError]:
        return [ClipFeatures(self.features_of(one), bool(np.abs(one).max() > 0.001), None) for one in audios]

    def probabilities(self, features: np.ndarray, labels: Sequence[str] | None = None) -> np.ndarray:
        scores = features.astype(np.float64) @ [[0.5, -0.5], [0.3, 0.9], [-1.0, 1.0]]
        return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


NO_ANSWER = "the waveform: its probabilities are not numbers; look for extreme samples in the recording"


class FailingPredictor(LoudnessPredictor):
    """Has no answer for windows with these numbers, counted from 0."""

    def __init__(self, failing: Sequence[int]) -> None:
        super().__init__()
        self._failing, self._seen = set(failing), 0

    def predict_many(
        self, audios: Sequence[np.ndarray], labels: Sequence[str] | None = None, batch_size: int = 16
    ) -> Iterator[Prediction | GemoclapError]:
        for answer in super().predict_many(audios):
            yield GemoclapError(NO_ANSWER) if self._seen in self._failing else answer
            self._seen += 1


def speech_like(seconds: float, seed: int = 0, sample_rate: int = 16000) -> np.ndarray:
    """Return bursts of noise of several lengths and levels with pauses between, float32 ``(T,)``."""
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * sample_rate:
        burst, pause = rng.integers(int(0.2 * sample_rate), int(7 * sample_rate)), rng.integers(int(1.5 * sample_rate))
        parts += [rng.uniform(0.05, 0.9) * rng.uniform(-1, 1, burst), np.zeros(pause)]
    return np.concatenate(parts)[: round(seconds * sample_rate)].astype(np.float32)
