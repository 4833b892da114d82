"""Classifies labelled utterances with a model, and returns the table of its predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import row_columns
from gemoclap.data.dataset import InputSource, eval_batches
from gemoclap.errors import NO_NUMBERS, GemoclapError
from gemoclap.labels import SHOWN, Vocabulary
from gemoclap.metrics import unweighted_average_recall, weighted_average_recall
from gemoclap.models import Classifier, EmotionModel, classifier_of
from gemoclap.predictions import PredictionTable
from gemoclap.wording import counted, shortened

Progress = Callable[[int, int], None]


def predict_table(
    model: EmotionModel,
    utterances: Sequence[Utterance],
    source: InputSource,
    *,
    fold: str | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> PredictionTable:
    """Classify the utterances whose label is in the vocabulary of the model. The rows are in the given order.

    The table has the embedding of each utterance too. Afterwards the model is in evaluation mode.

    Raises
    ------
    GemoclapError : no utterance has a label of the model's vocabulary, or an output of the model is not a number.
    """
    vocabulary = model.config.emotions
    rows = labelled_rows(utterances, vocabulary)
    scores, embeddings = scores_and_embeddings(model, rows, source, classifier_of(model), batch_size, progress)
    table = table_of(rows, scores, vocabulary.emotions, vocabulary.resolve, fold)
    return replace(table, embeddings=embeddings)


def labelled_rows(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> list[Utterance]:
    """Return the utterances whose label is in the vocabulary, in the order given.

    Raises
    ------
    GemoclapError : there are none.
    """
    rows = [row for row in utterances if vocabulary.resolve(row.emotion) is not None]
    if not rows:
        found = shortened(", ".join(unknown_labels(utterances, vocabulary)), SHOWN)
        how = (
            f"labels of the manifest: {found}; name their classes with --merges in 'gemoclap evaluate'"
            if found
            else "no utterance has a label at all; check the emotion column of the manifest with 'gemoclap inspect'"
        )
        classes = ", ".join(vocabulary.emotions)
        raise GemoclapError(
            f"no utterance has one of the model's classes, or of those to choose among ({classes}); {how}"
        )
    return rows


def scores_and_embeddings(
    model: EmotionModel,
    rows: Sequence[Utterance],
    source: InputSource,
    classifier: Classifier,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities ``(N, C)``, and the embeddings ``(N, E)`` that they were computed from."""
    model.eval()
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with torch.inference_mode():
        for batch in eval_batches(rows, source, model.config.emotions, batch_size):
            embeddings = classifier.embed(**batch.to(model.device).inputs)
            scores = classifier.classify(embeddings)
            both = (scores.cpu().numpy(), embeddings.float().cpu().numpy())
            found |= dict(zip(batch.ids, zip(*both, strict=True), strict=True))
            if progress is not None:
                progress(len(found), len(rows))
    scores_of, embeddings_of = zip(*(found[row.id] for row in rows), strict=True)
    return np.stack(scores_of), np.stack(embeddings_of)


def table_of(
    rows: Sequence[Utterance],
    scores: np.ndarray,
    classes: tuple[str, ...],
    resolve: Callable[[str | None], str | None],
    fold: str | None,
) -> PredictionTable:
    """Return a table of utterances and their scores ``(N, C)``. The predicted class is the one with the highest score.

    Speakers are named as in `row_columns`.

    Raises
    ------
    GemoclapError : a score is not a finite number.
    """
    faulty = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(faulty):
        first = rows[faulty[0]]
        others = f" ({first.id} is the first of {len(faulty)} such among {counted(len(rows), 'utterance')})"
        raise GemoclapError(f"{first.path}: {NO_NUMBERS}{others}")
    return PredictionTable(
        classes=classes,
        **row_columns(rows),
        folds=(fold,) * len(rows),
        truth=tuple(str(resolve(row.emotion)) for row in rows),
        prediction=tuple(classes[index] for index in scores.argmax(axis=1)),
        probabilities=scores,
        paths=tuple(row.path for row in rows),
    )


def unknown_labels(utterances: Sequence[Utterance], vocabulary: Vocabulary) -> dict[str, int]:
    """Return label -> number of utterances, for labels that are not among the classes, the most frequent label first."""
    counts = Counter(
        row.emotion for row in utterances if row.emotion is not None and vocabulary.resolve(row.emotion) is None
    )
    return dict(counts.most_common())


def headline_scores(table: PredictionTable) -> dict[str, float]:
    """Return the scores for a row of the log and for a model card: ``uar`` and ``war``, from 0 to 1."""
    return {
        "uar": unweighted_average_recall(table.truth, table.prediction),
        "war": weighted_average_recall(table.truth, table.prediction),
    }
