"""Finds how many clips of similar length fit into batches with a limited number of samples, in any random order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gemoclap.audio import SAMPLE_RATE
from gemoclap.errors import GemoclapError
from gemoclap.wording import counted

BUCKET_ITEMS = 64
"""Approximate number of clips in a bucket. A bucket has at least two batches."""
JITTER = 0.02
"""Before clips are sorted, each length is multiplied by a random factor, so that the batches of epochs differ. This is the
standard deviation of the logarithm of the factor. With a budget, which must never be exceeded, the logarithm is uniform between
-JITTER and JITTER."""


@dataclass
class Bucket:
    """The `clips` clips from position `first` on, longest first. They make `batches` batches of at most `size` clips."""

    first: int
    clips: int
    batches: int
    size: int

    def filled_with_one_more(self) -> float:
        """Return how full the batches are with one batch more, at most 1. It is 0 if a batch would have one clip only."""
        batches = self.batches + 1
        return self.clips / (batches * self.size) if self.clips >= 2 * batches else 0.0


def fill_buckets(lengths: np.ndarray, budget: int, processes: int) -> list[Bucket]:
    """Divide the positions 0 .. N-1 of clips, sorted by jittered length, longest first, into buckets that always fit."""
    check_enough(len(lengths), processes)
    longest = int(lengths.max())
    buckets = _try_buckets(lengths, budget, processes)
    if buckets is not None:
        return buckets
    # This ends, because with the last budget that is tried one batch for each process is enough.
    tried = (size * longest for size in range(max(2, budget // longest + 1), len(lengths) + 1))
    needed = next(enough for enough in tried if _try_buckets(lengths, enough, processes) is not None)
    raise GemoclapError(
        f"train.batch_seconds is {budget / SAMPLE_RATE:g}: {counted(len(lengths), 'training utterance')} of up to "
        f"{longest / SAMPLE_RATE:.1f} s do not fit in batches of two or more for {processes} process(es); "
        f"set --train.batch_seconds to {math.ceil(10 * needed / SAMPLE_RATE) / 10:g} or more"
    )


def _try_buckets(lengths: np.ndarray, budget: int, processes: int) -> list[Bucket] | None:
    """Return the buckets of `fill_buckets`, or None if the budget is too small for batches of two.

    The longest clip of a bucket decides how many clips its batches have. So they fit in any arrangement. A bucket with two or
    more batches ends where clips are short enough for larger batches.
    """
    items = len(lengths)
    limits = _longest_from(lengths)
    buckets: list[Bucket] = []
    first = 0
    while first < items:
        size = int(budget // limits[first])
        if size < 2:
            return None
        larger_from = int(np.searchsorted(-limits, -(budget // (size + 1))))
        batches = min(max(2, -(-(larger_from - first) // size)), max(2, BUCKET_ITEMS // size))
        clips = batches * size
        # The remaining clips join this bucket if they would otherwise form a small batch of their own.
        if items - first <= clips + size:
            clips = items - first
        buckets.append(Bucket(first, clips, -(-clips // size), size))
        first += clips
    for _ in range(-sum(bucket.batches for bucket in buckets) % processes):
        max(buckets, key=Bucket.filled_with_one_more).batches += 1
    return buckets if all(bucket.clips >= 2 * bucket.batches for bucket in buckets) else None


def _longest_from(lengths: np.ndarray) -> np.ndarray:
    """Return, for each position, the largest length that a clip at it or behind it can have: ``(N,)`` samples.

    Clips are sorted by jittered length, longest first. The jitter makes no clip longer by more than the factor
    ``exp(JITTER)``. So the k-th longest jittered length is at most this factor times the k-th longest length. It also makes no
    clip shorter by more than this factor. So a clip from there on is at most this factor longer than its jittered length.
    """
    longest_first = np.sort(lengths)[::-1]
    return np.minimum(longest_first[0], np.ceil(longest_first * np.exp(2 * JITTER))).astype(np.int64)


def check_enough(items: int, processes: int) -> None:
    """Raise a GemoclapError unless there are two clips for a batch of every process."""
    if items < 2 * processes:
        raise GemoclapError(
            f"{counted(items, 'training utterance')} cannot give {counted(processes, 'process', 'processes')} a batch of two "
            "each; add data or start fewer processes"
        )
