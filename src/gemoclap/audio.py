"""From an audio file to the 16 kHz mono waveform that every encoder hears.

soundfile decodes (wav, flac, mp3, ogg, opus, ...), soxr resamples, channels are averaged. m4a, mp4, aac and other
containers that libsndfile cannot read go through PyAV where the ``av`` extra is installed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError

SAMPLE_RATE = 16000
"""Samples a second of every waveform in this project."""

SLACK_SECONDS = 0.1
"""What a file may miss of its promised length, and a row's `end` may lie beyond the file: headers and annotations are
rounded, and lossy codecs pad."""

FRAME_SECONDS, HOP_SECONDS, MARGIN_SECONDS = 0.025, 0.010, 0.050
"""Silence trimming: the analysis frame, its hop, and what is kept around the first and last loud frame [C]."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: samples a channel, Hz, channels; `duration` in seconds."""

    samples: int
    sample_rate: int
    channels: int

    @property
    def duration(self) -> float:
        return self.samples / self.sample_rate


def probe_audio(path: str | os.PathLike) -> AudioInfo:
    """Read the length and form of an audio file from its header (what only PyAV reads is decoded).

    Raises
    ------
    GemoclapError : the file is missing, a folder, not audio, cut off, or has no samples.
    """
    path = _existing_file(path)
    if _needs_av(path):
        waveform, sample_rate, channels = _decode_with_av(path)
        return AudioInfo(len(waveform), sample_rate, channels)
    with _open(path) as file:
        return AudioInfo(file.frames, file.samplerate, file.channels)


def load_audio(path: str | os.PathLike, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Decode an audio file, or `start` to `end` of it, to 16 kHz mono.

    Parameters
    ----------
    path : any sample rate, number of channels and sample format.
    start, end : seconds within the file; None is its beginning and its end. Only that stretch is decoded.

    Returns
    -------
    float32 ``(T,)``: the mean of the channels, full scale at 1, resampled to `SAMPLE_RATE`. The same call gives the same
    samples each time.

    Raises
    ------
    GemoclapError : the file is missing, a folder, not audio, cut off or damaged, has no samples, or has NaN or infinite
        ones; or `start` and `end` do not lie in it in this order.
    """
    path = _existing_file(path)
    if _needs_av(path):
        samples, sample_rate, _ = _decode_with_av(path)
        first, last = _sample_range(path, start, end, len(samples), sample_rate)
        samples = samples[first:last]
    else:
        with _open(path) as file:
            sample_rate = file.samplerate
            first, last = _sample_range(path, start, end, file.frames, sample_rate)
            file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True).mean(axis=1)
        if len(samples) < last - first - SLACK_SECONDS * sample_rate:
            raise _cut_off(path)
    if not np.isfinite(samples).all():
        raise GemoclapError(f"{path}: has NaN or infinite samples; write the file again or leave it out")
    waveform = (
        soxr.resample(samples, sample_rate, SAMPLE_RATE, quality="VHQ") if sample_rate != SAMPLE_RATE else samples
    )
    if not len(waveform):
        raise _no_samples(path)
    return waveform


def prepare_clip(waveform: np.ndarray, settings: AudioSettings) -> np.ndarray:
    """Trim silence at head and tail, keep the first `max_seconds`, as `settings` ask, and round to 16 bits.

    The rounding, to what `to_int16` keeps, is there because training hears clips from a store in that form, and
    prediction is to hear the same numbers [C]. It is exact for what comes from a 16-bit file, mono at 16 kHz.

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
    first, last = kept_range(waveform, settings)
    return from_int16(*to_int16(waveform[first:last]))


def kept_range(waveform: np.ndarray, settings: AudioSettings) -> tuple[int, int]:
    """Return the first sample that `prepare_clip` keeps, and the first behind those."""
    for name, value in (("max_seconds", settings.max_seconds), ("trim_silence_db", settings.trim_silence_db)):
        if value is not None and not value > 0:
            raise GemoclapError(f"data.audio.{name} must be above 0 or null, not {value}")
    first, last = 0, len(waveform)
    if settings.trim_silence_db is not None:
        first, last = _loud_range(waveform, settings.trim_silence_db)
    if settings.max_seconds is not None:
        last = min(last, first + max(1, round(settings.max_seconds * SAMPLE_RATE)))
    return first, last


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


def _loud_range(waveform: np.ndarray, below_db: float) -> tuple[int, int]:
    """Return first and last + 1 sample of what is not silence; frames that reach over the end are filled with zeros."""
    samples = len(waveform)
    length, hop, margin = (round(s * SAMPLE_RATE) for s in (FRAME_SECONDS, HOP_SECONDS, MARGIN_SECONDS))
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    starts = np.arange(0, samples, hop)
    power = energy[np.minimum(starts + length, samples)] - energy[starts]
    loud = starts[power >= power.max() * 10 ** (-below_db / 10)]
    return max(0, int(loud[0]) - margin), min(samples, int(loud[-1]) + length + margin)


def _existing_file(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.is_dir():
        raise GemoclapError(f"{path}: is a folder, not an audio file; name a file in it")
    if not path.exists():
        raise GemoclapError(
            f"{path}: no such audio file; check the name (paths in a manifest start from its own folder)"
        )
    return path


def _cut_off(path: Path) -> GemoclapError:
    return GemoclapError(f"{path}: the audio ends before its promised length, the file is cut off; copy it again")


def _no_samples(path: Path) -> GemoclapError:
    return GemoclapError(f"{path}: has no samples; record or copy it again, or leave it out")


def _undecodable(path: Path) -> GemoclapError:
    return GemoclapError(f"{path}: cannot be decoded, it is damaged or not audio; copy it again, or convert it to wav")


def _unreadable(path: Path, error: OSError) -> GemoclapError:
    return GemoclapError(f"{path}: cannot be read ({error.strerror or error}); mend its permissions or copy it again")


@contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open with soundfile after a look at the container's own length; decoding errors in the block are translated too."""
    if path.stat().st_size == 0:
        raise GemoclapError(f"{path}: the file is empty (0 bytes), has no samples; copy it again, or leave it out")
    try:
        if _ends_early(path):
            raise _cut_off(path)
        with soundfile.SoundFile(_openable(path)) as file:
            if file.frames <= 0:
                raise _no_samples(path)
            yield file
    # TypeError is how soundfile refuses headerless .raw files. libsndfile's own reasons mislead more often than they
    # help ("does not exist" of a text file called .mp3), so they stay in the traceback.
    except (soundfile.SoundFileError, TypeError) as error:
        raise _undecodable(path) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _openable(path: Path) -> str | bytes:
    """Return a path as soundfile takes it: it encodes text strictly, which the name of a file may not allow."""
    name = str(path)
    return os.fsencode(name) if any("\ud800" <= letter <= "\udfff" for letter in name) else name


def _sample_range(path: Path, start: float | None, end: float | None, samples: int, rate: int) -> tuple[int, int]:
    """Return first and last + 1 sample of a stretch given in seconds, or raise what is wrong with it."""
    duration = samples / rate
    first_second = 0.0 if start is None else start
    last_second = duration if end is None else end
    if not 0 <= first_second < duration:
        raise GemoclapError(f"{path}: start {start} s lies outside the file, which has {duration:.3f} s; mend the row")
    if not first_second < last_second:
        raise GemoclapError(f"{path}: start {first_second} s is not before end {last_second} s; mend the row")
    if last_second > duration + SLACK_SECONDS:
        raise GemoclapError(f"{path}: end {end} s lies beyond the file, which has {duration:.3f} s; mend the row")
    first, last = round(first_second * rate), min(samples, round(last_second * rate))
    if first >= last:
        raise GemoclapError(f"{path}: from {first_second} s to {last_second} s there is no sample; mend the row")
    return first, last


def _ends_early(path: Path) -> bool:
    """Say whether a wav or Ogg file ends before its own structure does.

    libsndfile reads such files up to where they end and says nothing; a label would then go with half an utterance.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic in (b"RIFF", b"RIFX"):
            return _wav_ends_early(file, "<" if magic == b"RIFF" else ">")
        if magic == b"OggS":
            return _ogg_ends_early(file)
    return False


def _wav_ends_early(file: BinaryIO, endian: str) -> bool:
    size = os.fstat(file.fileno()).st_size
    byte_rate, position = 0, 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(f"{endian}4sI", file.read(8))
        if name == b"fmt ":
            (byte_rate,) = struct.unpack_from(f"{endian}I", file.read(12).ljust(12, b"\0"), 8)
        if name == b"data":
            # Writers into a pipe cannot know the length and leave the largest number there is.
            return length < 0x7FFFF000 and position + 8 + length - size > byte_rate * SLACK_SECONDS
        position += 8 + length + length % 2
    return False


def _ogg_ends_early(file: BinaryIO) -> bool:
    size = os.fstat(file.fileno()).st_size
    largest_page = 27 + 255 + 255 * 255
    file.seek(max(0, size - largest_page))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[26] if len(page) > 26 else 255
    return len(page) < 27 + segments + sum(page[27 : 27 + segments])


def _needs_av(path: Path) -> bool:
    """Say whether a file starts like a container that libsndfile has no decoder for, whatever its suffix."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise _unreadable(path, error) from error
    is_mp4 = head[4:] == b"ftyp"
    is_adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    is_matroska_or_asf = head[:4] in (b"\x1aE\xdf\xa3", b"0&\xb2u")
    return is_mp4 or is_adts or is_matroska_or_asf


def _decode_with_av(path: Path) -> tuple[np.ndarray, int, int]:
    """Decode the first audio stream with PyAV: mono float32 samples, their rate, and how many channels there were."""
    try:
        import av
    except ImportError:
        raise GemoclapError(
            f"{path}: m4a, mp4, aac and webm need the av extra: pip install 'gemoclap[av]', or convert: ffmpeg -i IN OUT.wav"
        ) from None
    try:
        with av.open(str(path)) as container:
            stream = next(iter(container.streams.audio), None)
            if stream is None:
                raise GemoclapError(f"{path}: has no audio stream; name a file with sound")
            to_float = av.AudioResampler(format="fltp")
            frames = [*container.decode(stream)]
            blocks = [out.to_ndarray() for frame in (*frames, None) for out in to_float.resample(frame)]
            rate, channels = stream.rate, stream.channels
    except av.FFmpegError as error:
        raise _undecodable(path) from error
    if not blocks:
        raise _no_samples(path)
    return np.concatenate(blocks, axis=1).mean(axis=0, dtype=np.float32), rate, channels
