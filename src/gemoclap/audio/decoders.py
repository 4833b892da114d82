"""The two decoders, soundfile and PyAV, with one interface: blocks of samples from any position on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
import soundfile

from gemoclap.audio.checks import check_form, cut_off, ends_early
from gemoclap.audio.containers import SLACK_SECONDS, read_header
from gemoclap.audio.headers import Header, Mended
from gemoclap.errors import GemoclapError

BLOCK_VALUES = 2**18
"""Number of values to decode at a time, over all channels: 16 s of mono at 16 kHz."""

MOST_SAMPLES_A_BYTE = 20_000
"""No codec decodes a byte to more samples than this, even for silence. A header with a larger length must be wrong."""

MPEG_SUFFIXES = (".mp1", ".mp2", ".mp3", ".mpga")

Certainty = Literal["counted", "declared", "estimated"]


class Decoder(Protocol):
    """An open file: its form, and its samples from any position on.

    Attributes
    ----------
    sample_rate, channels : sample rate in Hz and number of channels of the file.
    samples : samples per channel, or None if only decoding can tell.
    certainty : source of `samples`; see `AudioInfo.length`.
    """

    sample_rate: int
    channels: int
    samples: int | None
    certainty: Certainty

    def blocks(self, first: int) -> Generator[np.ndarray]:
        """Yield float32 blocks ``(T, channels)``, T > 0, from sample `first` to the end."""


@contextmanager
def open_audio(path: Path) -> Iterator[Decoder]:
    """Open a regular file with the decoder for its container.

    Raises
    ------
    GemoclapError : the file is empty or cut off, contains several recordings, has an impossible rate or number of channels, or
        needs PyAV, which is not installed. Other errors come from the decoder.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise GemoclapError(f"{path}: the file is empty (0 bytes), has no samples; copy it again, or leave it out")
        header = read_header(file)
        if header.standing == "cut off":
            raise cut_off(path)
        if header.standing == "chained":
            raise GemoclapError(
                f"{path}: contains several recordings one after the other, of which only the first would be read; join them: "
                "ffmpeg -i IN OUT.wav"
            )
        if header.container == "av":
            with _with_av(path) as decoder:
                yield decoder
        else:
            with _with_soundfile(path, file, header) as decoder:
                yield decoder


class _Sequential(soundfile.SoundFile):
    """A SoundFile whose reads do not seek after each block.

    After each block, soundfile seeks to the current position. This restarts lossy decoders in the middle of a file, so that
    joined blocks would differ from the whole, and it fails at the end of FLAC of unknown length. soundfile does not do this
    for files that cannot seek.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _with_soundfile(path: Path, file: BinaryIO, header: Header) -> Iterator[Decoder]:
    # The name is given as bytes, because it need not be UTF-8.
    name: Any = str(path) if os.name == "nt" else os.fsencode(path)
    # libsndfile would decode any file called .mp3 as one, whatever it contains, and libmpg123 would complain on the terminal.
    is_misnamed = header.container == "other" and path.suffix.lower() in MPEG_SUFFIXES

    def opened() -> _Sequential:
        return _Sequential(Mended(file, header) if header.is_mended or is_misnamed else name)

    with opened() as sound:
        check_form(path, sound.samplerate, sound.channels)
        if header.standing == "estimated" and re.search(r"should be|truncated", sound.extra_info):
            raise cut_off(path)
        yield _SoundfileDecoder(sound, header, path, opened)


@dataclass
class _SoundfileDecoder:
    """Decodes with libsndfile."""

    sound: _Sequential
    header: Header
    path: Path
    opened: Callable[[], _Sequential]

    def __post_init__(self) -> None:
        self.sample_rate, self.channels = self.sound.samplerate, self.sound.channels
        self.samples = self.header.samples or self._declared()
        standing = self.header.standing
        self.certainty: Certainty = standing if standing in ("declared", "estimated") else "counted"

    def _declared(self) -> int | None:
        most = MOST_SAMPLES_A_BYTE * self.path.stat().st_size
        return self.sound.frames if self.header.standing != "unknown" and self.sound.frames <= most else None

    def blocks(self, first: int) -> Generator[np.ndarray]:
        try:
            # Also to 0, where it already is: libmpg123 then starts a little differently, and samples shall stay as they were.
            self.sound.seek(first)
        except soundfile.SoundFileError:  # this codec cannot seek
            with self.opened() as sound:
                yield from _behind(self._read(sound), first)
        else:
            yield from self._read(self.sound)

    def _read(self, sound: _Sequential) -> Generator[np.ndarray]:
        size = max(1, BLOCK_VALUES // self.channels)
        while True:
            try:
                block = sound.read(size, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise GemoclapError(
                    f"{self.path}: the audio breaks off, the file is cut off or damaged; copy it again"
                ) from error
            if not len(block):
                return
            yield block


def _behind(blocks: Iterable[np.ndarray], first: int) -> Generator[np.ndarray]:
    """Leave out the samples before `first`."""
    for block in blocks:
        kept = block[first:]
        first = max(0, first - len(block))
        if len(kept):
            yield kept


@contextmanager
def _with_av(path: Path) -> Iterator[Decoder]:
    try:
        import av  # optional, and not on every platform
    except ImportError:
        raise GemoclapError(
            f"{path}: this format needs the package av: pip install av; or convert it: ffmpeg -i IN OUT.wav"
        ) from None
    with path.open("rb") as file, av.open(file) as container:
        stream = _audio_stream(container, path)
        check_form(path, stream.rate or 0, stream.channels)
        yield _AvDecoder(path, stream.rate, stream.channels)


def _audio_stream(container: Any, path: Path) -> Any:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise GemoclapError(f"{path}: has no audio stream; name a file with sound")
    return stream


@dataclass
class _AvDecoder:
    """Decodes the first audio stream with PyAV. Its length is not known before it is decoded."""

    path: Path
    sample_rate: int
    channels: int
    samples: int | None = None
    certainty: Certainty = "counted"

    def blocks(self, first: int) -> Generator[np.ndarray]:
        import av  # see _with_av

        position = 0
        # Opened again each time, because after a seek to the start Opus does not begin with the same sample.
        with self.path.open("rb") as file, av.open(file) as container:
            stream = _audio_stream(container, self.path)
            to_float = av.AudioResampler(format="fltp")
            for frame in chain(container.decode(stream), [None]):  # None: get the rest from the converter
                for converted in to_float.resample(frame):
                    block = converted.to_ndarray().T
                    behind = block[max(0, first - position) :]
                    position += len(block)
                    if len(behind):
                        yield np.ascontiguousarray(behind)
            promised = _promised_seconds(container, stream)
        if position / self.sample_rate < promised - SLACK_SECONDS:
            raise ends_early(self.path, position / self.sample_rate, promised)


def _promised_seconds(container: Any, stream: Any) -> float:
    """Return the length in the header of mp4 and webm, or 0 for others, which only estimate it from the bit rate."""
    if not container.format.name.startswith(("mov", "matroska")):
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # With a video stream, the whole may be longer than its sound.
    return (container.duration or 0) / 1e6 if not container.streams.video else 0.0
