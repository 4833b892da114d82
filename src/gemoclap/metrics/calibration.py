"""Calibration: how well probabilities match the share of correct predictions, and a temperature that improves it.

The logarithms of a model's probabilities are divided by a temperature T, and the result is normalised:

.. math:: p'_k = p_k^{1 / T} / \\sum_j p_j^{1 / T}

The order of the classes stays the same, so no prediction changes (Guo et al., 2017, On calibration of modern neural
networks). Every function takes ``probabilities (N, C)`` and ``truth (N,)``, the index of each utterance's class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gemoclap.errors import GemoclapError

BINS = 15
"""Number of bins of equal width between 0 and 1, as in Guo et al."""
LEAST = 1e-12
"""Smallest probability; lower ones are raised to it before the logarithm is taken."""
SLOWEST, SHARPEST = 0.01, 100.0
"""Bounds of 1 / T. They are reached if all predictions are wrong, or all are correct."""


@dataclass(frozen=True)
class Confidence:
    """Measures of calibration.

    Attributes
    ----------
    ece : expected calibration error, 0 to 1: the mean over bins of ``|share correct - mean confidence|``, weighted by the
        number of utterances in a bin.
    nll : negative log-likelihood of the truth, in nats per utterance.
    brier : Brier score: the mean squared distance between the probabilities and the truth, 0 to 2.
    sizes, confidences, rights : (`BINS`,) number of utterances in each bin, their mean confidence, and the share of correct
        predictions; the last two are NaN for an empty bin.
    """

    ece: float
    nll: float
    brier: float
    sizes: np.ndarray
    confidences: np.ndarray
    rights: np.ndarray


def confidence_of(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> Confidence:
    """Return the measures of calibration. The prediction is the most probable class, and its probability the confidence."""
    likeliest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    # A confidence on the border of two bins belongs to the lower one.
    place = np.clip(np.ceil(likeliest * bins).astype(int) - 1, 0, bins - 1)
    sizes = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (likeliest, right)]
    confidences, rights = (np.divide(one, sizes, out=np.full(bins, np.nan), where=sizes > 0) for one in sums)
    onehot = np.eye(probabilities.shape[1])[truth]
    return Confidence(
        ece=float(np.abs(sums[1] - sums[0]).sum() / len(truth)),
        nll=float(-_logs(probabilities)[np.arange(len(truth)), truth].mean()),
        brier=float(((probabilities - onehot) ** 2).sum(axis=1).mean()),
        sizes=sizes,
        confidences=confidences,
        rights=rights,
    )


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (N, C) after dividing their logarithms by a temperature."""
    return _softmax(_logs(probabilities) / temperature)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature at which held-out predictions have the lowest negative log-likelihood.

    The loss is convex in 1 / T. Its slope, ``mean(E_p[log p] - log p_truth)``, is therefore increasing, and its zero is found
    by bisection.

    Raises
    ------
    GemoclapError : there are no predictions, or some of them have no probabilities.
    """
    if not len(truth) or not np.isfinite(probabilities).all():
        raise GemoclapError("a temperature is fitted on predictions with probabilities; there are none")
    logs = _logs(probabilities)
    of_truth = logs[np.arange(len(truth)), truth]

    def slope(sharpness: float) -> float:
        expected = (_softmax(logs * sharpness) * logs).sum(axis=1)
        return float((expected - of_truth).mean())

    low, high = math.log(SLOWEST), math.log(SHARPEST)
    for _ in range(60):  # enough for full precision
        middle = (low + high) / 2
        low, high = (low, middle) if slope(math.exp(middle)) > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def class_numbers(words: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return (N,) the index of each word among `classes`."""
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[word] for word in words], dtype=int)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), LEAST))


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
