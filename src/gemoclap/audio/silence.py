"""Finds the silence at the start and end of a recording."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gemoclap.audio.checks import SAMPLE_RATE

FRAME_SECONDS, HOP_SECONDS, MARGIN_SECONDS = 0.025, 0.010, 0.050
"""Length of a frame, its hop, and the margin that is kept around the first and last loud frame [C]."""

FRAME, HOP, MARGIN = (round(seconds * SAMPLE_RATE) for seconds in (FRAME_SECONDS, HOP_SECONDS, MARGIN_SECONDS))


def loud_range(blocks: Iterable[np.ndarray], below_db: float) -> tuple[int, int]:
    """Return the first sample after the silence at the start of a recording, and the first sample of the silence at its end.

    A frame is silent if its RMS is more than `below_db` below that of the loudest frame. Frames that reach beyond the end are
    filled with zeros. A recording of zeros is kept whole.

    Parameters
    ----------
    blocks : the waveform, ``(T,)`` each; the result does not depend on the cuts.
    """
    frames = _LoudFrames(10 ** (-below_db / 10))
    for block in blocks:
        frames.add(block)
    return frames.range()


class _LoudFrames:
    """Keeps the frames that may turn out to be the first or the last loud one, block by block.

    Sums are carried from block to block in the order of one long sum, so the result does not depend on the blocks. The first
    loud frame is louder than all frames before it, and the last one is louder than all frames after it. Only frames are kept
    that fulfil one of these and are not silent compared with the loudest frame so far. Memory therefore does not grow with the
    recording.

    Parameters
    ----------
    share : a frame is loud if its power is at least this share of the loudest frame's power.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._energy = np.zeros(1)  # sum of squares up to each sample, starting at sample self._origin
        self._origin = self._next = self._samples = 0
        self._starts, self._powers = np.zeros(0, np.int64), np.zeros(0)

    def add(self, block: np.ndarray) -> None:
        """Add the next samples ``(T,)``."""
        added = np.cumsum(np.concatenate([self._energy[-1:], np.square(block, dtype=np.float64)]))
        self._energy = np.concatenate([self._energy, added[1:]])
        self._samples += len(block)
        self._look_at(np.arange(self._next, self._samples - FRAME + 1, HOP))
        self._energy = self._energy[self._next - self._origin :]
        self._origin = self._next

    def range(self) -> tuple[int, int]:
        """Return first sample and end (exclusive) of the part between the silences. No block may be added afterwards."""
        self._look_at(np.arange(self._next, self._samples, HOP))
        loud = self._starts[self._powers >= self._powers.max() * self._share]
        return max(0, int(loud[0]) - MARGIN), min(self._samples, int(loud[-1]) + FRAME + MARGIN)

    def _look_at(self, starts: np.ndarray) -> None:
        if not len(starts):
            return
        ends = np.minimum(starts + FRAME, self._samples) - self._origin
        powers = np.concatenate([self._powers, self._energy[ends] - self._energy[starts - self._origin]])
        self._next = int(starts[-1]) + HOP
        starts = np.concatenate([self._starts, starts])
        before = np.concatenate([[-np.inf], np.maximum.accumulate(powers)[:-1]])
        behind = np.concatenate([np.maximum.accumulate(powers[::-1])[::-1][1:], [-np.inf]])
        kept = (powers >= powers.max() * self._share) & ((powers > before) | (powers > behind))
        self._starts, self._powers = starts[kept], powers[kept]
