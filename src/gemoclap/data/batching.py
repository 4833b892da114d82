"""How utterances are grouped into batches: pure functions from lengths and labels to lists of indices.

Batches of clips of similar length need little padding, but a contrastive batch needs several emotions and both genders. So
clips are sorted by (jittered) length into buckets of a few batches. Each bucket is sorted by emotion and gender and dealt
out to its batches like cards. The size of a batch is limited by the number of clips (`length_bucketed`), or by the number
of samples including padding, which decides how much memory a batch takes (`length_budgeted`). If all clips have the same
labels, both deal at random. `shuffled` ignores lengths and labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gemoclap.audio import SAMPLE_RATE
from gemoclap.errors import GemoclapError

BUCKET_ITEMS = 64
"""Approximate number of clips in a bucket; a bucket has at least two batches."""
JITTER = 0.02
"""Before sorting, each length is multiplied by a random factor, so that batches differ from epoch to epoch. This is the
standard deviation of its logarithm. With a budget, which must hold in every epoch, the logarithm is uniform between -JITTER
and JITTER."""


def count_batches(items: int, batch_size: int, processes: int = 1) -> int:
    """Return how many batches an epoch has: the least multiple of `processes` whose batches hold at most `batch_size`.

    No batch has one clip only. To ensure this, some batches have up to four clips if `batch_size` is two or three.

    Raises
    ------
    GemoclapError : `batch_size` is below two, or there are not two clips for a batch of every process.
    """
    if batch_size < 2:
        raise GemoclapError(
            f"train.batch_size is {batch_size}: a contrastive loss needs at least two utterances; "
            "set --train.batch_size to 2 or more"
        )
    _check_enough(items, processes)
    full = -(-items // batch_size)
    most = items // 2 // processes * processes
    return min(-(-full // processes) * processes, most)


def shuffled(items: int, batch_size: int, rng: np.random.Generator, processes: int = 1) -> list[list[int]]:
    """Divide the clips 0 .. N-1 into batches at random, ignoring lengths and labels [P: names nothing else].

    Sizes and number of batches are those of `length_bucketed`.

    Parameters
    ----------
    items : N.
    batch_size, rng, processes : as of `length_bucketed`.

    Raises
    ------
    GemoclapError : as `count_batches`.
    """
    number = count_batches(items, batch_size, processes)
    edges = [items * place // number for place in range(number + 1)]
    order = rng.permutation(items).tolist()
    return [order[first:last] for first, last in pairwise(edges)]


def _check_enough(items: int, processes: int) -> None:
    if items < 2 * processes:
        raise GemoclapError(
            f"{items} training utterances cannot give {processes} process(es) a batch of two each; "
            "add data or start fewer processes"
        )


def length_bucketed(
    lengths: Sequence[int] | np.ndarray,
    emotions: Sequence[int] | np.ndarray,
    genders: Sequence[int] | np.ndarray,
    batch_size: int,
    rng: np.random.Generator,
    processes: int = 1,
) -> list[list[int]]:
    """Divide the clips 0 .. N-1 into batches of similar length that mix emotions and genders.

    Every clip is in exactly one batch, and sizes differ by at most one. As many batches as possible have two or more
    emotions: all of them, unless there are fewer clips outside the largest class than batches. Batches come in random
    order. But processes wait for each other, so the `processes` consecutive batches of one step (process p takes
    ``batches[p::processes]``) have similar lengths.

    Parameters
    ----------
    lengths : (N,) samples.
    emotions, genders : (N,) indices.
    batch_size : largest number of clips in a batch (for exceptions see `count_batches`).
    rng : the only source of randomness.
    processes : how many processes share the epoch.

    Raises
    ------
    GemoclapError : as `count_batches`.
    """
    lengths, emotions, genders = np.asarray(lengths), np.asarray(emotions), np.asarray(genders)
    items = len(lengths)
    number = count_batches(items, batch_size, processes)
    by_length = np.argsort(lengths * np.exp(rng.normal(0.0, JITTER, items)), kind="stable")
    bucket_batches = max(2, BUCKET_ITEMS // batch_size)
    batches: list[list[int]] = []
    for share in np.array_split(np.arange(number), -(-number // bucket_batches)):
        first, last = (items * edge // number for edge in (share[0], share[-1] + 1))
        batches += _deal(by_length[first:last], len(share), emotions, genders, rng)
    _mix_emotions(batches, lengths, emotions)
    return _shuffle_steps(batches, rng, processes)


def count_budgeted(lengths: Sequence[int] | np.ndarray, budget: int, processes: int = 1) -> int:
    """Return how many batches `length_budgeted` makes of clips of these `lengths` ``(N,)``, whatever its generator.

    Raises
    ------
    GemoclapError : as `length_budgeted`.
    """
    return sum(bucket.batches for bucket in _fill_buckets(np.asarray(lengths), budget, processes))


def length_budgeted(
    lengths: Sequence[int] | np.ndarray,
    emotions: Sequence[int] | np.ndarray,
    genders: Sequence[int] | np.ndarray,
    budget: int,
    rng: np.random.Generator,
    processes: int = 1,
    bounds: Sequence[int] | np.ndarray | None = None,
) -> list[list[int]]:
    """Divide the clips 0 .. N-1 into batches of similar length, each of at most `budget` samples including padding.

    Every clip is in exactly one batch of two or more, and number of clips x longest clip <= `budget` holds for every
    batch. The number of batches, a multiple of `processes`, depends on neither `rng` nor the labels (`count_budgeted`),
    so epochs are equally long. Their order is as in `length_bucketed`: random, with similar lengths in the `processes`
    batches of one step.

    Emotions and genders are mixed as in `length_bucketed`, by exchanging clips within the budget. A batch keeps a single
    emotion only if no exchange with another batch, within the budget of both, would leave both with several.

    Parameters
    ----------
    lengths : (N,) samples.
    emotions, genders : (N,) indices.
    budget : largest number of samples in a batch.
    rng : the only source of randomness.
    processes : how many processes share the epoch.
    bounds : (N,) samples, for epochs that draw different clips but must be equally long. Batches are counted and
        sized as if these were the lengths. The k-th longest clip is at most the k-th largest of `bounds`, for every k.

    Raises
    ------
    GemoclapError : there are not two clips for a batch of every process, or the budget is too small for batches of two.
    ValueError : `bounds` do not bound `lengths`.
    """
    lengths, emotions, genders = np.asarray(lengths), np.asarray(emotions), np.asarray(genders)
    bounds = lengths if bounds is None else np.asarray(bounds)
    if len(bounds) != len(lengths) or np.any(np.sort(lengths) > np.sort(bounds)):
        raise ValueError("bounds must be as many as lengths and, both sorted, nowhere less")
    buckets = _fill_buckets(bounds, budget, processes)
    jitter = rng.uniform(-JITTER, JITTER, len(lengths))
    by_length = np.argsort(-lengths * np.exp(jitter), kind="stable")
    batches: list[list[int]] = []
    for bucket in buckets:
        clips = by_length[bucket.first : bucket.first + bucket.clips]
        batches += _deal(clips, bucket.batches, emotions, genders, rng)
    _mix_emotions(batches, lengths, emotions, budget)
    return _shuffle_steps(batches, rng, processes)


@dataclass
class _Bucket:
    """`clips` clips from position `first` on, longest first, for `batches` batches of at most `size` clips."""

    first: int
    clips: int
    batches: int
    size: int

    def filled_with_one_more(self) -> float:
        """Return how full the batches are after adding one batch, at most 1; 0 if this makes a batch of one clip."""
        batches = self.batches + 1
        return self.clips / (batches * self.size) if self.clips >= 2 * batches else 0.0


def _fill_buckets(lengths: np.ndarray, budget: int, processes: int) -> list[_Bucket]:
    """Divide the positions 0 .. N-1 of a jittered order, longest first, into buckets that fit for any jitter."""
    _check_enough(len(lengths), processes)
    longest = int(lengths.max())
    buckets = _try_buckets(lengths, budget, processes)
    if buckets is not None:
        return buckets
    # This ends: at the last budget tried, one batch for each process is enough.
    tried = (size * longest for size in range(max(2, budget // longest + 1), len(lengths) + 1))
    needed = next(enough for enough in tried if _try_buckets(lengths, enough, processes) is not None)
    raise GemoclapError(
        f"train.batch_seconds is {budget / SAMPLE_RATE:g}: {len(lengths)} training utterances of up to "
        f"{longest / SAMPLE_RATE:.1f} s do not fit in batches of two or more for {processes} process(es); "
        f"set --train.batch_seconds to {math.ceil(10 * needed / SAMPLE_RATE) / 10:g} or more"
    )


def _try_buckets(lengths: np.ndarray, budget: int, processes: int) -> list[_Bucket] | None:
    """Return the buckets of `_fill_buckets`, or None where the budget is too small for batches of two.

    The longest clip of a bucket decides how many clips its batches have, so the clips fit in any arrangement. A bucket of
    two or more batches ends where clips are short enough for larger batches.
    """
    items = len(lengths)
    limits = _longest_from(lengths)
    buckets: list[_Bucket] = []
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
        buckets.append(_Bucket(first, clips, -(-clips // size), size))
        first += clips
    for _ in range(-sum(bucket.batches for bucket in buckets) % processes):
        max(buckets, key=_Bucket.filled_with_one_more).batches += 1
    return buckets if all(bucket.clips >= 2 * bucket.batches for bucket in buckets) else None


def _longest_from(lengths: np.ndarray) -> np.ndarray:
    """Return the largest length of any clip at each position or later in a jittered order, longest first: ``(N,)`` samples.

    The jitter lengthens no clip by more than ``exp(JITTER)``, so the k-th longest jittered length is at most that
    times the k-th longest; and it shortens no clip by more, so the clips from there on are at most that times longer.
    """
    longest_first = np.sort(lengths)[::-1]
    return np.minimum(longest_first[0], np.ceil(longest_first * np.exp(2 * JITTER))).astype(np.int64)


def _deal(
    clips: np.ndarray, hands: int, emotions: np.ndarray, genders: np.ndarray, rng: np.random.Generator
) -> list[list[int]]:
    """Deal `clips`, sorted by emotion and gender, to `hands` batches, so that each gets its share of emotions and genders."""
    order = np.lexsort((rng.random(len(clips)), genders[clips], emotions[clips]))
    return [clips[order[hand::hands]].tolist() for hand in rng.permutation(hands)]


def _mix_emotions(
    batches: list[list[int]], lengths: np.ndarray, emotions: np.ndarray, budget: float = math.inf
) -> None:
    """Give each batch of one emotion a clip of another by an exchange with the nearest batch (in length) that can.

    A batch can give a clip if it keeps (or gets) several emotions: its other clips are not all of the receiver's emotion.
    Without a `budget`, if no batch can, every other batch has at most one clip of another emotion, so no arrangement is
    better. With a budget, only clips that fit are exchanged. Each exchange may make another possible, so they are
    repeated until none is left.
    """
    sizes = np.array([len(batch) for batch in batches])
    batch_of = np.empty(len(lengths), dtype=np.int64)
    for place, batch in enumerate(batches):
        batch_of[batch] = place
    exchanged = True
    while exchanged:
        exchanged = False
        for place, batch in enumerate(batches):
            if np.any(emotions[batch] != emotions[batch[0]]):
                continue
            strangers = emotions != emotions[batch[0]]
            can_give = np.bincount(batch_of[strangers], minlength=len(batches)) > 1
            can_take = lengths[batch].min() * sizes <= budget
            wanted = strangers & (lengths * len(batch) <= budget) & (can_give & can_take)[batch_of]
            if not wanted.any():
                continue
            donors = np.unique(batch_of[wanted])
            donor = int(donors[np.argmin(np.abs(donors - place))])
            mine = [clip for clip in batch if lengths[clip] * sizes[donor] <= budget]
            theirs = [clip for clip in batches[donor] if wanted[clip]]
            given, taken = _closest_in_length(mine, theirs, lengths)
            batch[batch.index(given)], batches[donor][batches[donor].index(taken)] = taken, given
            batch_of[given], batch_of[taken] = donor, place
            exchanged = True


def _closest_in_length(mine: list[int], theirs: list[int], lengths: np.ndarray) -> tuple[int, int]:
    gaps = np.abs(lengths[mine][:, None] - lengths[theirs][None, :])
    row, column = np.unravel_index(np.argmin(gaps), gaps.shape)
    return mine[row], theirs[column]


def _shuffle_steps(batches: list[list[int]], rng: np.random.Generator, processes: int) -> list[list[int]]:
    """Shuffle the steps of `processes` consecutive batches, and the batches within each."""
    steps = rng.permutation(len(batches) // processes)
    return [batches[step * processes + place] for step in steps for place in rng.permutation(processes)]


def padding_share(lengths: Sequence[int] | np.ndarray, batches: Sequence[Sequence[int]]) -> float:
    """Return the share of samples that is padding when each batch is padded to its longest clip, from 0 to 1."""
    lengths = np.asarray(lengths)
    padded = sum(len(batch) * int(lengths[list(batch)].max()) for batch in batches)
    return 1.0 - sum(int(lengths[list(batch)].sum()) for batch in batches) / padded


def balanced_draw(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the same number of items from every class, N in total: ``(N,)`` positions in `classes` ``(N,)``.

    Within a class no item is drawn twice before all are drawn once. So the items of a rare class are repeated equally often,
    and those of a frequent class take turns.
    """
    present = rng.permutation(np.unique(classes))
    shares = np.full(len(present), len(classes) // len(present))
    shares[: len(classes) % len(present)] += 1
    drawn = []
    for one, share in zip(present, shares, strict=True):
        members = np.flatnonzero(classes == one)
        rounds = [rng.permutation(members) for _ in range(-(-share // len(members)))]
        drawn.append(np.concatenate(rounds)[:share])
    return np.concatenate(drawn)
