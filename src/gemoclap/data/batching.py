"""Who rides together in a batch: pure functions over lengths and labels, index lists out.

Clips of one length waste no padding, but a contrastive batch needs several emotions and both genders. So clips are
sorted by (jittered) length into buckets of a few batches, and each bucket, sorted by emotion and gender, is dealt out
like cards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemoclap.errors import GemoclapError

BUCKET_ITEMS = 64
"""Least number of clips a bucket holds; a bucket is at least two batches."""
JITTER = 0.02
"""Standard deviation of the factor on each length before sorting, so that batches differ from epoch to epoch."""


def count_batches(items: int, batch_size: int, processes: int = 1) -> int:
    """Return how many batches an epoch has: the least multiple of `processes` whose batches hold at most `batch_size`.

    Batches of one are never made; to hold to that, some hold up to four clips where `batch_size` is two or three.

    Raises
    ------
    GemoclapError : `batch_size` is below two, or there are not two clips for a batch of every process.
    """
    if batch_size < 2:
        raise GemoclapError(
            f"train.batch_size is {batch_size}: a contrastive batch of one teaches nothing; "
            "set --train.batch_size to 2 or more"
        )
    if items < 2 * processes:
        raise GemoclapError(
            f"{items} training utterances cannot give {processes} process(es) a batch of two each; "
            "add data or start fewer processes"
        )
    full = -(-items // batch_size)
    most = items // 2 // processes * processes
    return min(-(-full // processes) * processes, most)


def length_bucketed(
    lengths: Sequence[int] | np.ndarray,
    emotions: Sequence[int] | np.ndarray,
    genders: Sequence[int] | np.ndarray,
    batch_size: int,
    rng: np.random.Generator,
    processes: int = 1,
) -> list[list[int]]:
    """Divide the clips 0 .. N-1 into batches of like length that mix emotions and genders.

    Every clip is in exactly one batch. Sizes differ by at most one: what `batch_size` leaves over, and what makes the
    number of batches a multiple of `processes`, is spread over all batches. As many batches as possible hold two or
    more emotions: all of them, unless the clips outside the largest class are fewer than the batches. Batches come in
    random order, but the `processes` consecutive ones that are one step of process 0, 1, ...
    (``batches[p::processes]``) are alike in length, because the processes wait for each other.

    Parameters
    ----------
    lengths : (N,) samples.
    emotions, genders : (N,) indices.
    batch_size : most clips a batch (more only as `count_batches` says).
    rng : the only source of chance.
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
    steps = rng.permutation(number // processes)
    return [batches[step * processes + place] for step in steps for place in rng.permutation(processes)]


def _deal(
    clips: np.ndarray, hands: int, emotions: np.ndarray, genders: np.ndarray, rng: np.random.Generator
) -> list[list[int]]:
    """Deal `clips`, sorted by emotion and gender, to `hands` batches, so that each gets its share of every kind."""
    order = np.lexsort((rng.random(len(clips)), genders[clips], emotions[clips]))
    return [clips[order[hand::hands]].tolist() for hand in rng.permutation(hands)]


def _mix_emotions(batches: list[list[int]], lengths: np.ndarray, emotions: np.ndarray) -> None:
    """Give each batch of one emotion a clip of another by an exchange with the nearest batch (in length) that can.

    A donor can when it stays (or becomes) mixed: its clips other than the one given are not all of the receiver's
    emotion. Where none can, every other batch has at most one clip of another emotion, so no arrangement does better.
    """
    for place, batch in enumerate(batches):
        emotion = emotions[batch[0]]
        if np.any(emotions[batch] != emotion):
            continue
        for other in sorted(range(len(batches)), key=lambda index: abs(index - place)):
            donor = batches[other]
            strangers = [clip for clip in donor if emotions[clip] != emotion]
            if len(strangers) > 1:
                _exchange(batch, donor, strangers, lengths)
                break


def _exchange(batch: list[int], donor: list[int], strangers: list[int], lengths: np.ndarray) -> None:
    """Exchange the clip of `batch` and the one of `strangers` in `donor` that are closest in length."""
    gaps = np.abs(lengths[batch][:, None] - lengths[strangers][None, :])
    mine, theirs = np.unravel_index(np.argmin(gaps), gaps.shape)
    taken = strangers[theirs]
    donor[donor.index(taken)] = batch[mine]
    batch[mine] = taken


def padding_share(lengths: Sequence[int] | np.ndarray, batches: Sequence[Sequence[int]]) -> float:
    """Return the share of samples that is padding when each batch is padded to its longest clip, from 0 to 1."""
    lengths = np.asarray(lengths)
    padded = sum(len(batch) * int(lengths[list(batch)].max()) for batch in batches)
    return 1.0 - sum(int(lengths[list(batch)].sum()) for batch in batches) / padded


def balanced_draw(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw as many items of every class, and as many in all as there are: ``(N,)`` places in `classes` ``(N,)``.

    Within a class nobody is drawn twice before everybody is drawn once, so a rare class is repeated evenly and a frequent
    one sits out by turns.
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
