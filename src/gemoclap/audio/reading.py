"""Reads an audio file as a 16 kHz mono waveform, at once or block by block."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import soxr

from gemoclap.audio.checks import SAMPLE_RATE, ChannelPower, check_samples, ends_early, named_errors, regular_file
from gemoclap.audio.clipping import Clipping
from gemoclap.audio.containers import SLACK_SECONDS
from gemoclap.audio.decoders import Certainty, Decoder, open_audio
from gemoclap.errors import GemoclapError


@dataclass(frozen=True)
class AudioInfo:
    """The length and form of a file.

    Attributes
    ----------
    samples : samples per channel.
    sample_rate : Hz.
    channels : number of channels.
    length : source of `samples`. "declared": the header says so, and the file is large enough for it. "counted": the header
        has no length or was never finished, so the samples, frames or bytes were counted. "estimated": the decoder says so, for
        a container whose structure is not checked here.
    """

    samples: int
    sample_rate: int
    channels: int
    length: Certainty = "declared"

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.samples / self.sample_rate


def probe_audio(path: str | os.PathLike) -> AudioInfo:
    """Read the length and form of an audio file.

    The header is read and checked against the file. If it does not give the length, the file is decoded to its end.

    Raises
    ------
    GemoclapError : the file is missing, a folder, a pipe, not audio, or cut off; has an impossible rate or number of channels;
        or has no samples.
    """
    path = regular_file(path)
    with named_errors(path), open_audio(path) as decoder:
        samples = _length(decoder)
        if not samples:
            raise _no_samples(path)
        return AudioInfo(samples, decoder.sample_rate, decoder.channels, decoder.certainty)


def load_audio(path: str | os.PathLike, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Decode an audio file, or `start` to `end` of it, to 16 kHz mono.

    Parameters
    ----------
    path : any sample rate, number of channels and sample format.
    start, end : seconds in the file; None stands for its beginning and its end. Only this part is decoded.

    Returns
    -------
    float32 ``(T,)``: the mean of the channels, full scale at 1, resampled to `SAMPLE_RATE`. The same call always gives the same
    samples. For recordings that do not fit into memory, `stream_audio` gives them block by block.

    Raises
    ------
    GemoclapError : as `stream_audio`, or there is not enough memory.
    """
    with stream_audio(path, start, end) as stream, named_errors(path):
        return np.concatenate(list(stream))


def stream_audio(
    path: str | os.PathLike, start: float | None = None, end: float | None = None, block_samples: int = 10 * SAMPLE_RATE
) -> AudioStream:
    """Read the samples that `load_audio` returns, in blocks. Only a few blocks are in memory at a time.

    Parameters
    ----------
    path, start, end : as for `load_audio`.
    block_samples : number of samples of each block except the last, above 0.

    Raises
    ------
    GemoclapError : at the first block: the file is missing, a folder, a pipe, not audio, or cut off; has an impossible rate or
        number of channels; has no samples; or `start` and `end` do not lie in it in this order. At a later block: the file is
        damaged there, or has samples that are NaN, infinite or far beyond full scale.
    """
    return AudioStream(path, start, end, block_samples)


class AudioStream(Iterator[np.ndarray]):
    """The blocks of a recording, one after the other; made by `stream_audio`.

    The blocks are float32 ``(block_samples,)``, the last ``(T,)``, 0 < T <= block_samples. Joined, they are the samples of
    `load_audio`, bit by bit, whatever `block_samples` is. Closing it, or leaving its ``with``, closes the file.

    Attributes
    ----------
    sample_rate : Hz of the blocks, `SAMPLE_RATE`.
    start : where the first block begins, in seconds of the file.

    Examples
    --------
    >>> with stream_audio("meeting.wav", start=600) as stream:  # doctest: +SKIP
    ...     for number, block in enumerate(stream):
    ...         seconds = stream.start + 10 * number
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, path: str | os.PathLike, start: float | None, end: float | None, block_samples: int) -> None:
        if block_samples < 1:
            raise GemoclapError(f"block_samples must be above 0, not {block_samples}")
        self.start = start or 0.0
        self._heard = _Heard()
        self._blocks = _of_equal_length(_blocks(path, start, end, self._heard), block_samples)

    def __next__(self) -> np.ndarray:
        return next(self._blocks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; there are no more blocks."""
        self._blocks.close()

    @property
    def channels_cancel(self) -> bool:
        """Whether the channels that were read so far have sound but cancel each other in the mean."""
        return self._heard.power.cancel

    @property
    def clipped(self) -> float:
        """`Clipping.share` of what was read so far."""
        return self._heard.clipping.share


class _Heard:
    """What can only be seen in the samples of a file before they are mixed and resampled."""

    def __init__(self) -> None:
        self.power, self.clipping = ChannelPower(), Clipping()

    def add(self, block: np.ndarray, mixed: np.ndarray) -> None:
        """Add a block ``(T, channels)`` and its mean over channels ``(T,)``."""
        self.power.add(block, mixed)
        self.clipping.add(block)


def resample_blocks(blocks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """Resample mono sound to `SAMPLE_RATE`. The samples do not depend on how the sound is cut into blocks.

    Parameters
    ----------
    blocks : float32 ``(T,)`` each, at `sample_rate` Hz.

    Yields
    ------
    float32 ``(T',)``, T' >= 0. A block can be longer or shorter than its input, because the filter looks ahead. Joined, the
    blocks equal ``soxr.resample`` of the whole in quality VHQ.
    """
    if sample_rate == SAMPLE_RATE:
        yield from blocks
        return
    resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _of_equal_length(blocks: Generator[np.ndarray], length: int) -> Generator[np.ndarray]:
    """Cut and join blocks so that all but the last are `length` samples long."""
    held: list[np.ndarray] = []
    count = 0
    with closing(blocks):
        for block in blocks:
            held.append(block)
            count += len(block)
            if count >= length:
                joined = np.concatenate(held)
                whole = count - count % length
                for first in range(0, whole, length):
                    yield joined[first : first + length]
                held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def _blocks(path: str | os.PathLike, start: float | None, end: float | None, heard: _Heard) -> Generator[np.ndarray]:
    """Yield the waveform in the blocks that decoder and resampler give; no block is empty."""
    path = regular_file(path)
    count = 0
    with named_errors(path), open_audio(path) as decoder:
        first, last = _sample_range(path, start, end, decoder)
        for block in resample_blocks(_mixed(path, decoder, first, last, heard), decoder.sample_rate):
            check_samples(block, path)
            count += len(block)
            if len(block):
                yield block
    if not count:
        raise _no_samples(path)


def _mixed(path: Path, decoder: Decoder, first: int, last: int | None, heard: _Heard) -> Generator[np.ndarray]:
    """Yield the mean of the channels from sample `first` up to `last` (exclusive; None = the end), and check the samples."""
    position = first
    with closing(decoder.blocks(first)) as blocks:
        for block in blocks:
            block = block if last is None else block[: last - position]
            check_samples(block, path)
            mixed = block.mean(axis=1)
            heard.add(block, mixed)
            position += len(block)
            yield mixed
            if last is not None and position >= last:
                break
    if last is not None and position < last - SLACK_SECONDS * decoder.sample_rate:
        raise ends_early(path, position / decoder.sample_rate, last / decoder.sample_rate)


def _length(decoder: Decoder) -> int:
    """Return the number of samples; decodes to the end if there is no other way."""
    return sum(map(len, decoder.blocks(0))) if decoder.samples is None else decoder.samples


def _no_samples(path: Path) -> GemoclapError:
    return GemoclapError(f"{path}: has no samples; record or copy it again, or leave it out")


def _sample_range(path: Path, start: float | None, end: float | None, decoder: Decoder) -> tuple[int, int | None]:
    """Return the first sample and the end (exclusive; None if unknown) of a part given in seconds.

    Raises
    ------
    GemoclapError : the part does not lie in the file.
    """
    if start is None and end is None and decoder.samples is None:
        return 0, None
    samples, rate = _length(decoder), decoder.sample_rate
    if samples <= 0:
        raise _no_samples(path)
    duration = samples / rate
    first_second = 0.0 if start is None else start
    last_second = duration if end is None else end
    if not 0 <= first_second < duration:
        raise GemoclapError(f"{path}: start {start} s is outside the file, which has {duration:.3f} s; correct the row")
    if not first_second < last_second:
        raise GemoclapError(f"{path}: start {first_second} s is not before end {last_second} s; correct the row")
    if last_second > duration + SLACK_SECONDS:
        raise GemoclapError(
            f"{path}: end {end} s is beyond the end of the file, which has {duration:.3f} s; correct the row"
        )
    first, last = round(first_second * rate), min(samples, round(last_second * rate))
    if first >= last:
        raise GemoclapError(f"{path}: from {first_second} s to {last_second} s there is no sample; correct the row")
    return first, last
