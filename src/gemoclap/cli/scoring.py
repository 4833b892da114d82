"""The work of `evaluate`: the predictions for a labelled manifest, their scores and the report."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gemoclap.cli.recordings import require_audio, say_what_is_needed, speakers_of
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import common_speakers, speaker_name
from gemoclap.errors import GemoclapError
from gemoclap.inference.adaptation import ALL
from gemoclap.inference.prediction import Featured, Prediction, adapt_clips
from gemoclap.inference.predictor import Predictor
from gemoclap.models import Classifier, EmotionModel, classifier_of
from gemoclap.predictions import PREDICTIONS
from gemoclap.recipes.made import made_with
from gemoclap.reports import write_scores
from gemoclap.reports.evaluation import ADAPTED, label_remarks
from gemoclap.reports.rows import score_table
from gemoclap.terminal import progress_bar
from gemoclap.training.choices import as_spelt, check_merges, choice_of
from gemoclap.training.evaluate import labelled_rows, table_of, unknown_labels
from gemoclap.wording import counted
from gemoclap.writing import folder_written_beside


def score(args: Namespace, utterances: Sequence[Utterance]) -> None:
    """Score a model on labelled utterances, print the scores, and write them with the predictions to ``args.output``."""
    predictor = Predictor.from_pretrained(args.model)
    model = predictor.model
    trained = model.config.emotions
    found = [row.emotion for row in utterances]
    labels, merges = as_spelt(args.labels, args.merges, trained, found)
    check_merges(merges, trained, found, labels)
    choice = choice_of(trained, labels, merges, found)
    classifier = classifier_of(model, choice.words)
    rows = labelled_rows(utterances, choice.vocabulary)
    require_audio(rows)
    groups = _groups(predictor, rows, args.adapt)
    words, raw = _probabilities(predictor, rows, classifier, args.batch_size, groups)
    table = table_of(rows, choice.join(words), choice.vocabulary.emotions, choice.vocabulary.resolve, None)
    scores = score_table(table)
    trained_speakers = sorted(common_speakers(model.config.trained_speakers or (), map(speaker_name, utterances)))
    unknown = unknown_labels(utterances, choice.vocabulary)
    for remark in label_remarks(scores, table, unknown, trained.emotions, args.adapt):
        print(f"beware: {remark}")
    if trained_speakers:
        print(
            f"beware: the model was trained on {len(trained_speakers)} of these speakers: the figures are not "
            "speaker-independent"
        )
    # The scores are printed first: a disk that is full must not cost them.
    low, high = map(_percent, scores.uar_interval)
    left_out = f" ({len(utterances) - scores.n} with other labels left out)" if scores.n < len(utterances) else ""
    print(
        f"{counted(scores.n, 'utterance')}{left_out}: WAR {_percent(scores.war)} %, "
        f"UAR {_percent(scores.uar)} % [{low}, {high}], macro F1 {_percent(scores.macro_f1)} %"
    )
    print("recall: " + ", ".join(f"{label} {_percent(recall)}" for label, recall in scores.recalls.items()))
    calibration = model.config.calibration if classifier.is_calibrated else None
    uncalibrated = None if raw is None else choice.join(raw)
    if args.output:
        with folder_written_beside(Path(args.output)) as folder:
            table.write(folder / PREDICTIONS)
            title = f"{args.model} on {args.manifest}{ADAPTED[args.adapt]}"
            write_scores(
                scores, table, folder, title, trained_speakers,
                unknown=unknown, trained_classes=trained.emotions,
                calibration=calibration, uncalibrated=uncalibrated, made=made_with(), adapt=args.adapt,
                merges=merges,
            )  # fmt: skip


def _groups(predictor: Predictor, rows: Sequence[Utterance], how: str) -> list[str] | None:
    """Return the group of each utterance; those of a group are adapted to together. None = no adaptation."""
    if how == "none":
        say_what_is_needed(predictor.needs_adaptation, "give --adapt speaker")
        return None
    predictor.check_adaptable()
    return [ALL] * len(rows) if how == "folder" else speakers_of(rows)


def _probabilities(
    predictor: Predictor,
    rows: Sequence[Utterance],
    classifier: Classifier,
    batch_size: int,
    groups: Sequence[str] | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the probabilities ``(N, C)`` of the classifier's labels, as 'gemoclap predict' gives them.

    If the classifier has a temperature, those without it come too. It acts on each part of a clip, so it cannot be taken back
    from their mean.
    """
    labels = classifier.labels
    predictor.check_speech = True
    predictor.any_words = True  # whoever has labelled a manifest so knows what the words mean
    raw = Predictor(predictor.model)
    raw.any_words = True
    clips: list[Featured] = []
    with progress_bar("classifying") as progress:
        for clip in predictor.featured(rows, batch_size):
            if isinstance(clip, GemoclapError):
                raise clip
            clips.append(clip)
            progress(len(clips), len(rows))
    if groups is not None:
        clips, _ = adapt_clips(clips, groups)
    answers = [_shares(predictor.decide(clip, labels), labels) for clip in clips]
    if not classifier.is_calibrated:
        return np.array(answers), None
    with uncalibrated(predictor.model):
        return np.array(answers), np.array([_shares(raw.decide(clip, labels), labels) for clip in clips])


@contextmanager
def uncalibrated(model: EmotionModel) -> Iterator[None]:
    """Leave the model's temperature out for as long as this lasts."""
    calibration, model.config.calibration = model.config.calibration, None
    try:
        yield
    finally:
        model.config.calibration = calibration


def _shares(answer: Prediction | GemoclapError, labels: Sequence[str]) -> list[float]:
    if isinstance(answer, GemoclapError):
        raise answer
    return [answer.probabilities[label] for label in labels]


def _percent(share: float | None) -> str:
    return "-" if share is None or math.isnan(share) else f"{100 * share:.1f}"
