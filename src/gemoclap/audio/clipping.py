"""Finds out how much of a recording is clipped: cut off at the loudest value that a microphone or a converter could give."""

from __future__ import annotations

import numpy as np

RUN = 3
"""Samples at the limit, one after the other, from which they count as cut off. Speech that is not clipped has fewer [C]."""
LOWEST_LIMIT = 0.1
"""Smallest limit that is believed, where 1 is full scale. In quiet 8-bit sound, neighbours are often equal [C]."""


class Clipping:
    """Counts the samples that lie, `RUN` or more in a row, at the highest or at the lowest value of their channel.

    Sound is added block by block, before it is resampled or mixed. Both round the flat tops off, and so does lossy compression,
    after which clipping is not found.
    """

    def __init__(self) -> None:
        self._samples = 0
        self._sides: list[tuple[_Limit, _Limit]] = []

    def add(self, block: np.ndarray) -> None:
        """Add a block ``(T, channels)``; the number of channels is that of the first block."""
        if not len(block):
            return
        self._samples += len(block)
        self._sides = self._sides or [(_Limit(), _Limit()) for _ in block.T]
        for (high, low), channel in zip(self._sides, block.T, strict=True):
            high.add(channel)
            low.add(-channel)

    @property
    def shares(self) -> np.ndarray:
        """Share of the samples of each channel that are cut off, ``(channels,)``; empty if nothing was added."""
        return np.array([_cut_off(sides) / self._samples for sides in self._sides])

    @property
    def share(self) -> float:
        """The largest of `shares`; 0 if nothing was added."""
        return float(max(self.shares, default=0.0))


def clipped_share(waveform: np.ndarray) -> float:
    """Return `Clipping.share` of a waveform ``(T,)``."""
    clipping = Clipping()
    clipping.add(waveform[:, None])
    return clipping.share


class _Limit:
    """The highest value so far, and the number of samples that lie at it in runs.

    Attributes
    ----------
    value : None before the first sample.
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self._ended = self._open = 0

    def add(self, samples: np.ndarray) -> None:
        highest = float(samples.max())
        if self.value is None or highest > self.value:
            self.value, self._ended, self._open = highest, 0, 0
        runs = np.array([self._open, 0]) if highest < self.value else _runs(samples == highest, self._open)
        self._ended += int(runs[:-1][runs[:-1] >= RUN].sum())
        self._open = int(runs[-1])

    @property
    def samples(self) -> int:
        return self._ended + (self._open if self._open >= RUN else 0)


def _runs(at_limit: np.ndarray, open_before: int) -> np.ndarray:
    """Return the lengths of the runs of True in ``(T,)``, the last one that at its end; it has 0 where there is no run.

    Parameters
    ----------
    open_before : samples of a run just before, which goes on if the first one is True.
    """
    return np.diff(np.flatnonzero(~at_limit), prepend=-1 - open_before, append=len(at_limit)) - 1


def _cut_off(sides: tuple[_Limit, _Limit]) -> int:
    high, low = sides
    if high.value is None or low.value is None or high.value == -low.value:  # a constant is no sound that was cut off
        return 0
    return sum(one.samples for one in sides if one.value is not None and one.value >= LOWEST_LIMIT)
