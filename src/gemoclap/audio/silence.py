"""Where the silence at the head and tail of a recording ends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gemoclap.audio.checks import SAMPLE_RATE

FRAME_SECONDS, HOP_SECONDS, MARGIN_SECONDS = 0.025, 0.010, 0.050
"""The analysis frame, its hop, and what is kept around the first and last loud frame [C]."""

FRAME, HOP, MARGIN = (round(seconds * SAMPLE_RATE) for seconds in (FRAME_SECONDS, HOP_SECONDS, MARGIN_SECONDS))


def loud_range(blocks: Iterable[np.ndarray], below_db: float) -> tuple[int, int]:
    """Return the first sample of what is not silence at the head of a recording, and the first of the silence at its tail.

    A frame is silent when its RMS lies more than `below_db` below that of the loudest frame. Frames that reach over the
    end are filled with zeros. All of a recording of nothing but zeros is kept.

    Parameters
    ----------
    blocks : the waveform, ``(T,)`` each; how it is cut makes no difference.
    """
    frames = _LoudFrames(10 ** (-below_db / 10))
    for block in blocks:
        frames.add(block)
    return frames.range()


class _LoudFrames:
    """Keeps those frames that may be the first or the last loud one, block by block.

    The sums are carried from block to block in the order of one long sum, so that the bits do not depend on the blocks.
    The first loud frame is louder than all before it, the last one louder than all behind it, and neither is silent by
    what was met so far: no other frame is kept, so that memory does not grow with the recording.

    Parameters
    ----------
    share : of the loudest frame's power that a loud frame has at least.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._energy = np.zeros(1)  # up to each sample, from sample self._origin on
        self._origin = self._next = self._samples = 0
        self._starts, self._powers = np.zeros(0, np.int64), np.zeros(0)

    def add(self, block: np.ndarray) -> None:
        """Take the next samples ``(T,)``."""
        added = np.cumsum(np.concatenate([self._energy[-1:], np.square(block, dtype=np.float64)]))
        self._energy = np.concatenate([self._energy, added[1:]])
        self._samples += len(block)
        self._look_at(np.arange(self._next, self._samples - FRAME + 1, HOP))
        self._energy = self._energy[self._next - self._origin :]
        self._origin = self._next

    def range(self) -> tuple[int, int]:
        """Return first and last + 1 sample of what is not silence; no block may be added afterwards."""
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
