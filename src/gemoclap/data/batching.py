"""Groups utterances into batches: pure functions from lengths and labels to lists of indices.

Clips of similar length need little padding. But a contrastive batch needs several emotions and both genders. So clips are
sorted by their length, with some random jitter, into buckets of a few batches. Each bucket is sorted by emotion and gender.
Then its clips are dealt out to its batches like cards. The size of a batch is limited by the number of clips
(`length_bucketed`), or by the number of samples including padding, which decides how much memory a batch needs
(`length_budgeted`). If all clips have the same labels, both deal at random. `shuffled` ignores lengths and labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gemoclap.data.budget import BUCKET_ITEMS, JITTER, check_enough, fill_buckets
from gemoclap.data.mixing import deal, mix_emotions, shuffle_steps
from gemoclap.errors import GemoclapError


def count_batches(items: int, batch_size: int, processes: int = 1) -> int:
    """Return how many batches an epoch has: the smallest multiple of `processes` with at most `batch_size` clips in a batch.

    No batch has only one clip. For this reason, some batches have up to four clips if `batch_size` is two or three.

    Raises
    ------
    GemoclapError : `batch_size` is below two, or there are not two clips for a batch of every process.
    """
    if batch_size < 2:
        raise GemoclapError(f"the batch size is {batch_size}, but a batch has two clips or more")
    check_enough(items, processes)
    full = -(-items // batch_size)
    most = items // 2 // processes * processes
    return min(-(-full // processes) * processes, most)


def shuffled(items: int, batch_size: int, rng: np.random.Generator, processes: int = 1) -> list[list[int]]:
    """Divide the clips 0 .. N-1 into batches at random. Lengths and labels are ignored [P: names no other way].

    There are as many batches as in `length_bucketed`, and they have the same sizes.

    Parameters
    ----------
    items : N.
    batch_size, rng, processes : as in `length_bucketed`.

    Raises
    ------
    GemoclapError : as `count_batches`.
    """
    number = count_batches(items, batch_size, processes)
    edges = [items * place // number for place in range(number + 1)]
    order = rng.permutation(items).tolist()
    return [order[first:last] for first, last in pairwise(edges)]


def length_bucketed(
    lengths: Sequence[int] | np.ndarray,
    emotions: Sequence[int] | np.ndarray,
    genders: Sequence[int] | np.ndarray,
    batch_size: int,
    rng: np.random.Generator,
    processes: int = 1,
) -> list[list[int]]:
    """Divide the clips 0 .. N-1 into batches of similar length that mix emotions and genders.

    Every clip is in exactly one batch. The sizes of batches differ by at most one. As many batches as possible have two or
    more emotions. These are all batches, unless there are fewer clips outside the largest class than batches. Batches come in
    random order. Process p takes ``batches[p::processes]``, so `processes` consecutive batches are one step. They have similar
    lengths, because processes wait for each other.

    Parameters
    ----------
    lengths : (N,) number of samples.
    emotions, genders : (N,) indices.
    batch_size : largest number of clips in a batch (`count_batches` has the exceptions).
    rng : the only source of randomness.
    processes : number of processes that share the epoch.

    Raises
    ------
    GemoclapError : as `count_batches`.
    """
    lengths, emotions, genders = np.asarray(lengths), np.asarray(emotions), np.asarray(genders)
    items = len(lengths)
    number = count_batches(items, batch_size, processes)
    by_length = np.argsort(lengths * np.exp(rng.normal(0.0, JITTER, items)), kind="stable")
    buckets = -(-number // max(2, BUCKET_ITEMS // batch_size))
    edges = [0, *np.cumsum([len(share) for share in np.array_split(np.arange(number), buckets)]).tolist()]
    hands = [(items * last // number - items * first // number, last - first) for first, last in pairwise(edges)]
    return _deal_out(by_length, hands, lengths, emotions, genders, rng, processes)


def count_budgeted(lengths: Sequence[int] | np.ndarray, budget: int, processes: int = 1) -> int:
    """Return how many batches `length_budgeted` makes of clips of these `lengths` ``(N,)``, with any random generator.

    Raises
    ------
    GemoclapError : as `length_budgeted`.
    """
    return sum(bucket.batches for bucket in fill_buckets(np.asarray(lengths), budget, processes))


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

    Every clip is in exactly one batch. A batch has two clips or more. For every batch, the number of clips times the length of
    the longest is at most `budget`. The number of batches is a multiple of `processes`. It does not depend on `rng` or on the
    labels (`count_budgeted`), so all epochs are equally long. The order of batches is as in `length_bucketed`: it is random,
    and the `processes` batches of one step have similar lengths.

    Emotions and genders are mixed as in `length_bucketed`, by exchanging clips within the budget. A batch has a single emotion
    only if there is no exchange with another batch that fits the budget and gives both several emotions.

    Parameters
    ----------
    lengths : (N,) number of samples.
    emotions, genders : (N,) indices.
    budget : largest number of samples in a batch.
    rng : the only source of randomness.
    processes : number of processes that share the epoch.
    bounds : (N,) number of samples, for epochs that draw different clips but must be equally long. Batches are counted and
        sized as if these were the lengths. For every k, the k-th longest clip is at most as long as the k-th largest bound.

    Raises
    ------
    GemoclapError : there are not two clips for a batch of every process, or the budget is too small for batches of two.
    ValueError : a clip is longer than its bound.
    """
    lengths, emotions, genders = np.asarray(lengths), np.asarray(emotions), np.asarray(genders)
    bounds = lengths if bounds is None else np.asarray(bounds)
    if len(bounds) != len(lengths) or np.any(np.sort(lengths) > np.sort(bounds)):
        raise ValueError("bounds must be as many as lengths and, both sorted, nowhere less")
    buckets = fill_buckets(bounds, budget, processes)
    jitter = rng.uniform(-JITTER, JITTER, len(lengths))
    by_length = np.argsort(-lengths * np.exp(jitter), kind="stable")
    hands = [(bucket.clips, bucket.batches) for bucket in buckets]
    return _deal_out(by_length, hands, lengths, emotions, genders, rng, processes, budget)


def _deal_out(
    order: np.ndarray,
    hands: Sequence[tuple[int, int]],
    lengths: np.ndarray,
    emotions: np.ndarray,
    genders: np.ndarray,
    rng: np.random.Generator,
    processes: int,
    budget: float = math.inf,
) -> list[list[int]]:
    """Deal the clips of each bucket to its batches, mix emotions across buckets, and shuffle the steps.

    `hands` has, for each bucket, its number of clips and its number of batches. Buckets follow the clips in `order`.
    """
    batches: list[list[int]] = []
    first = 0
    for clips, number in hands:
        batches += deal(order[first : first + clips], number, emotions, genders, rng)
        first += clips
    mix_emotions(batches, lengths, emotions, budget)
    return shuffle_steps(batches, rng, processes)


def padding_share(lengths: Sequence[int] | np.ndarray, batches: Sequence[Sequence[int]]) -> float:
    """Return the share of samples that are padding, from 0 to 1, if each batch is padded to its longest clip."""
    lengths = np.asarray(lengths)
    padded = sum(len(batch) * int(lengths[list(batch)].max()) for batch in batches)
    return 1.0 - sum(int(lengths[list(batch)].sum()) for batch in batches) / padded


def balanced_draw(classes: np.ndarray, rng: np.random.Generator, total: int | None = None) -> np.ndarray:
    """Draw the same number of items from every class: positions in `classes` ``(N,)``.

    Within a class, no item is drawn a second time before all are drawn once. So all items of a rare class are repeated about
    equally often. Of a frequent class, only some items are drawn, at random.

    Parameters
    ----------
    total : number of positions; None = N.
    """
    total = len(classes) if total is None else total
    present = rng.permutation(np.unique(classes))
    drawn = []
    for one, share in zip(present, _shares(total, len(present)), strict=True):
        members = np.flatnonzero(classes == one)
        rounds = [rng.permutation(members) for _ in range(-(-share // len(members)))]
        drawn += [np.concatenate(rounds)[:share]] if share else []
    return np.concatenate(drawn)


def balanced_draw_within(groups: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the same number of items from every group, and within a group from every class: ``(N,)`` positions.

    Parameters
    ----------
    groups, classes : (N,) indices; with one class, only the groups are balanced.
    """
    present = rng.permutation(np.unique(groups))
    drawn = []
    for one, share in zip(present, _shares(len(groups), len(present)), strict=True):
        members = np.flatnonzero(groups == one)
        drawn.append(members[balanced_draw(classes[members], rng, share)])
    return np.concatenate(drawn)


def _shares(total: int, parts: int) -> list[int]:
    """Return `parts` numbers that differ by at most one, of sum `total`."""
    return [total // parts + (place < total % parts) for place in range(parts)]
