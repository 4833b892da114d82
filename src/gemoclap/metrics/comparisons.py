"""Tests whether methods differ on unseen speakers: sign-flip tests over speakers, with Holm's correction (1979)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 20_000
ALL_SIGNS = 14
"""Up to this number of speakers, all combinations of signs are tried; with more, `DRAWS` random ones."""


def speaker_shares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (S,) the share of each speaker in the difference of two mean UARs, ``b - a``; the shares sum to the difference.

    `a` (K, S, C, C) and `b` (L, S, C, C) are confusion matrices for each seed and speaker on the same utterances; rows are the
    truth.
    """
    support = a[0].sum(axis=(0, 2))
    hits = [np.diagonal(one, axis1=-2, axis2=-1).mean(axis=0) for one in (a, b)]  # (S, C)
    occurs = support > 0
    return ((hits[1] - hits[0])[:, occurs] / support[occurs]).sum(axis=1) / occurs.sum()


def sign_flip_p(shares: np.ndarray) -> float:
    """Return the two-sided p-value of the sum of speakers' shares (S,) under random signs.

    If two methods were equally good, each speaker's share of their difference could just as well have the opposite sign. p is
    the share of sign combinations that give a difference at least as large. With S speakers it is at least 2 / 2 ** S.
    """
    size = len(shares)
    if size <= ALL_SIGNS:
        signs = 1 - 2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (DRAWS, size))
        signs[0] = 1
    # Sums that only differ by rounding count as equal.
    return float((np.abs(signs @ shares) >= abs(shares.sum()) - 1e-12).mean())


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the number of tests by Holm's method, in the order given.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.04, 0.01, 0.03])]
    [0.06, 0.03, 0.06]
    """
    order, corrected, largest = np.argsort(values), [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected
