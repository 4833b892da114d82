"""The field's figures for speech emotion recognition, with intervals over speakers.

Every figure is a function of the confusion matrix alone. Recordings of one speaker are not independent, so an interval
resamples speakers, not utterances: the bootstrap adds up per-speaker confusion matrices and never touches the
utterances again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.labels import GENDERS

Labels = Sequence[str] | Sequence[int] | np.ndarray
"""One class an utterance, as words or as class indices from 0."""
Clusters = Sequence[str | None]
"""One speaker an utterance; an utterance of an unknown speaker (None) is a cluster of its own."""


def weighted_average_recall(truth: Labels, prediction: Labels) -> float:
    r"""Share of utterances that are classified correctly (WAR), the accuracy.

    .. math:: \mathrm{WAR} = \frac{1}{N} \sum_i [\hat{y}_i = y_i]
              = \sum_k \frac{N_k}{N} \cdot \mathrm{recall}_k

    Parameters
    ----------
    truth, prediction : (N,) words or class indices.

    Raises
    ------
    GemoclapError : no utterances, lengths that differ, or labels that are neither words nor indices.

    Examples
    --------
    >>> weighted_average_recall(["sad", "sad", "sad", "angry"], ["sad", "sad", "sad", "sad"])
    0.75
    """
    return float(_war(_square(truth, prediction)))


def unweighted_average_recall(truth: Labels, prediction: Labels) -> float:
    r"""Recall averaged over the classes that occur in `truth`, each counting the same (UAR).

    .. math:: \mathrm{UAR} = \frac{1}{|K|} \sum_{k \in K} \frac{|\{i : y_i = k, \hat{y}_i = k\}|}{|\{i : y_i = k\}|},
              \qquad K = \{y_1, \dots, y_N\}

    A class that is predicted but never true has no recall and is left out, as in scikit-learn's
    ``balanced_accuracy_score`` (``recall_score(average="macro")`` counts it as 0).

    Parameters and errors are those of `weighted_average_recall`.

    Examples
    --------
    >>> unweighted_average_recall(["sad", "sad", "sad", "angry"], ["sad", "sad", "sad", "sad"])
    0.5
    """
    return float(_uar(_square(truth, prediction)))


def macro_f1(truth: Labels, prediction: Labels) -> float:
    r"""F1 averaged over the classes that occur in `truth` or in `prediction`, as scikit-learn's macro F1.

    .. math:: \mathrm{F1}_k = \frac{2 \, \mathrm{TP}_k}{2 \, \mathrm{TP}_k + \mathrm{FP}_k + \mathrm{FN}_k}

    Parameters and errors are those of `weighted_average_recall`.

    Examples
    --------
    >>> round(macro_f1(["sad", "sad", "sad", "angry"], ["sad", "sad", "angry", "angry"]), 4)
    0.7333
    """
    return float(_macro_f1(_square(truth, prediction)))


def recall_by_class(truth: Labels, prediction: Labels) -> dict[Any, float]:
    """Return the recall of each class that occurs in `truth`, in sorted order.

    Examples
    --------
    >>> recall_by_class(["sad", "sad", "angry"], ["sad", "angry", "angry"])
    {'angry': 1.0, 'sad': 0.5}
    """
    recalls = zip(_occurring(truth, prediction), _recalls(_square(truth, prediction)).tolist(), strict=True)
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
    true, predicted = _indices(truth, prediction, classes)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def bootstrap_interval(
    truth: Labels,
    prediction: Labels,
    clusters: Clusters,
    statistic: str = "uar",
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a figure, resampling whole speakers with replacement.

    A resample takes as many speakers as there are; a class that it happens to miss does not count in its UAR. With
    few speakers (ten, say) such intervals are known to be somewhat too narrow.

    Parameters
    ----------
    truth, prediction : (N,) words or class indices.
    clusters : (N,) speakers; each None is a cluster of its own.
    statistic : ``"war"``, ``"uar"`` or ``"macro_f1"``.
    level : share of the resampled figures that lies inside.
    samples : number of resamples.
    seed : of the resampling; the same seed gives the same interval.

    Returns
    -------
    low, high : both NaN where there is one speaker alone, which says nothing about others.

    Raises
    ------
    GemoclapError : as `weighted_average_recall`, clusters of another length, or an unknown `statistic`.
    """
    if statistic not in STATISTICS:
        raise GemoclapError(f"no statistic is called {statistic!r}; known: {', '.join(STATISTICS)}")
    by_cluster = _confusion_by_cluster(truth, prediction, clusters, _occurring(truth, prediction))
    return _interval(STATISTICS[statistic](_resample(by_cluster, samples, seed)), level, len(by_cluster))


@dataclass(frozen=True)
class Difference:
    """A difference of two UARs, ``b - a``, with its bootstrap interval (NaN where there is one speaker alone)."""

    value: float
    low: float
    high: float


def paired_difference(
    truth: Labels,
    a: Labels,
    b: Labels,
    clusters: Clusters,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Difference:
    """UAR of `b` less UAR of `a` on the same utterances, with an interval that uses the pairing.

    Both methods are scored on the same resampled speakers, so what makes a speaker easy or hard for both cancels: the
    interval of the difference can be clear of 0 where the intervals of the two UARs overlap.

    `truth`, `a` and `b` are (N,) words or class indices; the rest and the errors are those of `bootstrap_interval`.
    """
    classes = np.unique(np.concatenate([_occurring(truth, a), _occurring(truth, b)])).tolist()
    by_cluster = np.stack([_confusion_by_cluster(truth, one, clusters, classes) for one in (a, b)], axis=1)
    uar_a, uar_b = _uar(by_cluster.sum(axis=0))
    resampled = _uar(_resample(by_cluster, samples, seed))
    low, high = _interval(resampled[:, 1] - resampled[:, 0], level, len(by_cluster))
    return Difference(float(uar_b - uar_a), low, high)


def group_gap(
    truth: Labels, prediction: Labels, genders: Sequence[str | None]
) -> tuple[dict[str, float], float | None]:
    """UAR of each gender's utterances, and the gap between them (female less male).

    Returns
    -------
    uar_by_gender : a UAR for each gender that occurs; utterances of unknown gender are left out.
    gap : female less male, None unless both occur.
    """
    true, predicted = _checked(truth, prediction)
    _same_length(true, genders, "genders")
    by_gender = {}
    for gender in GENDERS:
        chosen = np.array([one == gender for one in genders])
        if chosen.any():
            by_gender[gender] = unweighted_average_recall(true[chosen], predicted[chosen])
    gap = by_gender["female"] - by_gender["male"] if len(by_gender) == len(GENDERS) else None
    return by_gender, gap


@dataclass(frozen=True, eq=False)
class Scores:
    """What an evaluation comes to. Figures are shares between 0 and 1; NaN where one is not defined.

    Attributes
    ----------
    n : number of utterances.
    n_clusters : number of speakers, utterances of unknown speakers counted one each.
    war, uar, macro_f1 : see the functions of this module.
    recalls : recall of every class, NaN for a class without utterances.
    confusion : (C, C) counts, rows are the truth, in the order of `recalls`.
    war_interval, uar_interval : low and high of the 95 % bootstrap over speakers.
    uar_by_gender : UAR of each gender that occurs.
    gender_gap : female less male, None unless both occur.
    """

    n: int
    n_clusters: int
    war: float
    uar: float
    macro_f1: float
    recalls: dict[str, float]
    confusion: np.ndarray
    war_interval: tuple[float, float]
    uar_interval: tuple[float, float]
    uar_by_gender: dict[str, float]
    gender_gap: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with None in place of NaN."""
        return {
            "n": self.n,
            "n_clusters": self.n_clusters,
            "war": self.war,
            "war_interval": [none_if_nan(bound) for bound in self.war_interval],
            "uar": self.uar,
            "uar_interval": [none_if_nan(bound) for bound in self.uar_interval],
            "macro_f1": self.macro_f1,
            "recalls": {name: none_if_nan(recall) for name, recall in self.recalls.items()},
            "uar_by_gender": dict(self.uar_by_gender),
            "gender_gap": self.gender_gap,
            "classes": list(self.recalls),
            "confusion": self.confusion.tolist(),
        }


def score(
    truth: Sequence[str],
    prediction: Sequence[str],
    classes: Sequence[str],
    speakers: Clusters,
    genders: Sequence[str | None],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Compute every figure of an evaluation.

    Parameters
    ----------
    truth, prediction : (N,) words among `classes`.
    classes : (C,) in the order of the model's outputs.
    speakers, genders : (N,) words, None where unknown.
    samples, seed : of the bootstrap over speakers.

    Raises
    ------
    GemoclapError : as `confusion_matrix` and `bootstrap_interval`.
    """
    by_cluster = _confusion_by_cluster(truth, prediction, speakers, classes)
    confusion = by_cluster.sum(axis=0)
    resampled = _resample(by_cluster, samples, seed)
    uar_by_gender, gap = group_gap(truth, prediction, genders)
    return Scores(
        n=int(confusion.sum()),
        n_clusters=len(by_cluster),
        war=float(_war(confusion)),
        uar=float(_uar(confusion)),
        macro_f1=float(_macro_f1(confusion)),
        recalls=dict(zip(classes, _recalls(confusion).tolist(), strict=True)),
        confusion=confusion,
        war_interval=_interval(_war(resampled), 0.95, len(by_cluster)),
        uar_interval=_interval(_uar(resampled), 0.95, len(by_cluster)),
        uar_by_gender=uar_by_gender,
        gender_gap=gap,
    )


# Figures of confusion matrices (..., C, C), rows the truth.


def _recalls(confusion: np.ndarray) -> np.ndarray:
    """Return (..., C) recalls, NaN for a class without utterances."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def _war(confusion: np.ndarray) -> np.ndarray:
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum(axis=(-2, -1))


def _uar(confusion: np.ndarray) -> np.ndarray:
    return np.nanmean(_recalls(confusion), axis=-1)


def _macro_f1(confusion: np.ndarray) -> np.ndarray:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.nanmean(_ratio(2 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2)), axis=-1)


STATISTICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"war": _war, "uar": _uar, "macro_f1": _macro_f1}
"""Names of the figures that `bootstrap_interval` knows, with what computes them from confusion matrices."""


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


# The bootstrap.


def _confusion_by_cluster(truth: Labels, prediction: Labels, clusters: Clusters, classes: Sequence[Any]) -> np.ndarray:
    """Return (S, C, C) int64, one confusion matrix a cluster."""
    true, predicted = _indices(truth, prediction, classes)
    _same_length(true, clusters, "speakers")
    numbers: dict[Any, int] = {}
    # An unknown speaker's key is the row number: an int never equals a speaker's word.
    cluster = [numbers.setdefault(row if name is None else name, len(numbers)) for row, name in enumerate(clusters)]
    counts = np.zeros((len(numbers), len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (np.array(cluster), true, predicted), 1)
    return counts


def _resample(by_cluster: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Return (samples, ...) sums over S clusters drawn with replacement from `by_cluster` (S, ...).

    Clusters with equal matrices are interchangeable and drawn as one, so that memory depends on the number of distinct
    matrices: at most C * C where every utterance is its own cluster, however many utterances there are.
    """
    size = len(by_cluster)
    distinct, occurrences = np.unique(by_cluster.reshape(size, -1), axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(size, occurrences / size, size=samples)
    # float64 for BLAS; counts stay exact below 2 ** 53.
    return (draws.astype(np.float64) @ distinct.astype(np.float64)).reshape(samples, *by_cluster.shape[1:])


def _interval(values: np.ndarray, level: float, n_clusters: int) -> tuple[float, float]:
    if n_clusters < 2:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# Labels.


def _checked(truth: Labels, prediction: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays of words or of indices, or say what is wrong with them."""
    true, predicted = np.asarray(truth), np.asarray(prediction)
    _same_length(true, predicted, "predictions")
    if true.size == 0:
        raise GemoclapError("there is no utterance to score; is any of them labelled with a class of the model?")
    if true.ndim != 1 or true.dtype.kind not in "Uiu" or (true.dtype.kind == "U") != (predicted.dtype.kind == "U"):
        raise GemoclapError("labels to score must be all words or all class indices; leave unlabelled utterances out")
    if true.dtype.kind != "U" and min(true.min(), predicted.min()) < 0:
        raise GemoclapError("a class index to score is negative (unlabelled); leave unlabelled utterances out")
    return true, predicted


def _same_length(true: np.ndarray, other: Sequence[Any] | np.ndarray, what: str) -> None:
    if len(true) != len(other):
        raise GemoclapError(f"{len(true)} labels but {len(other)} {what}; there must be one an utterance")


def _occurring(truth: Labels, prediction: Labels) -> list[Any]:
    return np.unique(np.concatenate(_checked(truth, prediction))).tolist()


def _square(truth: Labels, prediction: Labels) -> np.ndarray:
    return confusion_matrix(truth, prediction, _occurring(truth, prediction))


def _indices(truth: Labels, prediction: Labels, classes: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
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
    """Return figures by name as JSON has them: None where one is not defined."""
    return {name: none_if_nan(value) for name, value in figures.items()}


def none_if_nan(value: Any) -> Any:
    """Return a figure as JSON has it: None where it is not defined."""
    return None if isinstance(value, float) and math.isnan(value) else value
