"""The answers of a model for labelled sound, among the classes that it shares with the labels; for other benchmarks."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence

import numpy as np

from gemoclap import GemoclapError, Predictor
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.predictions import PredictionTable
from gemoclap.terminal import progress_bar
from gemoclap.training.evaluate import table_of


def model_and_clips(parser: ArgumentParser, model: str, manifest: str) -> tuple[Predictor, list[Utterance]]:
    """Load a model, and the clips of a manifest whose labels it knows; what is wrong with either is an error of the parser."""
    try:
        predictor = Predictor.from_pretrained(model)
        return predictor, [
            row for row in read_manifest(manifest) if predictor.model.config.emotions.resolve(row.emotion)
        ]
    except GemoclapError as error:
        parser.error(str(error))


def table_of_answers(
    predictor: Predictor, rows: Sequence[Utterance], sounds: Iterable[np.ndarray], name: str
) -> PredictionTable:
    """Return the answers; `rows` has the label of each of the `sounds`, and `name` is what progress is called."""
    resolve = predictor.model.config.emotions.resolve
    present = {resolve(row.emotion) for row in rows}
    classes = tuple(label for label in predictor.labels if label in present)
    scores = []
    with progress_bar(name) as progress:
        for done, answer in enumerate(predictor.predict_many(sounds, classes), 1):
            if isinstance(answer, GemoclapError):
                raise answer
            scores.append([answer.probabilities[label] for label in classes])
            progress(done, len(rows))
    return table_of(rows, np.array(scores), classes, resolve, None)
