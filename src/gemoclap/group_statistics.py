"""Adaptation without labels: removes what a group of recordings has in common from their features.

The features of a clip depend on microphone, room, language and voice, not only on emotion. If several clips were recorded in
the same way (`folder`) or come from one speaker (`speaker`), their pooled features are shifted and scaled to the mean and
deviation of the training data. No labels are needed. The clips should not all have the same emotion, because it would be
removed together with the voice. With few clips, the statistics are a compromise between theirs and those of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError

STRENGTH = 8.0
"""The statistics of training count as much as this number of clips [C]. Of 0, 2, 8 and 32, this value did no harm even with one
or two clips, on two corpora that the default model was not trained on (benchmarks/adaptation.py)."""
SMALLEST_DEVIATION = 1e-3
ROUNDING = 1e-4
"""How much smaller than a squared mean a mean square may be, as a share of it: both are rounded when they are written."""


@dataclass
class Statistics:
    """Count, mean and mean square of the pooled features of a group of clips, ``(P,)`` float64.

    The features are standardised with the statistics of training, so the training data have mean 0 and deviation 1.
    """

    count: float
    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, weights: np.ndarray | None = None) -> Statistics:
        """Return the statistics of ``features (N, P)``. Without any clip, they are ones that change nothing.

        Parameters
        ----------
        weights : as how many clips each of the N counts, ``(N,)``. None = one each.
        """
        wide = features.astype(np.float64)
        counts = np.ones(len(wide)) if weights is None else weights
        if not counts.sum():
            return cls(0.0, np.zeros(wide.shape[1]), np.ones(wide.shape[1]))
        shares = counts / counts.sum()
        return cls(float(counts.sum()), shares @ wide, shares @ np.square(wide))

    def with_clip(self, features: np.ndarray, weight: float = 1.0) -> Statistics:
        """Return the statistics with one more clip ``(P,)``, which counts as `weight` clips, 0 to 1."""
        wide, count = features.astype(np.float64), self.count + weight
        if not count:
            return self
        mean = self.mean + (wide - self.mean) * (weight / count)
        return Statistics(count, mean, self.square + (np.square(wide) - self.square) * (weight / count))

    @classmethod
    def read(cls, data: Any) -> Statistics:
        """Return the statistics that plain data hold: ``{"count": 3.0, "mean": [...], "square": [...]}``.

        Raises
        ------
        ValueError : no clips can have these; the message says what is wrong.
        """
        try:
            found = cls(float(data["count"]), _numbers(data["mean"]), _numbers(data["square"]))
        except (KeyError, TypeError):
            raise ValueError("lacks count, mean or square") from None
        if not 0 <= found.count < float("inf"):
            raise ValueError(f"the count is {found.count:g}")
        if len(found.mean) != len(found.square):
            raise ValueError(f"{len(found.mean)} means and {len(found.square)} mean squares")
        if (found.square < np.square(found.mean) * (1 - ROUNDING)).any():
            raise ValueError("a mean square is smaller than the squared mean, so a variance would be negative")
        return found

    def apply(self, features: np.ndarray, strength: float = STRENGTH) -> np.ndarray:
        """Shift and scale ``features (N, P)`` to mean 0 and deviation 1; training counts as `strength` further clips.

        Raises
        ------
        GemoclapError : the statistics are of another number of features.
        """
        if features.shape[1:] != self.mean.shape:
            raise GemoclapError(
                f"adapt: the statistics are of {len(self.mean)} features, and the model has {features.shape[1]}; measure them "
                "with this model"
            )
        weight = self.count / (self.count + strength)
        mean = weight * self.mean
        square = weight * self.square + (1 - weight)
        deviation = np.sqrt(np.maximum(square - np.square(mean), SMALLEST_DEVIATION**2))
        return ((features - mean) / deviation).astype(np.float32)


def adapt(
    features: np.ndarray,
    groups: Sequence[str],
    known: Mapping[str, Statistics] | None = None,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, Statistics]]:
    """Standardise ``features (N, P)`` of each group, with the statistics in `known` if given, otherwise with the group's own.

    Returns the features, and the statistics of every group.

    Parameters
    ----------
    weights : as how many clips each of the N counts in the statistics of its group, ``(N,)``; clips without speech should
        count as none. None = one each. Clips whose features are not numbers never count.

    Raises
    ------
    GemoclapError : `known` has no statistics of some group.
    """
    check_groups(groups, known)
    names = np.array(groups)
    are_numbers = np.isfinite(features).all(axis=1)
    counts = np.ones(len(features)) if weights is None else weights
    adapted = np.empty_like(features)
    used: dict[str, Statistics] = {}
    for name in dict.fromkeys(groups):
        members = names == name
        measured = members & are_numbers
        used[name] = known[name] if known is not None else Statistics.of(features[measured], counts[measured])
        adapted[members] = used[name].apply(features[members])
    return adapted, used


def check_groups(groups: Sequence[str], known: Mapping[str, Statistics] | None) -> None:
    """Raise a GemoclapError if `known` is given but has no statistics of some group."""
    for name in dict.fromkeys(groups):
        if known is not None and name not in known:
            raise GemoclapError(f"--adapt: the file has no statistics of {name!r}, only of {', '.join(known)}")


def _numbers(values: Iterable[float]) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("mean or square has something other than numbers") from None
    if array.ndim != 1 or not len(array):
        raise ValueError("mean or square is no list of numbers")
    if not np.isfinite(array).all():
        raise ValueError("mean or square has something other than numbers")
    return array
