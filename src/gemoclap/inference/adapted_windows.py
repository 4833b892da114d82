"""Adapts windows to their speakers, without labels (`group_statistics`): one after the other, or all at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gemoclap.errors import NO_NUMBERS, GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference.adaptation import statistics_of
from gemoclap.inference.prediction import likeliest
from gemoclap.inference.stream_state import LaneState, PendingWindow

if TYPE_CHECKING:
    from gemoclap.inference.predictor import Predictor

Adapt = Literal["speaker"] | Statistics | Mapping[str, Statistics] | None
"""How windows are adapted. "speaker": each speaker by the statistics of their own windows. Statistics: the same ones for all
speakers, or one by speaker, measured before. None: not at all."""

IN_MEMORY = 32 * 2**20
"""Bytes of features that stay in memory: about two hours of speech. More go to a temporary file."""
TOGETHER = 1024
"""Number of windows that are classified at a time."""


def check_adapt(adapt: object) -> None:
    """Raise a GemoclapError if something else than `Adapt` is given, such as the name of a file of statistics."""
    if not (adapt is None or isinstance(adapt, Statistics | Mapping) or isinstance(adapt, str) and adapt == "speaker"):
        raise GemoclapError(
            f"adapt must be 'speaker', statistics or None, not {adapt!r}; gemoclap.inference.adaptation.read_statistics reads "
            "a file of --save_adapt"
        )


class WindowAnswer(NamedTuple):
    """The prediction for a window; the fields are those of `stream.EmotionWindow`."""

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
        """Add the features ``(P,)`` of the next window."""
        self._size = features.nbytes
        self._file.write(features.astype(np.float32).tobytes())

    def blocks(self, windows: int) -> Iterator[np.ndarray]:
        """Yield all features, ``(N, P)`` with N at most `windows`."""
        self._file.seek(0)
        while block := self._file.read(windows * self._size):
            yield np.frombuffer(block, np.float32).reshape(-1, self._size // 4)


class WindowAdapter:
    """Classifies windows after scaling their features to the mean and deviation of the training set.

    With "speaker", the statistics of a speaker come from all of the speaker's windows so far, including the current one. The
    fewer there are, the more the statistics of training count (`group_statistics.STRENGTH`). Windows overlap, so only the part
    of a window that is new counts. Windows without speech, and those without a prediction, do not count.

    Parameters
    ----------
    adapt : whose statistics are used.
    speakers : all speakers of the windows.
    labels, batch_size : as for `stream.EmotionStream`.
    kept : collects the features, before adaptation, of all windows that have a prediction.

    Raises
    ------
    GemoclapError : the model does not standardise its features, or there are no statistics of a speaker.
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
        # None: measure them on the windows so far.
        self._known = None if adapt == "speaker" else {name: statistics_of(name, adapt) for name in speakers}

    def answers(
        self, batch: Sequence[PendingWindow], lanes: Mapping[str, LaneState]
    ) -> list[WindowAnswer | GemoclapError]:
        """Return the predictions for windows, in their order, and update the statistics in `lanes`."""
        clips = self._predictor.clip_features([one.samples for one in batch], self._batch_size)
        found: list[WindowAnswer | GemoclapError] = [one for one in clips if isinstance(one, GemoclapError)]
        if len(found) == len(batch):
            return found
        adapted = [
            self._statistics(window, lanes[window.speaker], one.features, one.has_speech).apply(one.features[None])
            for window, one in zip(batch, clips, strict=True)
            if not isinstance(one, GemoclapError)
        ]
        decided = iter(self._predictor.probabilities(np.concatenate(adapted), self._labels))
        labels = tuple(self._labels or self._predictor.labels)
        found = []
        for one in clips:
            if isinstance(one, GemoclapError):
                found.append(one)
                continue
            found.append(answer_of(labels, next(decided), one.remark))
            if self._kept and isinstance(found[-1], WindowAnswer):
                self._kept.add(one.features)
        return found

    def statistics(self, speaker: str, lanes: Mapping[str, LaneState]) -> Statistics | None:
        """Return the statistics of a speaker. With "speaker", this is None before the speaker's first window."""
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
) -> Iterator[WindowAnswer | GemoclapError]:
    """Yield the predictions for kept windows, each adapted by the final statistics of its speaker.

    Parameters
    ----------
    speakers : the speaker of each kept window.
    """
    names = tuple(labels or predictor.labels)
    place = 0
    for block in kept.blocks(TOGETHER):
        own = speakers[place : place + len(block)]
        adapted = [statistics[speaker].apply(row[None]) for speaker, row in zip(own, block, strict=True)]
        for row in predictor.probabilities(np.concatenate(adapted), labels):
            yield answer_of(names, row, None)
        place += len(block)


def answer_of(labels: Sequence[str], probabilities: np.ndarray, remark: str | None) -> WindowAnswer | GemoclapError:
    """Return the answer with these probabilities ``(C,)``, or an error if one of them is not a number."""
    if not np.isfinite(probabilities).all():
        return GemoclapError(NO_NUMBERS)
    return WindowAnswer(*likeliest(labels, probabilities), remark)
