"""Measures how well probabilities match the share of correct predictions, before and after a temperature.

If a fold had development speakers, its model's temperature was fitted on them. Otherwise the report fits a temperature for each
fold on the test predictions of the other folds. Their models were trained in the same way, and a temperature is never applied
to the predictions that it was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gemoclap.metrics.calibration import apply_temperature, class_numbers, confidence_of, fit_temperature
from gemoclap.predictions import PredictionTable
from gemoclap.reports.records import MethodResults, RowConfidence

DEVELOPMENT = "the development speakers of each fold"
OTHER_FOLDS = "the test predictions of the other folds"
NOT_FITTED = "no temperature was fitted"


def confidence_of_row(members: Sequence[MethodResults]) -> RowConfidence | None:
    """Return the confidence of a method over all its seeds; None if it gives no probabilities."""
    tables = [(method.predictions, method.temperatures) for method in members if method.predictions is not None]
    if not tables or not all(np.isfinite(table.probabilities).all() for table, _ in tables):
        return None
    truth = np.concatenate([class_numbers(table.truth, table.classes) for table, _ in tables])
    before = np.concatenate([table.probabilities for table, _ in tables])
    fitted = [_temperatures(table, known) for table, known in tables]
    if not all(temperatures for temperatures, _ in fitted):
        return RowConfidence(confidence_of(before, truth), None, (), NOT_FITTED)
    after = np.concatenate(
        [_applied(table, temperatures) for (table, _), (temperatures, _) in zip(tables, fitted, strict=True)]
    )
    return RowConfidence(
        before=confidence_of(before, truth),
        after=confidence_of(after, truth),
        temperatures=tuple(one for temperatures, _ in fitted for one in temperatures.values()),
        fitted_on="; ".join(dict.fromkeys(whom for _, whom in fitted)),
    )


def _temperatures(table: PredictionTable, known: Mapping[str, float]) -> tuple[dict[str | None, float], str]:
    """Return fold -> temperature, and on what the temperatures were fitted; empty if only one fold is finished."""
    folds = list(dict.fromkeys(table.folds))
    if all(fold in known for fold in folds):
        return {fold: known[str(fold)] for fold in folds}, DEVELOPMENT
    if len(folds) < 2:
        return {}, NOT_FITTED
    truth, of_fold = class_numbers(table.truth, table.classes), np.array([str(fold) for fold in table.folds])
    return {
        fold: fit_temperature(table.probabilities[of_fold != str(fold)], truth[of_fold != str(fold)]) for fold in folds
    }, OTHER_FOLDS


def _applied(table: PredictionTable, temperatures: Mapping[str | None, float]) -> np.ndarray:
    result = np.empty_like(table.probabilities)
    of_fold = np.array([str(fold) for fold in table.folds])
    for fold, temperature in temperatures.items():
        chosen = of_fold == str(fold)
        result[chosen] = apply_temperature(table.probabilities[chosen], temperature)
    return result
