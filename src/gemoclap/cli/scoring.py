"""The work of `evaluate`: the predictions for a labelled manifest, their scores and the report."""

from __future__ import annotations

import math
import sys
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
    others = _also_adapted_to(utterances, rows, args.adapt)
    groups = _groups(predictor, [*rows, *others], args.adapt)
    words, raw, unscored = _probabilities(predictor, rows, others, classifier, args.batch_size, groups)
    table = table_of(rows, choice.join(words), choice.vocabulary.emotions, choice.vocabulary.resolve, None)
    scores = score_table(table)
    trained_speakers = sorted(common_speakers(model.config.trained_speakers or (), map(speaker_name, utterances)))
    unknown = unknown_labels(utterances, choice.vocabulary)
    for remark in label_remarks(scores, table, unknown, trained.emotions, args.adapt, unscored):
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
                unscored=unscored, merges=merges,
            )  # fmt: skip


def _also_adapted_to(utterances: Sequence[Utterance], rows: Sequence[Utterance], how: str) -> list[Utterance]:
    """Return the clips that `predict --adapt` would adapt to besides `rows`: those of the manifest without a label to score.

    With ``"speaker"`` they are those of the speakers of `rows`; others have no effect on the scores.
    """
    if how == "none":
        return []
    scored = {row.id for row in rows}
    voices = {speaker_name(row) for row in rows if row.speaker is not None}
    others = [row for row in utterances if row.id not in scored]
    if how == "folder":
        return others
    return [row for row in others if row.speaker is not None and speaker_name(row) in voices]


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
    others: Sequence[Utterance],
    classifier: Classifier,
    batch_size: int,
    groups: Sequence[str] | None,
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Return the probabilities ``(N, C)`` of the classifier's labels for `rows`, as 'gemoclap predict' gives them.

    If the classifier has a temperature, those without it come too. It acts on each part of a clip, so it cannot be taken back
    from their mean. The last value is how many of `others` were adapted to.

    Parameters
    ----------
    groups : the group of each of `rows` and `others`, or None.
    """
    labels = classifier.labels
    predictor.check_speech = True
    predictor.any_words = True  # whoever has labelled a manifest so knows what the words mean
    raw = Predictor(predictor.model)
    raw.any_words = True
    clips = _heard(predictor, [*rows, *others], len(rows), batch_size)
    if groups is not None:
        readable = [(clip, group) for clip, group in zip(clips, groups, strict=True) if clip is not None]
        clips = [*adapt_clips(*zip(*readable, strict=True))[0]]
    unscored = len(clips) - len(rows)
    if unscored < len(others):
        print(
            f"gemoclap: {len(others) - unscored} of {counted(len(others), 'clip')} without a label to score could not be read, "
            "and are not adapted to",
            file=sys.stderr,
        )
    scored = [clip for clip in clips[: len(rows)] if clip is not None]
    answers = np.array([_shares(predictor.decide(clip, labels), labels) for clip in scored])
    if not classifier.is_calibrated:
        return answers, None, unscored
    with uncalibrated(predictor.model):
        return answers, np.array([_shares(raw.decide(clip, labels), labels) for clip in scored]), unscored


def _heard(
    predictor: Predictor, utterances: Sequence[Utterance], needed: int, batch_size: int
) -> list[Featured | None]:
    """Return the features of each clip. The first `needed` must be readable; of the others, those that are not are None."""
    clips: list[Featured | None] = []
    with progress_bar("classifying") as progress:
        for clip in predictor.featured(utterances, batch_size):
            if isinstance(clip, GemoclapError):
                if len(clips) < needed:
                    raise clip
                clips.append(None)
            else:
                clips.append(clip)
            progress(len(clips), len(utterances))
    return clips


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
