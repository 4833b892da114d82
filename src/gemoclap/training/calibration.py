"""Fits a temperature for the probabilities of a model, on predictions for speakers that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gemoclap.corpora.manifest import Utterance
from gemoclap.data.dataset import InputSource
from gemoclap.metrics.calibration import class_numbers, fit_temperature
from gemoclap.models import EmotionModel
from gemoclap.predictions import PredictionTable
from gemoclap.training.evaluate import predict_table

DEVELOPMENT = "the development speakers"


def calibration_on(table: PredictionTable, whom: str) -> dict[str, Any]:
    """Return `SpeechModelConfig.calibration`, fitted on the predictions in `table`.

    Parameters
    ----------
    whom : who the speakers in the table are, in words.

    Raises
    ------
    GemoclapError : the table has no probabilities.
    """
    temperature = fit_temperature(table.probabilities, class_numbers(table.truth, table.classes))
    return {"temperature": temperature, "fitted_on": whom, "utterances": len(table)}


def calibrate(model: EmotionModel, development: Sequence[Utterance], source: InputSource) -> None:
    """Fit the temperature of a model on its development speakers and store it in its config. Without such speakers, do nothing.

    Afterwards the model is in evaluation mode.

    Raises
    ------
    GemoclapError : as `predict_table`.
    """
    model.config.calibration = None
    if development:
        table = predict_table(model, development, source)
        model.config.calibration = calibration_on(table, DEVELOPMENT)
