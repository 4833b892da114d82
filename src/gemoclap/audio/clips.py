"""From a recording to the clip that a model gets: silence trimmed, the length bounded, rounded to 16 bits."""

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
    """Prepare a clip as `prepare_clip` does, in memory that does not grow with the recording.

    The samples are those of ``prepare_clip(load_audio(path, start, end), settings)``, bit by bit. Where silence is not
    trimmed, nothing behind `max_seconds` is decoded.

    Raises
    ------
    GemoclapError : what `stream_audio` and `prepare_clip` raise.
    """
    first, last = kept_range(recording, settings)
    return from_int16(*to_int16(recording.read(first, last)))


def prepare_clip(waveform: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Trim silence at head and tail, keep the first `max_seconds`, as `settings` ask, and round to 16 bits.

    The rounding, to what `to_int16` keeps, is there because training gets clips from a store in that form, and
    prediction is to get the same numbers [C]. It is exact for what comes from a 16-bit file, mono at 16 kHz.

    Parameters
    ----------
    waveform : float32 ``(T,)`` at 16 kHz, T > 0.
    settings : `trim_silence_db` None leaves silence, `max_seconds` None keeps every length. A frame is silent when its
        RMS lies more than `trim_silence_db` below that of the clip's loudest frame; 50 ms around the rest are kept.

    Returns
    -------
    float32 ``(T',)``, 0 < T' <= T, a new array. It depends on this clip alone; an all-zero clip is not trimmed.

    Raises
    ------
    GemoclapError : a setting is not positive.
    """
    return load_clip(Recording(waveform), settings)


def kept_range(recording: Recording, settings: AudioSettings) -> tuple[int, int | None]:
    """Return the first sample that `prepare_clip` keeps, and the first behind those.

    The second is None for the end, and may lie behind the end.
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
    """Return the samples at which the parts of a recording begin and end, ``(N + 1,)``.

    Silence at head and tail is left out as `settings` ask. The rest is cut into as few parts as possible of at most
    `max_seconds`, or `longest_seconds` where that is None. Their lengths differ by one sample at most.
    """
    first, last = kept_range(recording, replace(settings, max_seconds=None))
    samples = (recording.samples if last is None else last) - first
    return [first + edge for edge in even_edges(samples, settings.max_seconds or longest_seconds)]


def even_edges(samples: int, longest_seconds: float) -> list[int]:
    """Return where as few parts as possible of at most `longest_seconds` begin and end, ``(N + 1,)`` from 0 to `samples`."""
    number = math.ceil(samples / max(1, round(longest_seconds * SAMPLE_RATE)))
    shorter, longer = divmod(samples, number)  # so many parts have one sample more
    return [place * shorter + min(place, longer) for place in range(number + 1)]


def to_int16(waveform: np.ndarray) -> tuple[np.ndarray, int]:
    """Round a clip to 16-bit block floating point: integers, and one exponent that the clip's own peak sets.

    A sample is ``integer * 2 ** (exponent - 15)``, with the least exponent for which all integers fit: 0 where the peak
    is about 0.5 to 1, as in a full-scale 16-bit file. So a clip from a 16-bit file is kept exactly at any level, a quiet
    one has 16 bits too, and a peak above 1 does not clip: the error is at most 2**-15 of the peak. What `from_int16` gives
    back is kept exactly when it is rounded again.

    Parameters
    ----------
    waveform : float32 ``(T,)``, T > 0, finite.

    Returns
    -------
    samples : int16 ``(T,)``.
    exponent : 0 for silence.
    """
    # What still rounds into -32768 .. 32767, with halves to the even side.
    largest = max(float(waveform.max()) / 32767.5, float(waveform.min()) / -32768.5)
    exponent = int(np.frexp(largest)[1]) + 15 if largest else 0
    return np.rint(np.ldexp(waveform, 15 - exponent)).astype(np.int16), exponent


def from_int16(samples: np.ndarray, exponent: int) -> np.ndarray:
    """Return the waveform, float32 ``(T,)``, that `to_int16` has rounded to `samples` ``(T,)`` and `exponent`."""
    return np.ldexp(samples.astype(np.float32), exponent - 15)
