"""Clips go through a model in batches of like length, and come out in their order: what all predictors have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from gemoclap.audio import load_clip
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError
from gemoclap.inference.clips import Audio, Clip, ClipReader, Part, Stretch, recording_of
from gemoclap.inference.prediction import Featured, Prediction

SORTED_TOGETHER = 16
"""Batches whose clips are sorted by length together, so that a batch holds little padding."""
GROUP_SECONDS = 1200.0
"""Seconds of sound after which clips are not collected any longer to be sorted: 77 MB."""


class ClipwisePredictor(ABC):
    """Base of predictors. It imports no framework, so that one of them can do without torch.

    Attributes
    ----------
    check_speech : whether to look for speech: long pauses are left out, and a clip in which nobody speaks gets a remark that
        says so. It takes a few milliseconds a clip, and torch.
    workers : threads that read clips while the model works on others.
    """

    def __init__(self) -> None:
        self.check_speech = False
        self.workers = 1

    @abstractmethod
    def _classifier(self, labels: Sequence[str] | None) -> Any:
        """Return what `_decide` needs to choose among `labels`, or raise a GemoclapError."""

    @abstractmethod
    def _features(self, parts: Sequence[Part]) -> np.ndarray:
        """Return what the model makes of each part, ``(parts, P)``."""

    @abstractmethod
    def _decide(self, clips: Sequence[Featured], classifier: Any) -> list[Prediction | GemoclapError]:
        """Return the answer for clips by their features, or an error where that is no number."""

    @property
    @abstractmethod
    def _audio_settings(self) -> AudioSettings:
        """How clips are prepared."""

    @property
    @abstractmethod
    def _most_samples(self) -> float:
        """Samples in a batch, padding included."""

    def __call__(self, audio: Audio, labels: Sequence[str] | None = None) -> Prediction:
        """Classify one clip, trimmed as in training.

        A clip longer than those of training is cut into parts, and the answer is the mean of theirs, weighted by length. With
        `check_speech`, long pauses are left out. `inference.emotion_timeline` shows the emotions of a long recording one by
        one.

        Parameters
        ----------
        audio : a file of any format that soundfile reads, a waveform (T,) at 16 kHz mono, float with full scale at 1 or
            signed PCM, or ``{"array": waveform, "sampling_rate": Hz}``.
        labels : classes to choose among, put into the model's emotion prompt; None takes the trained ones.

        Raises
        ------
        GemoclapError : the audio cannot be read or has no samples, or fewer than two labels, others than a plain head knows, or
            words that are like no word for an emotion (see `any_words`).
        """
        prediction = next(self.predict_many([audio], labels))
        if isinstance(prediction, GemoclapError):
            raise prediction
        return prediction

    def predict_many(
        self, audios: Iterable[Audio], labels: Sequence[str] | None = None, batch_size: int = 16
    ) -> Iterator[Prediction | GemoclapError]:
        """Yield the answer for each clip in turn, or the error that kept it from being read.

        Clips are collected up to `SORTED_TOGETHER` batches or `GROUP_SECONDS` and sorted by length. Meanwhile `workers`
        threads read the next ones.
        """
        classifier = self._classifier(labels)
        for clip in self.featured(audios, batch_size):
            yield clip if isinstance(clip, GemoclapError) else self._decide([clip], classifier)[0]

    def load(self, audio: Audio) -> np.ndarray:
        """Return a clip as the model gets it, (T,) float32: decoded, trimmed, and no longer than a part may be."""
        return load_clip(recording_of(audio), self._audio_settings)

    def featured(self, audios: Iterable[Audio], batch_size: int = 16) -> Iterator[Featured | GemoclapError]:
        """Yield the pooled features of each clip in turn, or the error that kept it from being read."""
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise GemoclapError(f"batch_size must be 1 or more, not {batch_size}")
        if _is_one(audios):
            raise GemoclapError("give a list of clips, such as [clip], not one clip alone or a table")
        for group in self._groups(audios, batch_size * SORTED_TOGETHER):
            of_held = self._features_of_held(group, batch_size)
            for number, clip in enumerate(group):
                if isinstance(clip, GemoclapError):
                    yield clip
                elif clip.held is not None:
                    yield Featured.of(clip, of_held[number], [part.stretch for part in clip.held])
                else:
                    yield self._featured_in_turn(clip, batch_size)

    def _groups(self, audios: Iterable[Audio], size: int) -> Iterator[list[Clip | GemoclapError]]:
        """Yield clips that are sorted together, `size` at most; the next ones are read meanwhile."""
        reader = ClipReader(self._audio_settings, self.check_speech)
        left = iter(audios)
        group: list[Clip | GemoclapError] = []
        seconds = 0.0
        pool = ThreadPoolExecutor(self.workers)
        try:
            ahead = deque(pool.submit(reader.attempt, audio) for audio in islice(left, size))
            while ahead:
                clip = ahead.popleft().result()
                group.append(clip)
                seconds += clip.seconds if isinstance(clip, Clip) else 0.0
                ahead.extend(pool.submit(reader.attempt, audio) for audio in islice(left, 1))
                if len(group) == size or seconds > GROUP_SECONDS:
                    yield group
                    group, seconds = [], 0.0
        finally:
            pool.shutdown(cancel_futures=True)
        if group:
            yield group

    def _features_of_held(self, clips: Sequence[Clip | GemoclapError], batch_size: int) -> dict[int, np.ndarray]:
        """Return the features ``(parts, P)`` of the clips in memory, by place."""
        parts = [
            (number, part)
            for number, clip in enumerate(clips)
            if isinstance(clip, Clip) and clip.held is not None
            for part in clip.held
        ]
        rows: dict[int, list[np.ndarray]] = {}
        for (number, _), row in zip(parts, self.features_of([part for _, part in parts], batch_size), strict=True):
            rows.setdefault(number, []).append(row)
        return {number: np.stack(of_clip) for number, of_clip in rows.items()}

    def features_of(self, parts: Sequence[Part], batch_size: int) -> list[np.ndarray]:
        """Return the pooled features ``(P,)`` of each part; the model gets them in batches of like length."""
        order = sorted(range(len(parts)), key=lambda place: len(parts[place].waveform))
        found: dict[int, np.ndarray] = {}
        for batch in self._batches(((place, parts[place]) for place in order), batch_size):
            places, of_batch = zip(*batch, strict=True)
            found |= zip(places, self._features(of_batch), strict=True)
        return [found[place] for place in range(len(parts))]

    def _featured_in_turn(self, clip: Clip, batch_size: int) -> Featured | GemoclapError:
        """Return the features of a clip whose parts are read one by one."""
        features: list[np.ndarray] = []
        stretches: list[Stretch] = []
        try:
            for batch in self._batches(enumerate(clip), batch_size):
                of_batch = [part for _, part in batch]
                features.append(self._features(of_batch))
                stretches += [part.stretch for part in of_batch]
        except GemoclapError as error:
            return error
        return Featured.of(clip, np.concatenate(features), stretches)

    def _batches(self, parts: Iterable[tuple[int, Part]], batch_size: int) -> Iterator[list[tuple[int, Part]]]:
        """Yield numbered parts in batches of `_most_samples`."""
        batch: list[tuple[int, Part]] = []
        longest = 0
        for number, part in parts:
            longest = max(longest, len(part.waveform))
            if batch and (len(batch) == batch_size or (len(batch) + 1) * longest > self._most_samples):
                yield batch
                batch, longest = [], len(part.waveform)
            batch.append((number, part))
        if batch:
            yield batch


def _is_one(audios: Any) -> bool:
    """Whether something is a single clip, or a table of pandas, whose items are the names of its columns."""
    if isinstance(audios, str | bytes | os.PathLike | Mapping) or hasattr(audios, "columns"):
        return True
    is_tensor = hasattr(audios, "detach")
    holds_numbers = is_tensor or getattr(getattr(audios, "dtype", None), "kind", "O") in "biuf"
    return holds_numbers and audios.ndim == 1
