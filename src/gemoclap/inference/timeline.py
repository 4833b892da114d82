"""Recordings of any length, cut into windows no longer than the clips of training, with times of the recording."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gemoclap.audio import SAMPLE_RATE, from_int16, kept_range, to_int16
from gemoclap.config import AudioSettings
from gemoclap.ems.intensity import IntensityModel, intensity_curve

WINDOW_SECONDS = 30.0
"""The longest window where training heard clips of any length."""


def windows(waveform: np.ndarray, audio: AudioSettings) -> list[tuple[float, np.ndarray]]:
    """Cut a recording into windows of about equal length, each prepared as a clip of training.

    Silence at head and tail is left out where training's was; nothing is cut off otherwise.

    Parameters
    ----------
    waveform : ``(T,)`` float32 at 16 kHz, T > 0.
    audio : how the clips of training were prepared.

    Returns
    -------
    Of each window where it starts, in seconds of the recording, and its samples.
    """
    first, last = kept_range(waveform, replace(audio, max_seconds=None))
    clip = from_int16(*to_int16(waveform[first:last]))
    parts = np.array_split(clip, math.ceil(len(clip) / ((audio.max_seconds or WINDOW_SECONDS) * SAMPLE_RATE)))
    starts = np.cumsum([first, *map(len, parts)])[:-1] / SAMPLE_RATE
    return list(zip(starts.tolist(), parts, strict=True))


def intensity_over_time(model: IntensityModel, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (F,) in seconds of a recording of any length, and how intense its emotion is there (F,)."""
    found = windows(waveform, model.config.audio_settings)
    # One by one: a batch of an hour's windows would not fit.
    curves = [intensity_curve(model, clip) for _, clip in found]
    times = [start + middles for (start, _), (middles, _) in zip(found, curves, strict=True)]
    return np.concatenate(times), np.concatenate([scores for _, scores in curves])
