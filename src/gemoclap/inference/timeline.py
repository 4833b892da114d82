"""Recordings of any length, cut into windows no longer than the clips of training, with times of the recording."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gemoclap.audio import SAMPLE_RATE, Recording, from_int16, kept_range, to_int16
from gemoclap.config import AudioSettings
from gemoclap.ems.intensity import IntensityModel, intensity_curve

WINDOW_SECONDS = 30.0
"""The longest window where the clips of training had any length."""


def windows(recording: Recording, audio: AudioSettings) -> Iterator[tuple[float, np.ndarray]]:
    """Cut a recording into windows of about equal length, each prepared as a clip of training.

    Silence at head and tail is left out where training's was; nothing is cut off otherwise. One window is in memory at a
    time, and each is rounded to 16 bits by itself, as clips are.

    Parameters
    ----------
    recording : of any length.
    audio : how the clips of training were prepared.

    Yields
    ------
    Of each window where it starts, in seconds of the recording, and its samples.
    """
    first, last = kept_range(recording, replace(audio, max_seconds=None))
    samples = (recording.samples if last is None else last) - first
    number = math.ceil(samples / ((audio.max_seconds or WINDOW_SECONDS) * SAMPLE_RATE))
    shorter, longer = divmod(samples, number)  # so many windows have one sample more
    edges = [first + place * shorter + min(place, longer) for place in range(number + 1)]
    for start, window in zip(edges, recording.pieces(edges), strict=False):
        yield start / SAMPLE_RATE, from_int16(*to_int16(window))


def intensity_over_time(model: IntensityModel, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (F,) in seconds of a recording of any length, and how intense its emotion is there (F,)."""
    times, scores = [], []
    for start, clip in windows(recording, model.config.audio_settings):
        middles, intensities = intensity_curve(model, clip)
        times.append(start + middles)
        scores.append(intensities)
    return np.concatenate(times), np.concatenate(scores)
