"""The two decoders, soundfile and PyAV, behind one form: blocks of samples from a place on."""

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
"""Values that are decoded at once, all channels together: 16 s of mono at 16 kHz."""

MOST_SAMPLES_A_BYTE = 20_000
"""More than any codec makes of a byte, even of silence. A length beyond this is none that the file can have."""

MPEG_SUFFIXES = (".mp1", ".mp2", ".mp3", ".mpga")

Certainty = Literal["counted", "declared", "estimated"]


class Decoder(Protocol):
    """An open file: its form, and its samples from any place on.

    Attributes
    ----------
    sample_rate, channels : of the file.
    samples : number of samples a channel, or None where only decoding will tell.
    certainty : what `samples` is.
    """

    sample_rate: int
    channels: int
    samples: int | None
    certainty: Certainty

    def blocks(self, first: int) -> Generator[np.ndarray]:
        """Yield float32 blocks ``(T, channels)``, T > 0, from sample `first` to the end of what can be decoded."""


@contextmanager
def open_audio(path: Path) -> Iterator[Decoder]:
    """Open a regular file with the decoder that reads it.

    Raises
    ------
    GemoclapError : it is empty, cut off, several recordings in one, of a rate or number of channels beyond reason, or
        needs PyAV, which is not there. Other errors are the decoder's own.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise GemoclapError(f"{path}: the file is empty (0 bytes), has no samples; copy it again, or leave it out")
        header = read_header(file)
        if header.standing == "cut off":
            raise cut_off(path)
        if header.standing == "chained":
            raise GemoclapError(
                f"{path}: holds several recordings one behind the other, of which only the first would be read; make one of "
                "them: ffmpeg -i IN OUT.wav"
            )
        if header.container == "av":
            with _with_av(path) as decoder:
                yield decoder
        else:
            with _with_soundfile(path, file, header) as decoder:
                yield decoder


class _Sequential(soundfile.SoundFile):
    """A SoundFile whose reads do not seek after each block.

    soundfile seeks to where it is already, which restarts lossy decoders in the middle of a file (their blocks would not
    add up to the whole) and fails at the end of FLAC of unknown length. It leaves that out for what cannot seek.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _with_soundfile(path: Path, file: BinaryIO, header: Header) -> Iterator[Decoder]:
    # The name as bytes: a name that is no UTF-8 is a name too.
    name: Any = str(path) if os.name == "nt" else os.fsencode(path)
    # By its name alone libsndfile would take any file called .mp3 for one, and libmpg123 would complain on the terminal.
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
            # Also to 0, where it is already: libmpg123 then begins a little differently, as it always did here.
            self.sound.seek(first)
        except soundfile.SoundFileError:  # a codec that cannot
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
            f"{path}: m4a, mp4, aac and webm need the package av: pip install av; or convert it: ffmpeg -i IN OUT.wav"
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
    """Decodes the first audio stream with PyAV; how long it is, decoding alone tells."""

    path: Path
    sample_rate: int
    channels: int
    samples: int | None = None
    certainty: Certainty = "counted"

    def blocks(self, first: int) -> Generator[np.ndarray]:
        import av  # see _with_av

        position = 0
        # Opened anew each time: after a seek to the start, Opus does not begin with the same sample again.
        with self.path.open("rb") as file, av.open(file) as container:
            stream = _audio_stream(container, self.path)
            to_float = av.AudioResampler(format="fltp")
            for frame in chain(container.decode(stream), [None]):  # None: what the converter still holds
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
    """Return the length that mp4 and webm state, or 0; other headers hold an estimate from the bit rate."""
    if not container.format.name.startswith(("mov", "matroska")):
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Beside pictures, the whole may be longer than its sound.
    return (container.duration or 0) / 1e6 if not container.streams.video else 0.0
