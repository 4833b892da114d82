"""The outline of a waveform of any length, in a few thousand numbers."""

from __future__ import annotations

import numpy as np

COLUMNS = 2048
"""The outline has at least so many columns, and at most twice as many, once the sound is long enough."""


class Envelope:
    """Keeps the least and the largest sample of equal stretches, which are joined in pairs when there are too many.

    Parameters
    ----------
    sample_rate : Hz.

    Attributes
    ----------
    peak : the largest magnitude.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._step = 64
        self._columns = np.zeros((2, 0), np.float32)
        self._rest = np.zeros(0, np.float32)
        self.peak = 0.0

    def add(self, samples: np.ndarray) -> None:
        """Take the next samples ``(T,)``."""
        if len(samples):
            self.peak = max(self.peak, float(samples.max()), -float(samples.min()))
        rest = np.concatenate([self._rest, samples])
        whole = len(rest) // self._step * self._step
        stretches = rest[:whole].reshape(-1, self._step)
        self._rest = rest[whole:].copy()
        self._columns = np.concatenate([self._columns, _outline(stretches)], axis=1)
        while self._columns.shape[1] > 2 * COLUMNS:
            self._join()

    def _join(self) -> None:
        """Make one column of two. A last column without a partner goes back to the samples, as its two ends."""
        columns = self._columns
        if columns.shape[1] % 2:
            low, high = columns[:, -1]
            filled = np.full(self._step, low, np.float32)
            filled[1:] = high
            self._rest = np.concatenate([filled, self._rest])
            columns = columns[:, :-1]
        self._columns = np.stack(
            [np.minimum(columns[0, ::2], columns[0, 1::2]), np.maximum(columns[1, ::2], columns[1, 1::2])]
        )
        self._step *= 2

    def outline(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the middles of the columns in seconds, their least and their largest samples, ``(N,)`` each."""
        low, high = self._columns
        times = (np.arange(len(low)) + 0.5) * self._step / self._rate
        if len(self._rest):
            times = np.append(times, (len(low) * self._step + len(self._rest) / 2) / self._rate)
            low, high = np.append(low, self._rest.min()), np.append(high, self._rest.max())
        return times, low, high


def _outline(stretches: np.ndarray) -> np.ndarray:
    """Return least and largest samples ``(2, N)`` of stretches ``(N, T)``."""
    return np.stack([stretches.min(axis=1), stretches.max(axis=1)]) if len(stretches) else np.zeros((2, 0), np.float32)
