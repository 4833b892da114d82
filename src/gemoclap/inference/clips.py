"""From whatever a clip is given as to the sound that a model gets, in parts where the clip is longer than the model uses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np

from gemoclap.audio import (
    LONGEST_SECONDS,
    SAMPLE_RATE,
    Recording,
    as_float,
    from_int16,
    part_edges,
    resample_blocks,
    to_int16,
)
from gemoclap.audio.checks import HIGHEST_RATE, LOWEST_RATE
from gemoclap.audio.clipping import clipped_share
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError
from gemoclap.extras import needed
from gemoclap.inference.answers import CANCEL_REMARK, SILENT_REMARK, clipped_remark, level_remark

if TYPE_CHECKING:
    from gemoclap.corpora.manifest import Utterance

Audio: TypeAlias = "str | os.PathLike | np.ndarray | Utterance | Recording | Mapping[str, Any]"
"""A file; a manifest row (its stretch of the file); a waveform (T,) at 16 kHz mono, float with full scale at 1, or signed
PCM; a waveform at another rate as the datasets library has it, ``{"array": (T,), "sampling_rate": Hz}``; or what
`recording_of` returns."""

SHORTEST = 0.1
"""Seconds. A shorter clip, which is less than a syllable, gets the remark that it is very short."""
SILENT = 10 ** (-60 / 20)
"""Peak, where 1 is full scale. A clip with a lower peak, below -60 dB, gets the remark that it is silent."""
OVERLOADED = 4.0
"""Peak, where 1 is full scale. A clip with a higher peak gets a remark: it was written with another full scale, and models hear
another level than in training [C]."""
UNSCALED = 100.0
"""Largest magnitude in an array. Floats beyond it are integers that nobody has divided by their full scale [C]."""
CLIPPED = 0.01
"""Share of samples that are cut off (`audio.clipping`) from which a clip gets a remark [C]. The default model answered 9 of 70
clips of nEMO otherwise with 3 % of the samples beyond the limit, 15 with 10 %. Of 2,500 clips of five corpora, none has any."""
HELD_SECONDS = 30.0
"""A longer clip is not kept in memory."""
PAUSE = 1.0
"""Seconds. A clip is cut at pauses of this length or longer, which are left out [C]. Training clips have few of them."""
PAUSE_THRESHOLD = 0.2
"""In a pause, no frame's probability of speech is as high as this [C]. With Silero's 0.5, quiet, shouted and sobbed speech is
left out. Chosen on half of the speakers of RAVDESS and nEMO with noise, by benchmarks/pause_threshold.py."""


class Stretch(NamedTuple):
    """The place of a part of a clip in its recording: first sample and number of samples, and whether it has speech."""

    first: int
    samples: int
    has_speech: bool


class Part(NamedTuple):
    """A part of a clip: the waveform ``(T,)`` float32 for the model, whether it has speech, and its first sample."""

    waveform: np.ndarray
    has_speech: bool
    first: int = 0

    @property
    def stretch(self) -> Stretch:
        """The part without its waveform."""
        return Stretch(self.first, len(self.waveform), self.has_speech)


class Clip:
    """A clip that was read. Iterating over it gives its parts.

    There is one part, unless the clip is too long for the model, or has long pauses and the reader detects speech.

    Attributes
    ----------
    name : its name in errors.
    remark : a reason to trust the prediction less, or None.
    is_sound : False if it is silent, or if its channels cancel each other.
    seconds : length without the silence at start and end, pauses included.
    skips_pauses : whether pauses of `PAUSE` and longer are left out of the parts.
    held : the parts, if they are in memory. The parts of a long clip are read from the file again, one by one.
    """

    def __init__(self, recording: Recording, edges: Sequence[int], reader: ClipReader) -> None:
        self.name = recording.name
        self.remark = remark_on(recording)
        self.is_sound = recording.peak >= SILENT and not recording.channels_cancel
        self.seconds = (edges[-1] - edges[0]) / SAMPLE_RATE
        self.skips_pauses = self.is_sound and reader.check_speech
        self._recording, self._edges = recording, edges
        self.held: list[Part] | None = None
        if self.seconds <= HELD_SECONDS:
            self.held = [*self._read()]

    def __iter__(self) -> Iterator[Part]:
        return self._read() if self.held is None else iter(self.held)

    def _read(self) -> Iterator[Part]:
        last = len(self._edges) - 2
        for number, samples in enumerate(self._recording.pieces(self._edges)):
            first, waveform = self._edges[number], from_int16(*to_int16(samples))
            if self.skips_pauses:
                yield from _spoken(waveform, first, number == 0, number == last)
            else:
                yield Part(waveform, self.is_sound, first)


class ClipReader:
    """Reads clips as a model needs them.

    A clip up to the length that the model was trained with is prepared as in training. A longer one is cut into as few pieces
    of equal length as possible [C]. If speech is looked for, pauses of `PAUSE` and longer are left out of each piece: the
    speech before and behind a pause becomes a part of its own. Where a piece begins or ends inside the clip, it begins and ends
    with speech, because the pause may go on in the next one.

    Parameters
    ----------
    settings : how clips were prepared in training.
    check_speech : whether to look for speech. It needs torch.
    """

    def __init__(self, settings: AudioSettings, check_speech: bool = False) -> None:
        self.settings = settings
        self.check_speech = check_speech

    def read(self, audio: Audio) -> Clip:
        """Return the clip.

        Raises
        ------
        GemoclapError : it cannot be read, or has no samples.
        """
        recording = recording_of(audio)
        return Clip(recording, part_edges(recording, self.settings, LONGEST_SECONDS), self)

    def attempt(self, audio: Audio) -> Clip | GemoclapError:
        """Return the clip, or the error that kept it from being read."""
        try:
            return self.read(audio)
        except GemoclapError as error:
            return error


def recording_of(audio: Audio) -> Recording:
    """Return a clip as it was recorded, which is read when it is needed.

    Raises
    ------
    GemoclapError : it is no sound.
    """
    if isinstance(audio, Recording):
        return audio
    if isinstance(audio, str | os.PathLike):
        return Recording(audio)
    if isinstance(audio, Mapping):
        return _at_16_khz(audio)
    if hasattr(audio, "path") and hasattr(audio, "start"):  # the class of a row would bring the YAML package along
        row = cast("Utterance", audio)
        return Recording(row.path, row.start, row.end)
    return Recording(_checked(audio))


def _spoken(waveform: np.ndarray, begin: int, is_first: bool, is_last: bool) -> Iterator[Part]:
    """Yield the speech between long pauses of a piece; a piece in which nobody speaks as a whole.

    Parameters
    ----------
    begin : its first sample.
    is_first, is_last : whether it is the first and the last piece of its clip, where a short silence stays, as in training.
    """
    # Imported here, because it needs torch, which reading clips does not.
    needed("torch", "looking for speech")
    from gemoclap.inference.speech import SpeechRules, has_speech, speech_spans

    heard = has_speech([waveform])
    spans = speech_spans(waveform, SpeechRules(PAUSE_THRESHOLD, PAUSE, SHORTEST)) if heard else []
    if not spans:
        yield Part(waveform, heard, begin)
        return
    pause = round(PAUSE * SAMPLE_RATE)
    for number, (first, last) in enumerate(spans, 1):
        keeps_head = is_first and number == 1 and first < pause
        keeps_tail = is_last and number == len(spans) and len(waveform) - last < pause
        first, last = 0 if keeps_head else first, len(waveform) if keeps_tail else last
        yield Part(waveform[first:last], True, begin + first)


def _at_16_khz(audio: Mapping[str, Any]) -> Recording:
    """Return the recording of ``{"array": (T,), "sampling_rate": Hz}``, resampled."""
    if audio.get("array") is None or audio.get("sampling_rate") is None:
        raise GemoclapError(
            'a clip given as a dict needs "array" and "sampling_rate", as the datasets library decodes it, not '
            f"{', '.join(map(repr, audio)) or 'nothing'}"
        )
    waveform, rate = _checked(audio["array"]), audio["sampling_rate"]
    is_number = isinstance(rate, Real)
    if not is_number or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise GemoclapError(f"sampling_rate must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz, not {rate!r}")
    recording = Recording(np.concatenate([*resample_blocks([waveform], rate)]))
    recording.clipped = clipped_share(waveform)
    return recording


def _checked(given: Any) -> np.ndarray:
    """Return a waveform as `load_audio` would have: float32, full scale at 1."""
    waveform = as_array(given)
    if waveform is None or not waveform.ndim:
        raise GemoclapError(
            f'a clip must be the name of a file, a waveform (T,) at {SAMPLE_RATE} Hz, or a dict with "array" and '
            f'"sampling_rate", not {type(given).__name__}'
        )
    if waveform.ndim != 1:
        raise GemoclapError(
            f"a waveform must be one-dimensional, mono at {SAMPLE_RATE} Hz, not of shape {waveform.shape}; take one channel, "
            "or the mean of all"
        )
    if not len(waveform):
        raise GemoclapError("a waveform has no samples; leave it out")
    return scaled(waveform, "a waveform")


def scaled(samples: np.ndarray, what: str) -> np.ndarray:
    """Return samples ``(T,)`` as float32, full scale at 1. `what` is their name in error messages.

    Raises
    ------
    GemoclapError : as `as_float`, or floats are so large that they must have another full scale.
    """
    found = as_float(samples, what)
    if len(found) and (peak := float(np.abs(found).max())) > UNSCALED:
        raise GemoclapError(
            f"{what} has a sample of {peak:.6g} where 1 is full scale; divide the samples by their full scale, such as 32768 "
            "for those of 16-bit integers"
        )
    return found


def as_array(given: Any) -> np.ndarray | None:
    """Return an array, a list or a tensor of torch as an array; None if it is none of them."""
    if hasattr(given, "detach") and hasattr(given, "cpu"):
        # A tensor, which may need gradients, be on a GPU, or have a type that numpy lacks.
        given = given.detach().cpu()
        given = given.float() if given.is_floating_point() else given
    try:
        return np.asarray(given)
    except (TypeError, ValueError):
        return None


def remark_on(recording: Recording) -> str | None:
    """Return why a clip's answer may mean little, None where it does not."""
    seconds = recording.samples / SAMPLE_RATE
    if recording.channels_cancel:
        return CANCEL_REMARK
    if recording.peak < SILENT:
        return SILENT_REMARK
    if seconds < SHORTEST:
        return f"very short: {1000 * seconds:.0f} ms"
    if recording.peak > OVERLOADED:
        return level_remark(recording.peak)
    if recording.clipped >= CLIPPED:
        return clipped_remark(recording.clipped)
    return None
