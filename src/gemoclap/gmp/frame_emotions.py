"""Emotions of clusters: the emotions of their training frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemoclap.gmp.quality import contingency

PSEUDO_COUNT = 10.0
"""Frames without emotion that are added to every cluster; see `emotion_given_cluster` [C]."""


def count_emotions(
    labels: np.ndarray, emotions: Sequence[int | None], counts: Sequence[int], k: int, classes: int
) -> np.ndarray:
    """Return the number of frames of each emotion in each cluster, ``(k, C)`` int64.

    Parameters
    ----------
    labels : ``(N,)``, cluster of each frame, clip after clip.
    emotions : class of each clip; clips without a class are not counted.
    counts : number of frames of each clip.
    k, classes : number of clusters, and C.
    """
    of_frames = np.repeat([-1 if emotion is None else emotion for emotion in emotions], counts)
    known = of_frames >= 0
    return contingency(labels[known], of_frames[known], k, classes)


def emotion_given_cluster(table: np.ndarray, pseudo_count: float = PSEUDO_COUNT) -> np.ndarray:
    """Return the probability of each emotion in each cluster, ``(k, C)`` float64, if emotions were equally frequent [C].

    ``p(e | c) = (n_ce N / (C N_e) + m / C) / (sum_e' n_ce' N / (C N_e') + m)``: counts ``n`` are weighted so that the
    emotions are equally frequent. ``m`` frames, spread evenly over all emotions, are added, so that a cluster of few frames
    has a flat distribution.

    Parameters
    ----------
    table : ``(k, C)``, from `count_emotions`; each emotion has at least one frame.
    pseudo_count : m, 0 or more.
    """
    frequencies = table.sum(0)
    balanced = table * (table.sum() / (table.shape[1] * frequencies)) + pseudo_count / table.shape[1]
    totals = balanced.sum(1, keepdims=True)
    # Without pseudo-counts an empty cluster has no distribution.
    even = np.full_like(balanced, 1 / table.shape[1])
    return np.divide(balanced, totals, out=even, where=totals > 0)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Return the mean over `width` rows around each of ``values (F, C)``, fewer at the ends; an odd width is symmetric."""
    before, behind = (width - 1) // 2, width // 2
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    places = np.arange(len(values))
    first, last = np.maximum(places - before, 0), np.minimum(places + behind + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)[:, None]
