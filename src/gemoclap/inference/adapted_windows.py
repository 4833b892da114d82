"""Adaptation of windows to whoever speaks in them, without labels (`inference.adaptation`), as they come or all together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gemoclap.errors import NO_NUMBERS, GemoclapError
from gemoclap.inference.adaptation import Statistics, statistics_of
from gemoclap.inference.prediction import likeliest
from gemoclap.inference.stream_state import LaneState, PendingWindow

if TYPE_CHECKING:
    from gemoclap.inference.predictor import Predictor

Adapt = Literal["speaker"] | Statistics | Mapping[str, Statistics] | None
"""Each speaker is adapted to their own windows ("speaker"), or by statistics that were measured before, one for all or one a
speaker. None: nothing is adapted."""

IN_MEMORY = 32 * 2**20
"""Bytes of features that stay in memory: about two hours of speech. More go to a temporary file."""
TOGETHER = 1024
"""Windows that go through the head at a time."""


class Answer(NamedTuple):
    """What is said of a window; see `stream.EmotionWindow`."""

    emotion: str
    confidence: float
    probabilities: dict[str, float]
    remark: str | None


class KeptFeatures:
    """Features of any number of windows, in the order in which they were added; memory does not grow beyond `IN_MEMORY`."""

    def __init__(self) -> None:
        # Kept open for as long as this object lives; it has no name, so nothing is left behind.
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._size = 0

    def add(self, features: np.ndarray) -> None:
        """Take the features ``(P,)`` of the next window."""
        self._size = features.nbytes
        self._file.write(features.astype(np.float32).tobytes())

    def blocks(self, windows: int) -> Iterator[np.ndarray]:
        """Yield all features, ``(N, P)`` with N at most `windows`."""
        self._file.seek(0)
        while block := self._file.read(windows * self._size):
            yield np.frombuffer(block, np.float32).reshape(-1, self._size // 4)


class WindowAdapter:
    """Classifies windows, with their features brought to the training's mean and deviation.

    With "speaker", the statistics of a speaker are those of all their windows so far, the one in question included; few count
    little beside those of training (`adaptation.STRENGTH`). Windows overlap, so each counts with the share of it that no
    earlier one had. Windows in which nobody speaks, and those without an answer, do not count.

    Parameters
    ----------
    adapt : whose statistics are used.
    speakers : that there will be windows of.
    labels, batch_size : as for `stream.EmotionStream`.
    kept : gets the features, before they are adapted, of all windows that have an answer.

    Raises
    ------
    GemoclapError : the model does not standardise its features; there are no statistics of a speaker.
    """

    def __init__(
        self,
        predictor: Predictor,
        adapt: Literal["speaker"] | Statistics | Mapping[str, Statistics],
        speakers: Sequence[str],
        labels: Sequence[str] | None,
        batch_size: int,
        kept: KeptFeatures | None = None,
    ) -> None:
        predictor.check_adaptable()
        self._predictor, self._labels, self._batch_size, self._kept = predictor, labels, batch_size, kept
        # None: those of the windows so far.
        self._known = None if adapt == "speaker" else {name: statistics_of(name, adapt) for name in speakers}

    def answers(self, batch: Sequence[PendingWindow], lanes: Mapping[str, LaneState]) -> list[Answer | GemoclapError]:
        """Return what is said of windows, in their order; the statistics in `lanes` are brought up to date."""
        heard = self._predictor.clip_features([one.samples for one in batch], self._batch_size)
        found: list[Answer | GemoclapError] = [one for one in heard if isinstance(one, GemoclapError)]
        if len(found) == len(batch):
            return found
        adapted = [
            self._statistics(window, lanes[window.speaker], one.features, one.has_speech).apply(one.features[None])
            for window, one in zip(batch, heard, strict=True)
            if not isinstance(one, GemoclapError)
        ]
        decided = iter(self._predictor.probabilities(np.concatenate(adapted), self._labels))
        labels = tuple(self._labels or self._predictor.labels)
        found = []
        for one in heard:
            if isinstance(one, GemoclapError):
                found.append(one)
                continue
            found.append(answer_of(labels, next(decided), one.remark))
            if self._kept and isinstance(found[-1], Answer):
                self._kept.add(one.features)
        return found

    def statistics(self, speaker: str, lanes: Mapping[str, LaneState]) -> Statistics | None:
        """Return those of a speaker; None before their first window, if they are those of the windows so far."""
        return lanes[speaker].statistics if self._known is None else self._known[speaker]

    def _statistics(self, window: PendingWindow, lane: LaneState, features: np.ndarray, counts: bool) -> Statistics:
        if self._known is not None:
            return self._known[window.speaker]
        if lane.statistics is None:
            lane.statistics = Statistics.of(features[None][:0])
        if counts and np.isfinite(features).all():
            share = (window.last - max(window.first, lane.counted)) / (window.last - window.first)
            lane.statistics = lane.statistics.with_clip(features, max(0.0, share))
            lane.counted = max(lane.counted, window.last)
        return lane.statistics


def answers_by_all(
    predictor: Predictor,
    kept: KeptFeatures,
    speakers: Sequence[str],
    statistics: Mapping[str, Statistics],
    labels: Sequence[str] | None,
) -> Iterator[Answer | GemoclapError]:
    """Yield what is said of kept windows, each adapted by the statistics of its speaker that are known in the end.

    Parameters
    ----------
    speakers : of each window that was kept.
    """
    names = tuple(labels or predictor.labels)
    place = 0
    for block in kept.blocks(TOGETHER):
        own = speakers[place : place + len(block)]
        adapted = [statistics[speaker].apply(row[None]) for speaker, row in zip(own, block, strict=True)]
        for row in predictor.probabilities(np.concatenate(adapted), labels):
            yield answer_of(names, row, None)
        place += len(block)


def answer_of(labels: Sequence[str], probabilities: np.ndarray, remark: str | None) -> Answer | GemoclapError:
    """Return the answer with these probabilities ``(C,)``, or an error where they are no numbers."""
    if not np.isfinite(probabilities).all():
        return GemoclapError(NO_NUMBERS)
    return Answer(*likeliest(labels, probabilities), remark)
