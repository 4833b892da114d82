"""Cuts recordings of any length into windows that are no longer than the clips of training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemoclap.audio import SAMPLE_RATE, Recording, from_int16, part_edges, to_int16
from gemoclap.config import AudioSettings
from gemoclap.ems.intensity import IntensityModel, intensity_curve

WINDOW_SECONDS = 30.0
"""Longest window if the clips of training were not limited in length."""


def windows(recording: Recording, audio: AudioSettings) -> Iterator[tuple[float, np.ndarray]]:
    """Cut a recording into windows of about equal length, and prepare each as a clip of training.

    If silence was trimmed in training, it is left out at the start and end of the recording. Otherwise nothing is left out.
    Only one window at a time is in memory. Each is rounded to 16 bits on its own, as clips are.

    Parameters
    ----------
    recording : a recording of any length.
    audio : how the clips of training were prepared.

    Yields
    ------
    The start of each window, in seconds of the recording, and its samples.
    """
    edges = part_edges(recording, audio, WINDOW_SECONDS)
    for start, window in zip(edges, recording.pieces(edges), strict=False):
        yield start / SAMPLE_RATE, from_int16(*to_int16(window))


def intensity_over_time(model: IntensityModel, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Return times (F,) in seconds, and the intensity of emotion (F,) at these times, for a recording of any length."""
    times, scores = [], []
    for start, clip in windows(recording, model.config.audio_settings):
        middles, intensities = intensity_curve(model, clip)
        times.append(start + middles)
        scores.append(intensities)
    return np.concatenate(times), np.concatenate(scores)
