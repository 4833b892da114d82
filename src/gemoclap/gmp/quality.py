"""Quality of pseudo-labels: agreement of clusters with emotion, gender and speaker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import normalized_mutual_info_score


def contingency(labels: np.ndarray, classes: np.ndarray, k: int, n_classes: int) -> np.ndarray:
    """Return the number of frames of each class in each of k clusters, ``(k, C)`` int64, from both ``(N,)``."""
    table = np.zeros((k, n_classes), np.int64)
    np.add.at(table, (labels, classes), 1)
    return table


def purity(labels: np.ndarray, classes: np.ndarray) -> float:
    """Return the share of frames that have the most frequent class of their cluster.

    ``labels`` and ``classes``, both ``(N,)`` whole numbers from 0. It rises with the number of clusters even without agreement.
    """
    table = contingency(labels, classes, labels.max() + 1, classes.max() + 1)
    return float(table.max(1).sum() / len(labels))


def agreement_with_words(
    labels: np.ndarray, words: Sequence[str | None], counts: Sequence[int]
) -> dict[str, float] | None:
    """Return ``purity`` and ``nmi`` (normalised mutual information, arithmetic mean) of frames, given one word per clip.

    Parameters
    ----------
    labels : ``(N,)``, cluster of each frame, clip after clip.
    words : word of each clip; clips without one are left out.
    counts : number of frames of each clip.

    Returns
    -------
    None if there are fewer than two words.
    """
    known = np.repeat([word is not None for word in words], counts)
    names = sorted({word for word in words if word is not None})
    if len(names) < 2:
        return None
    places = np.repeat([names.index(word) if word is not None else -1 for word in words], counts)[known]
    chosen = labels[known]
    return {"purity": purity(chosen, places), "nmi": float(normalized_mutual_info_score(places, chosen))}
