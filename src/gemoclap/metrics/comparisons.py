"""Tests whether methods differ: permutation tests over speakers, McNemar's test over clips, and Holm's correction (1979)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from scipy.special import bdtr

DRAWS = 20_000
ALL_SIGNS = 14
"""Up to this number of speakers, all combinations of signs are tried; with more, `DRAWS` random ones."""
CHUNK = 2**20
"""Number of signs that are drawn at a time, to limit memory: clips without a speaker can be tens of thousands of speakers."""


def speaker_shares(a: np.ndarray, b: np.ndarray, statistic: Literal["uar", "war"] = "uar") -> np.ndarray:
    """Return (S,) the share of each speaker in the difference of two mean scores, ``b - a``; the shares sum to the difference.

    `a` (K, S, C, C) and `b` (L, S, C, C) are confusion matrices for each seed and speaker on the same utterances; rows are the
    truth. A hit counts ``1 / N_k`` of the mean of recalls (UAR), where N_k is the size of its class, and ``1 / N`` of WAR.
    """
    support = a[0].sum(axis=(0, 2))
    hits = [np.diagonal(one, axis1=-2, axis2=-1).mean(axis=0) for one in (a, b)]  # (S, C)
    occurs = support > 0
    weights = 1 / (support[occurs] * occurs.sum()) if statistic == "uar" else np.full(occurs.sum(), 1 / support.sum())
    return ((hits[1] - hits[0])[:, occurs] * weights).sum(axis=1)


def least_p(speakers: int) -> float:
    """Return the smallest value that `sign_flip_p` can have with so many speakers: that of two of all combinations of signs."""
    return min(1.0, 2.0 ** (1 - speakers))


def sign_flip_p(shares: np.ndarray) -> float:
    """Return the two-sided p-value of the sum of speakers' shares (S,) under random signs.

    If two methods were equally good, each speaker's share of their difference could just as well have the opposite sign. p is
    the share of sign combinations that give a difference at least as large. It is `least_p` or more.
    """
    moving = shares[shares != 0]  # the sign of 0 changes nothing
    # Sums that only differ by rounding count as equal.
    as_large = [np.abs(signs @ moving) >= abs(shares.sum()) - 1e-12 for signs in _signs(len(moving))]
    return float(np.concatenate(as_large).mean())


def _signs(size: int) -> Iterator[np.ndarray]:
    """Yield combinations of signs (N, size), a chunk at a time: all of them or, if they are too many, random ones."""
    if size <= ALL_SIGNS:
        yield 1 - 2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1)
        return
    draws, rows = np.random.default_rng(0), max(1, CHUNK // size)
    for first in range(0, DRAWS, rows):
        signs = draws.choice([-1.0, 1.0], (min(rows, DRAWS - first), size))
        if first == 0:
            signs[0] = 1  # the observed sum is one of them, so that p is never 0
        yield signs


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947).

    If two systems were equally often right, a clip that only one of them gets right would be either one's with equal chance.
    The test treats clips as independent. Those of one speaker are not, so it finds differences too often that other speakers
    would not confirm.

    Parameters
    ----------
    only_a, only_b : number of clips that only the one, or only the other, gets right.

    Examples
    --------
    >>> round(mcnemar_p(1, 5), 3)
    0.219
    """
    one_sided = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)) if only_a + only_b else 1.0
    return min(1.0, 2 * one_sided)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the number of tests by Holm's method, in the order given; NaN is no test and stays NaN.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.04, 0.01, 0.03])]
    [0.06, 0.03, 0.06]
    """
    numbers = np.asarray(values, dtype=float)
    corrected, largest = np.full(len(numbers), np.nan), 0.0
    order = [place for place in np.argsort(numbers, kind="stable") if not np.isnan(numbers[place])]
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * numbers[place]))
        corrected[place] = largest
    return corrected.tolist()
