"""Adaptation without labels: what a set of recordings has in common is taken away before the model decides.

Much of what a model sees in a clip is the microphone, the room, the language and the voice, not the emotion. Where it is
known which clips were recorded together (`folder`), or come from one speaker (`speaker`), their pooled features are brought
to the mean and the deviation that the model was trained on. No label is needed; but the clips' emotions should not all be the
same, since that, too, is then taken for the voice. With few clips the statistics are drawn towards those of training.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, write_json

STRENGTH = 8.0
"""How many clips' worth the statistics of training count for [C]: of 0, 2, 8 and 32 the one that cost nothing even with one or
two clips, on two corpora that the default model never saw (benchmarks/adaptation.py)."""
SMALLEST_DEVIATION = 1e-3
REMEDY = "make it again with 'gemoclap predict ... --adapt folder --save_adapt FILE'"


@dataclass
class Statistics:
    """Count, mean and mean square of the pooled features of a group of clips, ``(P,)`` float64.

    The features are standardised by training, so that mean 0 and deviation 1 are those of training.
    """

    count: float
    mean: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Statistics:
        """Return those of ``features (N, P)``; of no clip at all, what leaves everything as it is."""
        wide = features.astype(np.float64)
        if not len(wide):
            return cls(0.0, np.zeros(wide.shape[1]), np.ones(wide.shape[1]))
        return cls(len(wide), wide.mean(0), np.square(wide).mean(0))

    def apply(self, features: np.ndarray, strength: float = STRENGTH) -> np.ndarray:
        """Bring ``features (N, P)`` to mean 0 and deviation 1, with `strength` clips of training counted in."""
        weight = self.count / (self.count + strength)
        mean = weight * self.mean
        square = weight * self.square + (1 - weight)
        deviation = np.sqrt(np.maximum(square - np.square(mean), SMALLEST_DEVIATION**2))
        return ((features - mean) / deviation).astype(np.float32)


def adapt(
    features: np.ndarray,
    groups: Sequence[str],
    known: Mapping[str, Statistics] | None = None,
    counted: Sequence[bool] | None = None,
) -> tuple[np.ndarray, dict[str, Statistics]]:
    """Standardise ``features (N, P)`` by group, each by the statistics that are `known` of it, or else by its own.

    Returns the features and the statistics of every group that was met.

    Parameters
    ----------
    counted : which clips count in their group's statistics: not those in which nobody speaks. None: all.

    Raises
    ------
    GemoclapError : statistics are given, and not those of some group.
    """
    check_groups(groups, known)
    names = np.array(groups)
    counts = np.ones(len(names), dtype=bool) if counted is None else np.array(counted)
    adapted = np.empty_like(features)
    used: dict[str, Statistics] = {}
    for name in dict.fromkeys(groups):
        members = names == name
        used[name] = known[name] if known is not None else Statistics.of(features[members & counts])
        adapted[members] = used[name].apply(features[members])
    return adapted, used


def check_groups(groups: Sequence[str], known: Mapping[str, Statistics] | None) -> None:
    """Raise a GemoclapError if statistics are given, and not those of every group."""
    for name in dict.fromkeys(groups):
        if known is not None and name not in known:
            raise GemoclapError(f"--adapt: the file has no statistics of {name!r}, but of {', '.join(known)}")


def write_statistics(path: str | os.PathLike, model: str, statistics: Mapping[str, Statistics]) -> None:
    """Write the statistics of some groups, and of which model's features they are."""
    groups = {
        name: {"count": one.count, "mean": _rounded(one.mean), "square": _rounded(one.square)}
        for name, one in statistics.items()
    }
    write_json(path, {"model": model, "groups": groups})


def groups_in(path: str | os.PathLike) -> list[str]:
    """Return the groups that a file of statistics has, found without loading a model; raises as `read_statistics`."""
    return list(_read(path)["groups"])


def read_statistics(path: str | os.PathLike, model: str) -> dict[str, Statistics]:
    """Read what `write_statistics` wrote.

    Raises
    ------
    GemoclapError : no such file, damaged, or of another model's features.
    """
    data = _read(path)
    try:
        found = {
            name: Statistics(float(one["count"]), _numbers(one["mean"]), _numbers(one["square"]))
            for name, one in data["groups"].items()
        }
        sizes = {len(array) for one in found.values() for array in (one.mean, one.square)}
        if len(sizes) != 1 or not all(one.count >= 0 for one in found.values()):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise GemoclapError(f"{path}: damaged; {REMEDY}") from None
    if data.get("model") != model:
        raise GemoclapError(f"{path}: made with another model; {REMEDY}")
    return found


def _read(path: str | os.PathLike) -> dict[str, Any]:
    if not Path(path).is_file():
        raise GemoclapError(f"{path}: no such file; give --adapt none, folder, speaker or a file of statistics")
    data = read_json(path, REMEDY)
    if not isinstance(data.get("groups"), dict) or not data["groups"]:
        raise GemoclapError(f"{path}: damaged; {REMEDY}")
    return data


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _numbers(values: Iterable[float]) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("not a list of numbers")
    return array
