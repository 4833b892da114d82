"""Bootstrap intervals: how much a figure would change with other speakers, and with other seeds.

Recordings of one speaker are not independent, so speakers are resampled, not utterances. A plain percentile interval is too
short for few speakers: with 9 or 10 speakers a 95 % interval covers the true UAR 87 to 91 times in 100. Hesterberg's expanded
percentile interval (2015, The American Statistician 69, section 5.3) is therefore used. The plain interval cuts off a share a
of the resampled figures on either side. With S speakers, the expanded interval cuts off

.. math:: \\Phi\\left(-\\sqrt{S / (S - 1)} \\; t_{1 - a, S - 1}\\right)

This corrects for two things: few speakers need the wider tails of Student's t, and the variance of a resample is only
(S - 1) / S of the true one. `benchmarks/interval_coverage.py` counts how often both intervals cover the true figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from gemoclap.errors import GemoclapError
from gemoclap.metrics.scores import (
    STATISTICS,
    Clusters,
    Labels,
    class_indices,
    occurring_classes,
    same_length,
    uar_of,
)

SAMPLES = 5000
"""Number of resamples: enough for the tails of five speakers, which are one in a thousand."""
CHUNK = 500
"""Number of resamples that are drawn at a time, to limit memory."""
FEWEST = 5
"""Smallest number of speakers with which an interval can cover 95 %. An interval cannot reach beyond the smallest and largest
resampled figure. It misses the true figure if all S speakers lie on one side of it, which happens once in 2 ** (S - 1) times:
once in 8 times for four speakers."""


@dataclass(frozen=True)
class Difference:
    """A difference of two scores, ``b - a``, with its 95 % interval (NaN if there is only one speaker)."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    truth: Labels,
    prediction: Labels,
    clusters: Clusters,
    statistic: str = "uar",
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the expanded percentile interval of a figure, resampling whole speakers with replacement.

    A resample has as many speakers as the data. If it happens to have no utterance of a class, the class does not count in its
    UAR. `cautions` describes the limits of an interval over few speakers.

    Parameters
    ----------
    truth, prediction : (N,) words or class indices.
    clusters : (N,) speakers; each None counts as a speaker of its own.
    statistic : ``"war"``, ``"uar"`` or ``"macro_f1"``.
    level : how often the interval should cover the true figure.
    samples : number of resamples.
    seed : seed of the resampling; the same seed gives the same interval.

    Returns
    -------
    low, high : both NaN if there is only one speaker.

    Raises
    ------
    GemoclapError : as `weighted_average_recall`; `clusters` has another length; or the `statistic` does not exist.
    """
    if statistic not in STATISTICS:
        raise GemoclapError(f"no statistic is called {statistic!r}; known: {', '.join(STATISTICS)}")
    by_cluster = confusion_by_cluster(truth, prediction, clusters, occurring_classes(truth, prediction))
    return interval_over_speakers(by_cluster[None], STATISTICS[statistic], level, samples, seed)


def paired_difference(
    truth: Labels,
    a: Labels,
    b: Labels,
    clusters: Clusters,
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Difference:
    """Return the UAR of `b` minus the UAR of `a` on the same utterances, with an interval that uses the pairing.

    Both methods are scored on the same resampled speakers. Whatever makes a speaker easy or hard for both therefore cancels,
    and the interval of the difference can exclude 0 even if the intervals of the two UARs overlap.

    `truth`, `a` and `b` are (N,) words or class indices. Other parameters and errors are those of `bootstrap_interval`.
    """
    classes = np.unique(np.concatenate([occurring_classes(truth, a), occurring_classes(truth, b)])).tolist()
    one, other = (confusion_by_cluster(truth, said, clusters, classes)[None] for said in (a, b))
    return difference_over_speakers(one, other, level, samples, seed)


def interval_over_speakers(
    by_seed: np.ndarray,
    figure: Callable[[np.ndarray], np.ndarray],
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of a figure's mean over K seeds. Speakers are resampled, and seeds too if there are several.

    Parameters
    ----------
    by_seed : (K, S, ...) counts or sums for each seed and speaker, which may be added over speakers: confusion matrices
        (K, S, C, C) whose rows are the truth, or other sums that a figure needs, such as the six of `concordance`.
    figure : function that takes such sums over speakers (..., C, C), or whatever follows S, and returns figures (...,); for
        confusion matrices one of `STATISTICS`.
    """
    [values] = _resample([by_seed], figure, samples, seed)
    return _interval(values, level, by_seed.shape[1])


def difference_over_speakers(
    a: np.ndarray,
    b: np.ndarray,
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
    figure: Callable[[np.ndarray], np.ndarray] = uar_of,
) -> Difference:
    """Return the mean score of `b` over its seeds minus the mean score of `a`, with an interval.

    `a` is (K, S, C, C) and `b` (L, S, C, C), with the same speakers in the same order. The same speakers are drawn for both.
    Seeds are drawn separately, because seed 0 of one method has nothing in common with seed 0 of another. `figure` computes
    the score of confusion matrices, such as those of `STATISTICS`.
    """
    values = figure(b.sum(axis=1)).mean() - figure(a.sum(axis=1)).mean()
    of_a, of_b = _resample([a, b], figure, samples, seed)
    low, high = _interval(of_b - of_a, level, a.shape[1])
    return Difference(float(values), low, high)


def expanded_tail(level: float, n_clusters: int) -> float:
    """Return the share of resampled figures beyond each end of an interval over `n_clusters` speakers (two or more)."""
    t = -stdtrit(n_clusters - 1, (1 - level) / 2)
    return float(ndtr(-math.sqrt(n_clusters / (n_clusters - 1)) * t))


def cautions(by_cluster: np.ndarray, classes: Sequence[Any]) -> tuple[str, ...]:
    """Return sentences on the limits of an interval over the speakers of `by_cluster` (S, C, C)."""
    size = len(by_cluster)
    if size == 1:
        return ("there is only one speaker, so there are no intervals over speakers",)
    found = []
    if size < FEWEST:
        covered = 100 * (1 - 0.5 ** (size - 1))
        found.append(
            f"there are only {size} speakers: with so few, an interval covers the true figure at most {covered:.0f} times in "
            "100, not 95"
        )
    speakers_with = (by_cluster.sum(axis=2) > 0).sum(axis=0)
    alone = [str(name) for name, number in zip(classes, speakers_with, strict=True) if number == 1]
    if alone:
        found.append(
            f"only one speaker has {', '.join(alone)}: intervals cannot show how much that recall differs between speakers"
        )
    return tuple(found)


def confusion_by_cluster(
    truth: Labels, prediction: Labels, clusters: Clusters, classes: Sequence[Any], order: Sequence[Any] | None = None
) -> np.ndarray:
    """Return (S, C, C) int64, one confusion matrix per cluster, in `order` if given, otherwise in order of appearance."""
    true, predicted = class_indices(truth, prediction, classes)
    same_length(true, clusters, "speakers")
    numbers: dict[Any, int] = {} if order is None else {name: number for number, name in enumerate(order)}
    # The key of an unknown speaker is the row number, since a number never equals a speaker's name.
    cluster = [numbers.setdefault(row if name is None else name, len(numbers)) for row, name in enumerate(clusters)]
    counts = np.zeros((len(numbers), len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (np.array(cluster), true, predicted), 1)
    return counts


def _resample(
    groups: Sequence[np.ndarray], figure: Callable[[np.ndarray], np.ndarray], samples: int, seed: int
) -> list[np.ndarray]:
    """Return (samples,) figures for each group: means over resampled seeds, with the same resampled speakers in all groups.

    Each group is (K, S, ...), as in `interval_over_speakers`. Clusters with equal sums are interchangeable, so they are drawn
    together. Memory then depends on the number of distinct sums: of confusion matrices at most C * C if every utterance is its
    own cluster, however many utterances there are.
    """
    size = groups[0].shape[1]
    stacked = np.concatenate(groups).swapaxes(0, 1)  # (S, all seeds, ...)
    distinct, occurrences = np.unique(stacked.reshape(size, -1), axis=0, return_counts=True)
    table = distinct.astype(np.float64)  # BLAS needs floats; counts below 2 ** 53 stay exact
    of_speakers, of_seeds = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    figures = []
    for first in range(0, samples, CHUNK):
        draws = of_speakers.multinomial(size, occurrences / size, size=min(CHUNK, samples - first))
        figures.append(figure((draws.astype(np.float64) @ table).reshape(len(draws), *stacked.shape[1:])))
    each = np.concatenate(figures)  # (samples, all seeds)
    ends = np.cumsum([len(group) for group in groups])[:-1]
    return [_mean_over_seeds(part, of_seeds) for part in np.split(each, ends, axis=1)]


def _mean_over_seeds(figures: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Return (samples,) means of K figures drawn with replacement from each row of (samples, K)."""
    samples, number = figures.shape
    if number == 1:
        return figures[:, 0]
    chosen = draws.integers(0, number, (samples, number))
    return np.take_along_axis(figures, chosen, axis=1).mean(axis=1)


def _interval(values: np.ndarray, level: float, n_clusters: int) -> tuple[float, float]:
    if n_clusters < 2:
        return math.nan, math.nan
    tail = expanded_tail(level, n_clusters)
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
