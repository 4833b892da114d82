"""The concordance correlation coefficient (Lin 1989), which scores predictions of valence, arousal and dominance.

.. math:: CCC = \\frac{2 s_{tp}}{s_t^2 + s_p^2 + (\\bar t - \\bar p)^2}

It is 1 if all predictions are right, and lower than Pearson's correlation if their mean or spread is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.metrics.intervals import interval_over_speakers

ROUNDING = 1e-20
"""Smallest spread that is not taken for a rounding error of equal values."""


def concordance(truth: Sequence[float] | np.ndarray, prediction: Sequence[float] | np.ndarray) -> float:
    """Return the CCC of N values, with the variances of the N values themselves (divided by N).

    NaN if there is no value, or if all truths and predictions are equal.

    Raises
    ------
    GemoclapError : `truth` and `prediction` have different lengths, or a value is not finite.
    """
    return float(_of_sums(_sums(truth, prediction).sum(axis=0)))


def concordance_interval(
    truth: Sequence[float] | np.ndarray,
    prediction: Sequence[float] | np.ndarray,
    speakers: Sequence[str | None],
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of `concordance` over speakers, as `intervals.bootstrap_interval` does for other figures.

    Parameters
    ----------
    speakers : (N,) names; each None counts as a speaker of its own.

    Raises
    ------
    GemoclapError : as `concordance`, or `speakers` has another length.
    """
    sums = _sums(truth, prediction)
    if len(speakers) != len(sums):
        raise GemoclapError(f"{len(sums)} values have {len(speakers)} speakers; give as many")
    numbers: dict[str | int, int] = {}
    place = [numbers.setdefault(row if name is None else name, len(numbers)) for row, name in enumerate(speakers)]
    by_speaker = np.zeros((max(len(numbers), 1), sums.shape[1]))
    np.add.at(by_speaker, place, sums)
    if np.isnan(_of_sums(sums.sum(axis=0))):
        return np.nan, np.nan
    # A resample in which all values are equal shows no agreement.
    return interval_over_speakers(by_speaker[None], lambda drawn: np.nan_to_num(_of_sums(drawn)), level, seed=seed)


def _sums(truth: Sequence[float] | np.ndarray, prediction: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return (N, 6): 1, t, p, t^2, p^2 and tp, whose sums over any speakers give their CCC.

    Both are counted from the mean of the truths, so that little is lost in the differences of large sums.
    """
    t, p = np.asarray(truth, dtype=np.float64), np.asarray(prediction, dtype=np.float64)
    if t.shape != p.shape or t.ndim != 1:
        raise GemoclapError(f"{t.size} true values have {p.size} predictions; give as many")
    if not (np.isfinite(t).all() and np.isfinite(p).all()):
        raise GemoclapError("a true or predicted value is not a finite number")
    if t.size:
        t, p = t - t.mean(), p - t.mean()
    return np.stack([np.ones_like(t), t, p, t * t, p * p, t * p], axis=1)


def _of_sums(sums: np.ndarray) -> np.ndarray:
    """Return the CCC (...,) of sums (..., 6); NaN where it is not defined."""
    count, t, p, tt, pp, tp = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, p = t / count, p / count
        spread = tt / count - t**2 + pp / count - p**2 + (t - p) ** 2
        return np.where(spread > ROUNDING, 2 * (tp / count - t * p) / spread, np.nan)
