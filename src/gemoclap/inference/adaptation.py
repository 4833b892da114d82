"""Files of statistics for `--adapt`, with which later clips are adapted to the same recordings or speakers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json, write_json
from gemoclap.group_statistics import Statistics

ALL = "all"
"""The one group of clips that were recorded alike."""
REMEDY = "make it again with 'gemoclap predict ... --adapt folder --save_adapt FILE'"


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
        raise GemoclapError(
            f"adapt: there are statistics of {', '.join(known)}, but none of {whose}; give statistics of that speaker too"
        )
    return known[found[0]]


def write_statistics(path: str | os.PathLike, model: str, statistics: Mapping[str, Statistics]) -> None:
    """Write the statistics of some groups, and the model whose features they describe."""
    groups = {
        name: {"count": one.count, "mean": _rounded(one.mean), "square": _rounded(one.square)}
        for name, one in statistics.items()
    }
    write_json(path, {"model": model, "groups": groups})


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
        raise GemoclapError(f"{path}: made with another model, or an earlier version of it; {REMEDY}")
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
