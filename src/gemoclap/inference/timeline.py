"""Recordings of any length, cut into windows no longer than the clips of training, with times of the recording."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemoclap.audio import SAMPLE_RATE, Recording, from_int16, part_edges, to_int16
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
    edges = part_edges(recording, audio, WINDOW_SECONDS)
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
