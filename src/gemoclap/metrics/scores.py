"""Scores of speech emotion recognition. Each can be computed from the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.labels import GENDERS

Labels = Sequence[str] | Sequence[int] | np.ndarray
"""The class of each utterance, as words or as class indices from 0."""
Clusters = Sequence[str | None]
"""The speaker of each utterance; an utterance of an unknown speaker (None) is a cluster of its own."""


def weighted_average_recall(truth: Labels, prediction: Labels) -> float:
    """Share of utterances that are classified correctly (WAR), the accuracy.

    ``WAR = 1/N sum_i [prediction_i = truth_i] = sum_k N_k/N recall_k`` for classes k with N_k utterances.

    Parameters
    ----------
    truth, prediction : (N,) words or class indices.

    Raises
    ------
    GemoclapError : there are no utterances, the lengths differ, or labels are neither words nor indices.

    Examples
    --------
    >>> weighted_average_recall(["sad", "sad", "sad", "angry"], ["sad", "sad", "sad", "sad"])
    0.75
    """
    return float(war_of(_square(truth, prediction)))


def unweighted_average_recall(truth: Labels, prediction: Labels) -> float:
    """Recall averaged over the classes that occur in `truth`, with equal weight (UAR).

    ``UAR = 1/K sum_k recall_k`` over the K classes that occur in `truth`. ``recall_k`` is the share of the utterances of class
    k that are predicted as k.

    A class that is predicted but does not occur in `truth` has no recall and is left out, as in scikit-learn's
    ``balanced_accuracy_score`` (``recall_score(average="macro")`` counts it as 0).

    Parameters and errors are those of `weighted_average_recall`.

    Examples
    --------
    >>> unweighted_average_recall(["sad", "sad", "sad", "angry"], ["sad", "sad", "sad", "sad"])
    0.5
    """
    return float(uar_of(_square(truth, prediction)))


def macro_f1(truth: Labels, prediction: Labels) -> float:
    """F1 averaged over the classes that occur in `truth` or in `prediction`, as scikit-learn's macro F1.

    ``F1_k = 2 TP_k / (2 TP_k + FP_k + FN_k)``, of the true positives, false positives and false negatives of class k.

    Parameters and errors are those of `weighted_average_recall`.

    Examples
    --------
    >>> round(macro_f1(["sad", "sad", "sad", "angry"], ["sad", "sad", "angry", "angry"]), 4)
    0.7333
    """
    return float(macro_f1_of(_square(truth, prediction)))


def recall_by_class(truth: Labels, prediction: Labels) -> dict[Any, float]:
    """Return the recall of each class that occurs in `truth`, in sorted order.

    Examples
    --------
    >>> recall_by_class(["sad", "sad", "angry"], ["sad", "angry", "angry"])
    {'angry': 1.0, 'sad': 0.5}
    """
    recalls = zip(occurring_classes(truth, prediction), recalls_of(_square(truth, prediction)).tolist(), strict=True)
    return {name: recall for name, recall in recalls if not math.isnan(recall)}


def confusion_matrix(truth: Labels, prediction: Labels, classes: Sequence[Any]) -> np.ndarray:
    """Count utterances by true class (rows) and predicted class (columns).

    Returns
    -------
    (C, C) int64, both sides in the order of `classes`.

    Raises
    ------
    GemoclapError : as `weighted_average_recall`, or a label that is not among `classes`.
    """
    true, predicted = class_indices(truth, prediction, classes)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def group_gap(
    truth: Labels, prediction: Labels, genders: Sequence[str | None]
) -> tuple[dict[str, float], float | None]:
    """Return the UAR of each gender's utterances, and the gap between them.

    Returns
    -------
    uar_by_gender : the UAR of each gender that occurs; utterances of unknown gender are left out.
    gap : UAR of female minus UAR of male speakers, or None unless both genders occur.
    """
    true, predicted = _checked(truth, prediction)
    same_length(true, genders, "genders")
    by_gender = {}
    for gender in GENDERS:
        chosen = np.array([one == gender for one in genders])
        if chosen.any():
            by_gender[gender] = unweighted_average_recall(true[chosen], predicted[chosen])
    gap = by_gender["female"] - by_gender["male"] if len(by_gender) == len(GENDERS) else None
    return by_gender, gap


# Figures of confusion matrices (..., C, C), rows the truth.


def recalls_of(confusion: np.ndarray) -> np.ndarray:
    """Return (..., C) recalls, NaN for a class without utterances."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def war_of(confusion: np.ndarray) -> np.ndarray:
    """Return (...) shares of utterances that are predicted correctly."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def uar_of(confusion: np.ndarray) -> np.ndarray:
    """Return (...) means of the recalls of the classes that occur."""
    return np.nanmean(recalls_of(confusion), axis=-1)


def macro_f1_of(confusion: np.ndarray) -> np.ndarray:
    """Return (...) means of F1 over the classes that occur or are predicted."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.nanmean(_ratio(2 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2)), axis=-1)


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"war": war_of, "uar": uar_of, "macro_f1": macro_f1_of}
"""Names of scores for `bootstrap_interval`, and the functions that compute them from confusion matrices."""


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


# Labels.


def _checked(truth: Labels, prediction: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays of words or of indices, or raise an error that says what is wrong with them."""
    true, predicted = np.asarray(truth), np.asarray(prediction)
    same_length(true, predicted, "predictions")
    if true.size == 0:
        raise GemoclapError("there is no utterance to score; is any of them labelled with a class of the model?")
    if true.ndim != 1 or true.dtype.kind not in "Uiu" or (true.dtype.kind == "U") != (predicted.dtype.kind == "U"):
        raise GemoclapError("labels to score must be all words or all class indices; leave unlabelled utterances out")
    if true.dtype.kind != "U" and min(true.min(), predicted.min()) < 0:
        raise GemoclapError("a class index to score is negative (unlabelled); leave unlabelled utterances out")
    return true, predicted


def same_length(true: np.ndarray, other: Sequence[Any] | np.ndarray, what: str) -> None:
    """Raise a GemoclapError unless there is one of `other`, called `what`, per utterance."""
    if len(true) != len(other):
        raise GemoclapError(f"{len(true)} labels but {len(other)} {what}; there must be one per utterance")


def occurring_classes(truth: Labels, prediction: Labels) -> list[Any]:
    """Return the classes that occur in either, sorted."""
    return np.unique(np.concatenate(_checked(truth, prediction))).tolist()


def _square(truth: Labels, prediction: Labels) -> np.ndarray:
    return confusion_matrix(truth, prediction, occurring_classes(truth, prediction))


def class_indices(truth: Labels, prediction: Labels, classes: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and prediction (N,) as positions in `classes`."""
    position = {name: index for index, name in enumerate(classes)}
    both = []
    for labels in _checked(truth, prediction):
        words, inverse = np.unique(labels, return_inverse=True)
        unknown = [word for word in words.tolist() if word not in position]
        if unknown:
            raise GemoclapError(f"label {unknown[0]!r} is not one of the classes {', '.join(map(str, classes))}")
        both.append(np.array([position[word] for word in words.tolist()])[inverse])
    return both[0], both[1]


def without_nan(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures by name, with None instead of NaN, since JSON has no NaN."""
    return {name: none_if_nan(value) for name, value in figures.items()}


def none_if_nan(value: Any) -> Any:
    """Return a figure, or None instead of NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value
