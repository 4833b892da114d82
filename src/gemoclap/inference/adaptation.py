"""Adaptation without labels: removes what a set of recordings has in common before the model predicts.

The features of a clip depend on microphone, room, language and voice, not only on emotion. If several clips were recorded in
the same way (`folder`) or come from one speaker (`speaker`), their pooled features are shifted and scaled to the mean and
deviation of the training data. No labels are needed. The clips should not all have the same emotion, because it would be
removed together with the voice. With few clips, the statistics are a compromise between theirs and those of training.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, write_json

logger = logging.getLogger(__name__)
ALL = "all"
"""The one group of clips that were recorded alike."""
STRENGTH = 8.0
"""The statistics of training count as much as this number of clips [C]. Of 0, 2, 8 and 32, this value did no harm even with one
or two clips, on two corpora that the default model was not trained on (benchmarks/adaptation.py)."""
SMALLEST_DEVIATION = 1e-3
ROUNDING = 1e-4
"""How much smaller than a squared mean a mean square may be, as a share of it: both are rounded when they are written."""
REMEDY = "make it again with 'gemoclap predict ... --adapt folder --save_adapt FILE'"


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


def statistics_of(name: str, known: Statistics | Mapping[str, Statistics]) -> Statistics:
    """Return the statistics that hold for a speaker: the only ones, those under the name, or under ``corpus/name``.

    Raises
    ------
    GemoclapError : there are none, or those of several corpora.
    """
    if isinstance(known, Statistics):
        return known
    if [*known] == [ALL]:
        return known[ALL]
    if name in known:
        return known[name]
    found = [group for group in known if group.rpartition("/")[2] == name]
    if len(found) != 1:
        whose = repr(name) if name else "the one speaker"
        raise GemoclapError(f"adapt: there are statistics of {', '.join(known)}, but none of {whose}; give those")
    return known[found[0]]


def check_groups(groups: Sequence[str], known: Mapping[str, Statistics] | None) -> None:
    """Raise a GemoclapError if `known` is given but has no statistics of some group."""
    for name in dict.fromkeys(groups):
        if known is not None and name not in known:
            raise GemoclapError(f"--adapt: the file has no statistics of {name!r}, only of {', '.join(known)}")


def write_statistics(path: str | os.PathLike, model: str, statistics: Mapping[str, Statistics]) -> None:
    """Write the statistics of some groups, and the model whose features they describe."""
    groups = {
        name: {"count": one.count, "mean": _rounded(one.mean), "square": _rounded(one.square)}
        for name, one in statistics.items()
    }
    write_json(path, {"model": model, "groups": groups})


def save_statistics(path: str | os.PathLike, model: str, statistics: Mapping[str, Statistics]) -> None:
    """Write statistics, or say that there are none: a file without groups could not be read again."""
    if statistics:
        write_statistics(path, model, statistics)
    else:
        logger.warning("%s: not written, because there was no speech to measure", path)


def groups_in(path: str | os.PathLike) -> dict[str, Statistics]:
    """Return the statistics of each group in a file of `write_statistics`, whichever model they are of.

    Raises
    ------
    GemoclapError : the file is missing or damaged.
    """
    return _read(path)[1]


def read_statistics(path: str | os.PathLike, model: str) -> dict[str, Statistics]:
    """Return what `groups_in` does, if the statistics are of this model; otherwise raise a GemoclapError."""
    of_model, found = _read(path)
    if of_model != model:
        raise GemoclapError(f"{path}: made with another model; {REMEDY}")
    return found


def _read(path: str | os.PathLike) -> tuple[Any, dict[str, Statistics]]:
    """Return the model that a file of statistics is of, and the groups in it."""
    if not Path(path).is_file():
        raise GemoclapError(f"{path}: no such file; give --adapt none, folder, speaker or a file of statistics")
    data = read_json(path, REMEDY)
    if not isinstance(data.get("groups"), dict) or not data["groups"]:
        raise GemoclapError(f"{path}: damaged, it has no groups; {REMEDY}")
    found = {}
    for name, group in data["groups"].items():
        try:
            found[name] = Statistics.read(group)
        except ValueError as error:
            raise GemoclapError(f"{path}: damaged, group {name!r}: {error}; {REMEDY}") from None
    if len({len(one.mean) for one in found.values()}) > 1:
        raise GemoclapError(f"{path}: damaged, its groups have different numbers of features; {REMEDY}")
    return data.get("model"), found


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


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
