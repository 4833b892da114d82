"""Smooths the emotions of windows over time, and joins windows with the same emotion into segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.inference.answers import UNKNOWN

SMOOTH_SECONDS = 2.0
"""Default reach of the smoothing [C]."""


def check_smoothing(smooth: float, threshold: float) -> None:
    """Raise a GemoclapError if seconds of smoothing, or the smallest probability of an emotion, make no sense."""
    if not 0 <= smooth < float("inf"):
        raise GemoclapError(f"smooth must be 0 seconds or more, not {smooth}")
    if not 0 <= threshold <= 1:
        raise GemoclapError(f"threshold must lie between 0 and 1, not {threshold}")


@dataclass(frozen=True)
class EmotionSegment:
    """A part of the speech with one emotion.

    Attributes
    ----------
    start, end : seconds.
    emotion : the most probable label in all of its windows, or `UNKNOWN`.
    confidence : mean smoothed probability of the emotion; for `UNKNOWN`, of the most probable label; 0 if there is no answer.
    probabilities : label -> mean smoothed probability; empty if there is no answer.
    error : why there is no answer; None if there is one.
    """

    start: float
    end: float
    emotion: str
    confidence: float
    probabilities: dict[str, float]
    error: str | None = None


def smoothed(middles: np.ndarray, probabilities: np.ndarray, reach: float) -> np.ndarray:
    """Average probabilities over time with a triangular kernel.

    A window at a distance of d seconds, from middle to middle, has the weight ``1 - d / reach``, or 0 if d is `reach` or more.
    The weights are divided by their sum, so rows still add up to one.

    Parameters
    ----------
    middles : ``(N,)`` seconds, in increasing order.
    probabilities : ``(N, C)``; NaN for a window without an answer. Such a window keeps NaN, and does not count for others.
    reach : seconds; 0 leaves the probabilities unchanged.

    Returns
    -------
    ``(N, C)`` float64.
    """
    found = np.array(probabilities, np.float64)
    if reach <= 0:
        return found
    answered = np.isfinite(found.sum(axis=1))
    lows = np.searchsorted(middles, middles - reach, side="left")
    highs = np.searchsorted(middles, middles + reach, side="right")
    for place, (low, high) in enumerate(zip(lows, highs, strict=True)):
        if answered[place]:
            near = low + np.flatnonzero(answered[low:high])
            weights = np.maximum(0.0, 1 - np.abs(middles[near] - middles[place]) / reach)
            found[place] = weights @ np.asarray(probabilities[near], np.float64) / weights.sum()
    return found


def segments(
    labels: Sequence[str],
    speech: Sequence[tuple[float, float]],
    windows: Sequence[tuple[float, float]],
    probabilities: np.ndarray,
    threshold: float = 0.0,
    errors: Sequence[str | None] | None = None,
) -> list[EmotionSegment]:
    """Join neighbouring windows with the same most probable emotion.

    Every moment of speech belongs to the window with the nearest middle. No segment contains a pause.

    Parameters
    ----------
    labels : names of the C columns.
    speech : (start, end) of continuous speech in seconds, in order.
    windows : (start, end) of N windows in seconds, in order; each lies in one entry of `speech`.
    probabilities : ``(N, C)``, smoothed; NaN for a window without an answer.
    threshold : a window in which no label has this probability is `UNKNOWN`.
    errors : for each window, why it has no answer, or None if it has one. None: all have one.
    """
    found: list[EmotionSegment] = []
    errors = errors or [None] * len(windows)
    leading = [
        (_leading(labels, row, threshold) if error is None else UNKNOWN, error)
        for row, error in zip(probabilities, errors, strict=True)
    ]
    first = 0
    own = owned(speech, windows)
    for place, (_, end) in enumerate(own, 1):
        if place < len(own) and leading[place] == leading[first] and own[place][0] == end:
            continue
        emotion, error = leading[first]
        if error is None:
            seconds = np.array([last - start for start, last in own[first:place]])
            mean = seconds @ probabilities[first:place] / seconds.sum()
            found.append(_segment(labels, own[first][0], end, emotion, mean))
        else:
            found.append(EmotionSegment(float(own[first][0]), float(end), UNKNOWN, 0.0, {}, error))
        first = place
    return found


def owned(speech: Sequence[tuple[float, float]], windows: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return (start, end) of the speech that belongs to each window, divided as in `segments`."""
    found: list[tuple[float, float]] = []
    for start, end in speech:
        inside = len(found)
        while inside < len(windows) and windows[inside][0] < end:
            inside += 1
        middles = [sum(window) / 2 for window in windows[len(found) : inside]]
        between = [(before + after) / 2 for before, after in zip(middles, middles[1:], strict=False)]
        edges = [start, *between, end]
        found += zip(edges[: len(middles)], edges[1:], strict=False)
    return found


def summed_up(
    labels: Sequence[str],
    own: Sequence[tuple[float, float]],
    probabilities: np.ndarray,
    width: float,
    threshold: float = 0.0,
) -> list[EmotionSegment]:
    """Return a segment for every `width` seconds that contain speech with an answer, with the mean over that speech.

    Parameters
    ----------
    own : the result of `owned`.
    probabilities : ``(N, C)``, smoothed; NaN for a window without an answer.
    threshold : as for `segments`.
    """
    seconds: dict[int, float] = {}
    sums: dict[int, np.ndarray] = {}
    for (start, end), row in zip(own, probabilities, strict=True):
        for number in range(int(start // width), int(end // width) + 1):
            share = min(end, (number + 1) * width) - max(start, number * width)
            if share > 0 and np.isfinite(row).all():
                seconds[number] = seconds.get(number, 0.0) + share
                sums[number] = sums.get(number, np.zeros(len(labels))) + share * row
    means = {number: sums[number] / seconds[number] for number in sorted(sums)}
    return [
        _segment(labels, number * width, (number + 1) * width, _leading(labels, mean, threshold), mean)
        for number, mean in means.items()
    ]


def _leading(labels: Sequence[str], row: np.ndarray, threshold: float) -> str:
    return labels[int(row.argmax())] if row.max() >= threshold else UNKNOWN


def _segment(labels: Sequence[str], start: float, end: float, emotion: str, mean: np.ndarray) -> EmotionSegment:
    by_label = dict(zip(labels, map(float, mean), strict=True))
    return EmotionSegment(float(start), float(end), emotion, by_label.get(emotion, max(by_label.values())), by_label)
