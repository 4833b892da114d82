"""The outline of a waveform of any length, kept in a few thousand numbers."""

from __future__ import annotations

import numpy as np

COLUMNS = 2048
"""Number of columns of an outline: at least this, and at most twice this. Very short sounds have fewer."""


class Envelope:
    """Keeps the smallest and the largest sample of equal parts of the sound. If there are too many parts, pairs are joined.

    Parameters
    ----------
    sample_rate : Hz.

    Attributes
    ----------
    peak : largest magnitude of a sample.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._step = 64
        self._columns = np.zeros((2, 0), np.float32)
        self._rest = np.zeros(0, np.float32)
        self.peak = 0.0

    def add(self, samples: np.ndarray) -> None:
        """Add the next samples ``(T,)``."""
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
        """Join columns in pairs. A last column without a partner becomes samples again, with its smallest and largest value."""
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
        """Return the middles of the columns in seconds, and their smallest and largest samples, ``(N,)`` each."""
        low, high = self._columns
        times = (np.arange(len(low)) + 0.5) * self._step / self._rate
        if len(self._rest):
            times = np.append(times, (len(low) * self._step + len(self._rest) / 2) / self._rate)
            low, high = np.append(low, self._rest.min()), np.append(high, self._rest.max())
        return times, low, high


def _outline(stretches: np.ndarray) -> np.ndarray:
    """Return the smallest and largest samples ``(2, N)`` of parts ``(N, T)``."""
    return np.stack([stretches.min(axis=1), stretches.max(axis=1)]) if len(stretches) else np.zeros((2, 0), np.float32)
