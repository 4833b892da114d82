"""Resamples sound in fixed blocks, with a state that can be stored."""

from __future__ import annotations

from math import ceil, gcd

import numpy as np
import soxr

from gemoclap.audio.checks import SAMPLE_RATE

MARGIN_SECONDS = 0.1
"""Margin on both sides of a block that the filter gets. A longer margin changes no sample by more than 1e-6."""
BLOCK_MARGINS = 4
"""Length of a block, in margins."""


class BlockResampler:
    """Resamples from any rate to `SAMPLE_RATE`, in chunks of any length.

    soxr's own stream cannot be stored and resumed. The sound is therefore cut into blocks at fixed positions, and each block is
    resampled with a margin on both sides. The output does not depend on the chunks. It differs from ``soxr.resample`` of the
    whole by less than 1e-6 of full scale.

    Parameters
    ----------
    sample_rate : sample rate of the input in Hz.

    Attributes
    ----------
    held : float32 ``(T,)``, samples that the next block needs. To resume, set `held` and `left` of a new resampler.
    left : number of samples of `held` that are the margin before the next block.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.held = np.zeros(0, np.float32)
        self.left = 0
        # The margin must be a whole number of samples at both rates.
        common = gcd(sample_rate, SAMPLE_RATE)
        periods = ceil(MARGIN_SECONDS * common)
        self._margin, self._margin_out = periods * sample_rate // common, periods * SAMPLE_RATE // common

    def add(self, samples: np.ndarray) -> list[np.ndarray]:
        """Add samples ``(T,)`` and return the blocks at 16 kHz that are now complete."""
        if self.sample_rate == SAMPLE_RATE:
            return [samples] if len(samples) else []
        self.held = np.concatenate([self.held, samples])
        block = BLOCK_MARGINS * self._margin
        found, place = [], 0
        while place + self.left + block + self._margin <= len(self.held):
            end = place + self.left + block
            found.append(self._resampled(place, end + self._margin)[: BLOCK_MARGINS * self._margin_out])
            place, self.left = end - self._margin, self._margin
        self.held = self.held[place:]
        return found

    def finish(self) -> list[np.ndarray]:
        """Return the rest of the sound."""
        rest = self._resampled(0, len(self.held)) if len(self.held) > self.left else self.held[:0]
        self.held, self.left = self.held[:0], 0
        return [rest] if len(rest) else []

    def _resampled(self, first: int, last: int) -> np.ndarray:
        """Return a part of `held` at 16 kHz, without the margin before it."""
        resampled = soxr.resample(self.held[first:last], self.sample_rate, SAMPLE_RATE, quality="VHQ")
        return resampled[self._margin_out if self.left else 0 :]
