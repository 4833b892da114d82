"""Compares a run with the same run made again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from results_parts import Record

from gemoclap.errors import GemoclapError
from gemoclap.predictions import read_predictions
from gemoclap.recipes.made import RESULTS, read_made


def repeated(runs: Sequence[Path], again: Sequence[Path]) -> Record:
    """Compare a run's answers with those of a repetition by code with today's `RESULTS`, as far as that has got.

    Raises
    ------
    GemoclapError : the second run has no fold of the first, or one that was not made with today's `RESULTS`.
    """
    folds, answers, same = 0, 0, 0
    for run, other in zip(runs, again, strict=True):
        for path in sorted(other.rglob("predictions.csv")):
            if not (run / path.relative_to(other)).is_file():
                continue
            _check_results(path.parent)
            one, two = (read_predictions(folder / path.relative_to(other)) for folder in (run, other))
            if one.ids != two.ids:
                raise GemoclapError(f"{path}: its utterances are not those of {run}")
            folds += 1
            answers += len(one.ids)
            same += int(np.sum(np.array(one.prediction) == np.array(two.prediction)))
    if not folds:
        raise GemoclapError(f"{', '.join(map(str, again))}: no fold of {', '.join(map(str, runs))} is finished there")
    all_folds = sum(1 for run in runs for _ in run.rglob("predictions.csv"))
    counts = {"folds": folds, "of": all_folds, "answers": answers, "same": same}
    return {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "results": RESULTS, **counts}


def _check_results(folder: Path) -> None:
    """Refuse a fold that was not made with today's `RESULTS`, because it says nothing about the figures of today's code."""
    noted = read_made([folder]).get("results") or []
    if noted != [str(RESULTS)]:
        which = f"RESULTS {noted[0]}" if noted else "code that does not note its RESULTS"
        raise GemoclapError(
            f"{folder}: was made with {which}, not with today's {RESULTS}; repeat the run into an empty folder, and give that "
            "folder to --again"
        )
