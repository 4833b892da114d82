"""A recording of any length that can be read several times."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np

from gemoclap.audio.checks import SAMPLE_RATE
from gemoclap.audio.clipping import clipped_share
from gemoclap.audio.reading import stream_audio

HELD_SECONDS = 120.0
"""Recordings up to this length stay in memory after they were decoded; longer ones are decoded again in each pass."""

UNNAMED = "the waveform"
"""Name in errors of sound that does not come from a file."""


class Recording:
    """Sound of any length at 16 kHz mono; the memory that it needs does not grow with its length.

    Parameters
    ----------
    audio : a file, or a waveform ``(T,)`` at 16 kHz, T > 0.
    start, end : seconds in the file, as for `load_audio`.

    Attributes
    ----------
    name : its name in errors: the file's path, or "the waveform".
    peak : largest magnitude of the samples that were read so far; full scale is 1.
    channels_cancel, clipped : those of `AudioStream`, of the part that was read so far.
    """

    def __init__(
        self, audio: str | os.PathLike | np.ndarray, start: float | None = None, end: float | None = None
    ) -> None:
        self._path = "" if isinstance(audio, np.ndarray) else audio
        self.name = str(self._path) or UNNAMED
        self._start, self._end = start, end
        self._held = audio if isinstance(audio, np.ndarray) else None
        self._samples: int | None = None
        self._seen = 0
        self.peak = 0.0 if self._held is None else _peak(self._held)
        self.channels_cancel = False
        self.clipped = 0.0 if self._held is None else clipped_share(self._held)

    def blocks(self) -> Generator[np.ndarray]:
        """Yield the waveform from its beginning in blocks, float32 ``(T,)``; raises as `stream_audio`."""
        if self._held is not None:
            yield self._held
            return
        held: list[np.ndarray] = []
        count = 0
        with stream_audio(self._path, self._start, self._end) as stream:
            for block in stream:
                count += len(block)
                held = [*held, block] if count <= HELD_SECONDS * SAMPLE_RATE else []
                if count > self._seen:
                    self._seen, self.channels_cancel, self.clipped = count, stream.channels_cancel, stream.clipped
                    self.peak = max(self.peak, _peak(block))
                yield block
        self._samples = count
        if held:
            self._held = np.concatenate(held)

    @property
    def samples(self) -> int:
        """Number of samples; all are decoded unless that was done before."""
        if self._samples is None:
            self._samples = sum(map(len, self.blocks()))
        return self._samples

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Return a new array of the samples from `first` up to `last` (exclusive; None = the end). No more is decoded."""
        return next(self.pieces([first, sys.maxsize if last is None else last]))

    def pieces(self, edges: Sequence[int]) -> Generator[np.ndarray]:
        """Yield the samples between each two neighbouring `edges`, in one pass.

        Edges are positions in samples in increasing order. The last one may lie after the end.
        """
        position, place = 0, 0
        parts: list[np.ndarray] = []
        with closing(self.blocks()) as blocks:
            for block in blocks:
                while place + 1 < len(edges):
                    low, high = (max(0, edge - position) for edge in edges[place : place + 2])
                    parts.append(block[low:high])
                    if high > len(block):
                        break
                    yield np.concatenate(parts)
                    parts, place = [], place + 1
                position += len(block)
                if place + 1 >= len(edges):
                    return
        yield np.concatenate(parts)


def _peak(waveform: np.ndarray) -> float:
    return max(float(waveform.max()), -float(waveform.min()))
