"""Prepares the clip that a model gets: trims silence, limits the length, and rounds to 16 bits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gemoclap.audio.checks import SAMPLE_RATE
from gemoclap.audio.recording import Recording
from gemoclap.audio.silence import loud_range
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError

LONGEST_SECONDS = 60.0
"""Longest part of a clip for a model that was trained on clips of any length."""


def load_clip(recording: Recording, settings: AudioSettings) -> np.ndarray:
    """Prepare a clip as `prepare_clip` does, with memory that does not grow with the recording.

    The samples are identical to those of ``prepare_clip(load_audio(path, start, end), settings)``. If silence is not trimmed,
    nothing after `max_seconds` is decoded.

    Raises
    ------
    GemoclapError : as `stream_audio` and `prepare_clip`.
    """
    first, last = kept_range(recording, settings)
    return from_int16(*to_int16(recording.read(first, last)))


def prepare_clip(waveform: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Trim silence at the start and end, keep the first `max_seconds`, and round to 16 bits.

    Training gets its clips from a store that has 16-bit samples. Clips are rounded here too, so that prediction gets the same
    numbers [C]. For a 16-bit mono file at 16 kHz the rounding changes nothing.

    Parameters
    ----------
    waveform : float32 ``(T,)`` at 16 kHz, T > 0.
    settings : `trim_silence_db` None keeps silence, `max_seconds` None keeps any length. A frame is silent if its RMS is more
        than `trim_silence_db` below that of the clip's loudest frame; 50 ms around the other frames are kept.

    Returns
    -------
    float32 ``(T',)``, 0 < T' <= T, a new array. It depends only on this clip. A clip of zeros is not trimmed.

    Raises
    ------
    GemoclapError : a setting is not positive.
    """
    return load_clip(Recording(waveform), settings)


def kept_range(recording: Recording, settings: AudioSettings) -> tuple[int, int | None]:
    """Return the first sample that `prepare_clip` keeps, and the end of the kept part (exclusive).

    The end is None for the end of the recording, and may lie after it.
    """
    for name, value in (("max_seconds", settings.max_seconds), ("trim_silence_db", settings.trim_silence_db)):
        if value is not None and not value > 0:
            raise GemoclapError(f"data.audio.{name} must be above 0 or null, not {value}")
    first, last = 0, None
    if settings.trim_silence_db is not None:
        first, last = loud_range(recording.blocks(), settings.trim_silence_db)
    if settings.max_seconds is not None:
        longest = first + max(1, round(settings.max_seconds * SAMPLE_RATE))
        last = longest if last is None else min(last, longest)
    return first, last


def part_edges(recording: Recording, settings: AudioSettings, longest_seconds: float) -> list[int]:
    """Return the edges of the parts that a recording is cut into, ``(N + 1,)`` positions in samples.

    If `settings` trim silence, it is left out at the start and end. The rest is cut into as few parts as possible, each at most
    `max_seconds` long, or `longest_seconds` if that is None. The lengths of the parts differ by at most one sample.
    """
    first, last = kept_range(recording, replace(settings, max_seconds=None))
    samples = (recording.samples if last is None else last) - first
    return [first + edge for edge in even_edges(samples, settings.max_seconds or longest_seconds)]


def even_edges(samples: int, longest_seconds: float) -> list[int]:
    """Return the edges, ``(N + 1,)`` from 0 to `samples`, of as few parts as possible, each at most `longest_seconds` long."""
    number = math.ceil(samples / max(1, round(longest_seconds * SAMPLE_RATE)))
    shorter, longer = divmod(samples, number)  # `longer` parts have one sample more
    return [place * shorter + min(place, longer) for place in range(number + 1)]


def to_int16(waveform: np.ndarray) -> tuple[np.ndarray, int]:
    """Round a clip to 16-bit block floating point: integers, and one exponent that depends on the clip's peak.

    A sample is ``integer * 2 ** (exponent - 15)``, with the smallest exponent for which all integers fit. The exponent is 0 if
    the peak is about 0.5 to 1, as in a full-scale 16-bit file. A clip from a 16-bit file is therefore kept exactly at any
    level, a quiet clip has 16 bits too, and a peak above 1 is not clipped. The error is at most 2**-15 of the peak. The result
    of `from_int16` is kept exactly if it is rounded again.

    Parameters
    ----------
    waveform : float32 ``(T,)``, T > 0, finite.

    Returns
    -------
    samples : int16 ``(T,)``.
    exponent : 0 for silence.
    """
    # Numbers up to these bounds are rounded into -32768 .. 32767; halves go to the even number.
    largest = max(float(waveform.max()) / 32767.5, float(waveform.min()) / -32768.5)
    exponent = int(np.frexp(largest)[1]) + 15 if largest else 0
    return np.rint(np.ldexp(waveform, 15 - exponent)).astype(np.int16), exponent


def from_int16(samples: np.ndarray, exponent: int) -> np.ndarray:
    """Return the waveform, float32 ``(T,)``, that `to_int16` has rounded to `samples` ``(T,)`` and `exponent`."""
    return np.ldexp(samples.astype(np.float32), exponent - 15)
