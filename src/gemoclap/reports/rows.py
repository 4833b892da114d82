"""Makes the rows of the tables: trainings that only differ in their seed become one row, the mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from gemoclap.metrics import (
    Difference,
    Scores,
    confusion_by_seed,
    difference_over_speakers,
    holm,
    score_seeds,
    sign_flip_p,
    speaker_shares,
)
from gemoclap.predictions import PredictionTable, aligned
from gemoclap.recipes.seeds import over_seeds
from gemoclap.reports.confidence import confidence_of_row
from gemoclap.reports.records import FoldMean, MethodResults, PairedDifference, Row


def score_table(table: PredictionTable) -> Scores:
    """Return every figure of a table of predictions."""
    return score_tables([table])


def score_tables(tables: Sequence[PredictionTable]) -> Scores:
    """Return every figure as a mean over seeds. There is one table per seed, all of the same utterances."""
    return score_seeds(aligned(tables), tables[0].classes)


def make_row(name: str, title: str, settings: str, members: Mapping[int | None, MethodResults]) -> Row:
    """Return the row of a method. If there are several seeds, all their folds must be finished."""
    finished = [method for method in members.values() if method.pooled is not None and method.mean is not None]
    tables = tables_of(finished)
    several = len(members) > 1
    pooled = [method.pooled for method in finished if method.pooled is not None]
    return Row(
        name=name,
        title=title,
        settings=settings,
        members=members,
        scores=score_tables(tables) if several else next(iter(pooled), None),
        mean=_mean_of([method.mean for method in finished if method.mean is not None]) if finished else None,
        war=over_seeds([one.war for one in pooled]) if several else None,
        uar=over_seeds([one.uar for one in pooled]) if several else None,
        confidence=confidence_of_row(finished) if finished else None,
    )


def tables_of(methods: Sequence[MethodResults]) -> list[PredictionTable]:
    """Return the predictions of the methods that have some."""
    return [method.predictions for method in methods if method.predictions is not None]


def differences(rows: Sequence[Row]) -> tuple[PairedDifference, ...]:
    """Compare each later row with the first on the utterances that both have predicted.

    Two rows with the same settings are only compared if their seeds are the same too, as in runs of two versions of this
    project. A method is never compared with itself with another seed.
    """
    baseline, *others = rows
    found = []
    for other in others:
        if other.settings == baseline.settings and set(other.members) != set(baseline.members):
            continue
        of_both = [tables_of(list(row.members.values())) for row in (baseline, other)]
        one = aligned([table for tables in of_both for table in tables]) if all(of_both) else []
        if not one or not len(one[0].truth):
            continue
        by_seed = confusion_by_seed(one, of_both[0][0].classes)
        a, b = by_seed[: len(of_both[0])], by_seed[len(of_both[0]) :]
        p = sign_flip_p(speaker_shares(a, b)) if a.shape[1] > 1 else math.nan
        found.append((other.name, len(one[0].truth), difference_over_speakers(a, b), p))
    return _corrected(baseline.name, found)


def _corrected(baseline: str, found: Sequence[tuple[str, int, Difference, float]]) -> tuple[PairedDifference, ...]:
    corrected = holm([p for *_, p in found])
    return tuple(
        PairedDifference(baseline, *one, p_corrected) for one, p_corrected in zip(found, corrected, strict=True)
    )


def _mean_of(means: Sequence[FoldMean]) -> FoldMean:
    """Return the mean over seeds of every figure and of every standard deviation over folds."""
    names = [one.name for one in fields(FoldMean) if one.name != "n_folds"]
    return FoldMean(means[0].n_folds, **{name: float(np.mean([getattr(one, name) for one in means])) for name in names})
