"""Writes the report of one evaluation: scores, the most confident mistakes, and labels that do not fit the model's classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.files import write_json
from gemoclap.metrics import INTERVAL, Scores
from gemoclap.metrics.calibration import BINS, apply_temperature, class_numbers, confidence_of
from gemoclap.predictions import PredictionTable
from gemoclap.reports import plots, tables
from gemoclap.reports.canvas import lacking_remark
from gemoclap.reports.confidence import NOT_FITTED
from gemoclap.reports.genders import gender_remarks
from gemoclap.reports.illustrated import Picture, write_illustrated
from gemoclap.reports.made import made_line
from gemoclap.reports.mistakes import worst_mistakes
from gemoclap.reports.records import RowConfidence, confidence_to_dict
from gemoclap.reports.speakers import ABOUT as ABOUT_SPEAKERS
from gemoclap.reports.speakers import CAPTION as ABOUT_PICTURE
from gemoclap.reports.speakers import COLUMNS as SPEAKER_COLUMNS
from gemoclap.reports.speakers import Spread, csv_rows, draw_speakers, scores_by_speaker, spread_cells
from gemoclap.wording import counted

ADAPTED = {"none": "", "folder": ", adapted to all clips together", "speaker": ", adapted to each speaker"}
"""What `gemoclap evaluate --adapt` adds to the title."""


def write_scores(
    scores: Scores,
    table: PredictionTable,
    output_dir: str | os.PathLike,
    title: str,
    trained_speakers: Sequence[str] = (),
    *,
    unknown: Mapping[str, int] | None = None,
    trained_classes: Sequence[str] = (),
    calibration: Mapping[str, Any] | None = None,
    uncalibrated: np.ndarray | None = None,
    made: Mapping[str, Any] | None = None,
    adapt: str = "none",
    unscored: int = 0,
    merges: Mapping[str, str] | None = None,
) -> Path:
    """Write scores.json, scores.csv, speakers.csv, report.md and the pictures of one evaluation.

    Parameters
    ----------
    scores : the scores of `table`.
    table : the predictions; the report counts its classes and speakers and lists its most confident mistakes.
    output_dir : folder to write into. predictions.csv is not written here.
    title : names model and data, ``"models/iemocap on emodb.jsonl"``.
    trained_speakers : the tested speakers that the model was trained on. If there are any, the report begins with a warning.
    unknown : label -> number of utterances, for labels that are not among the classes (`training.evaluate.unknown_labels`).
    trained_classes : all classes of the model; the table may have fewer.
    calibration : the model's calibration, which is already applied to the table's probabilities; None if it has none.
    uncalibrated : the table's probabilities before calibration; None if there is no calibration.
    made : versions and machine, from `recipes.made.made_with`.
    adapt : what the predictions were adapted to, a key of `ADAPTED`.
    unscored : number of clips without a label to score that the predictions were adapted to as well.
    merges : label -> class, for labels of the manifest and classes of the model that count as another class.

    Returns
    -------
    The path of report.md.
    """
    output_dir = Path(output_dir)
    confidence = evaluated_confidence(table, calibration, uncalibrated)
    remarks = [*label_remarks(scores, table, unknown or {}, trained_classes, adapt, unscored), *gender_remarks(table)]
    pictures: dict[str, Picture] = {
        "confusion.png": ("Confusion matrix", partial(plots.write_confusion, scores, title=title))
    }
    if confidence is not None:
        draw = partial(plots.write_reliability, {"evaluation": confidence})
        pictures["reliability.png"] = ("Share of correct predictions against their probability", draw)
    spread = Spread("", "all speakers", scores_by_speaker([table]))
    if len(spread.scores) > 1:
        pictures["speakers.png"] = (ABOUT_PICTURE, partial(draw_speakers, [spread], len(table.classes)))
    data = {
        "title": title,
        "adapt": adapt,
        "adapted_to_unscored": unscored,
        "merges": dict(merges or {}),
        **scores.to_dict(),
        "absent_classes": absent_classes(table),
        "answers_that_cannot_be_right": impossible_answers(table),
        "unknown_labels": dict(unknown or {}),
        "confidence": confidence_to_dict(confidence) if confidence else None,
        "made": dict(made or {}),
    }
    choice = about_choice(table.classes, trained_classes, merges or {})
    sections = _sections(scores, table, title, trained_speakers, remarks, confidence, spread, made or {}, choice)
    write_json(output_dir / "scores.json", data)
    tables.write_csv(output_dir / "scores.csv", [tables.scores_row(scores)])
    tables.write_csv(output_dir / "speakers.csv", csv_rows(spread.scores), SPEAKER_COLUMNS)
    linked = [f"![{caption}]({name})" for name, (caption, _) in pictures.items()]
    return write_illustrated(output_dir / "report.md", [*sections, *linked], pictures)


def about_choice(classes: Sequence[str], trained: Sequence[str], merges: Mapping[str, str]) -> str:
    """Return sentences on the classes that the model chose among, if they are not all of its own; each begins with a space.

    Parameters
    ----------
    classes : those of the predictions.
    trained : those of the model; empty if they are not known.
    merges : label -> class, as given by the user.
    """
    words = ""
    if trained and set(classes) != set(trained):
        words = f" The model chose among {', '.join(classes)}; it was trained on {', '.join(trained)}."
    joined = ", ".join(f"{label} counts as {into}" for label, into in merges.items() if label != into)
    return f"{words} Joined classes: {joined}." if joined else words


def absent_classes(table: PredictionTable) -> list[str]:
    """Return the classes that no utterance is labelled with."""
    return [name for name in table.classes if name not in set(table.truth)]


def impossible_answers(table: PredictionTable) -> int:
    """Return how many predictions are a class that no utterance is labelled with; these cannot be right."""
    absent = set(absent_classes(table))
    return sum(said in absent for said in table.prediction)


def label_remarks(
    scores: Scores,
    table: PredictionTable,
    unknown: Mapping[str, int],
    trained: Sequence[str] = (),
    adapt: str = "none",
    unscored: int = 0,
) -> list[str]:
    """Return sentences on adaptation, equal predictions, classes that do not occur, unknown labels and unknown speakers.

    Parameters
    ----------
    scores : the scores of `table`.
    unknown : label -> number of utterances, for labels that are not among the table's classes.
    trained : all classes of the model; the table may have fewer.
    adapt, unscored : as in `write_scores`.
    """
    remarks = []
    if adapt != "none":
        others = "the same speaker" if adapt == "speaker" else "the manifest"
        too = (
            f" (with {counted(unscored, 'clip')} that {'has' if unscored == 1 else 'have'} no label to score)"
            if unscored
            else ""
        )
        remarks.append(
            f"each prediction depends on the other clips of {others}{too}, whose labels are not used; the scores are not "
            "comparable with those of clips alone"
        )
    if scores.only_answer is not None:
        remarks.append(
            f"the model predicts {scores.only_answer} for every utterance, so it cannot tell these classes apart"
        )
    absent, wrong = absent_classes(table), impossible_answers(table)
    if absent:
        share = f"{wrong:,} of {counted(len(table), 'prediction')} ({100 * wrong / len(table):.1f} %)"
        remarks.append(
            f"{', '.join(absent)}: no utterance has {'this class' if len(absent) == 1 else 'these classes'} of the model, so "
            f"{share} cannot be right"
        )
    not_chosen = {name: number for name, number in unknown.items() if name in trained}
    not_known = {name: number for name, number in unknown.items() if name not in trained}
    if not_chosen:
        many = "this label is" if len(not_chosen) == 1 else "these labels are"
        remarks.append(
            f"{_counted(not_chosen)}: {many} not among the classes to choose from, so such utterances are left out"
        )
    if not_known:
        many = "this label" if len(not_known) == 1 else "these labels"
        remarks.append(f"{_counted(not_known)}: the model does not know {many}, so such utterances are left out")
    unnamed = sum(speaker is None for speaker in table.speakers)
    if unnamed:
        remarks.append(
            f"the speaker of {unnamed:,} of {counted(len(table), 'utterance')} is unknown, so each counts as a speaker of its "
            "own: intervals are too short, and nobody can tell whether the model was trained on them"
        )
    return remarks


def _counted(labels: Mapping[str, int]) -> str:
    return tables.shorten([f"{name} {number:,}" for name, number in labels.items()], 10)


def evaluated_confidence(
    table: PredictionTable, calibration: Mapping[str, Any] | None, uncalibrated: np.ndarray | None = None
) -> RowConfidence | None:
    """Return the calibration error of the table before and after the temperature; None if it has no probabilities.

    Parameters
    ----------
    uncalibrated : the probabilities before the temperature. None computes them from the table's own, which is only correct
        if no classes were joined.
    """
    if not np.isfinite(table.probabilities).all():
        return None
    truth = class_numbers(table.truth, table.classes)
    if calibration is None:
        return RowConfidence(confidence_of(table.probabilities, truth), None, (), NOT_FITTED)
    temperature = float(calibration["temperature"])
    before = apply_temperature(table.probabilities, 1 / temperature) if uncalibrated is None else uncalibrated
    fitted_on = str(calibration.get("fitted_on", ""))
    return RowConfidence(
        confidence_of(before, truth), confidence_of(table.probabilities, truth), (temperature,), fitted_on
    )


def _sections(
    scores: Scores,
    table: PredictionTable,
    title: str,
    trained_speakers: Sequence[str],
    remarks: Sequence[str],
    confidence: RowConfidence | None,
    spread: Spread,
    made: Mapping[str, Any],
    choice: str,
) -> list[str]:
    header = ["n", "WAR [95 % CI]", "UAR [95 % CI]", "macro F1 [95 % CI]", "UAR female", "UAR male", "gap (points)"]
    figures = [
        f"{scores.n:,}",
        *tables.figure_cells(scores, tables.WITH_INTERVALS),
        *(tables.percent(scores.uar_by_gender.get(gender)) for gender in ("female", "male")),
        tables.points(scores.gender_gap),
    ]
    counts = Counter(table.truth)
    by_class = ", ".join(f"{name} {counts[name]:,}" for name in table.classes)
    who = tables.shorten(trained_speakers, 10)
    warning = f"**The model was trained on speakers scored here ({who}): the figures are not speaker-independent.**"
    return [
        *([warning] if trained_speakers else []),
        f"# Evaluation: {title}",
        f"{counted(scores.n, 'utterance')} ({by_class}) of {counted(scores.n_clusters, 'speaker')}. "
        "An utterance of an unknown speaker counts as a speaker of its own. All figures are percentages. Intervals: "
        f"{INTERVAL}.{choice}",
        *made_line(made),
        tables.markdown_table(header, [figures], text_columns=0),
        *(f"**Beware: {remark}.**" for remark in (*remarks, *scores.cautions, lacking_remark(table.classes)) if remark),
        "## Recall by class",
        tables.markdown_table(list(scores.recalls), [[tables.percent(one) for one in scores.recalls.values()]], 0),
        *_about_speakers(spread),
        *_about_confidence(confidence),
        *_mistakes(table, confidence),
    ]


def _about_speakers(spread: Spread) -> list[str]:
    if len(spread.scores) < 2:
        return []
    header, lines = spread_cells([spread])
    about = f"{ABOUT_SPEAKERS} [speakers.csv](speakers.csv) has each of them."
    return ["## Speakers", about, tables.markdown_table(header[1:], [line[1:] for line in lines])]


def _about_confidence(one: RowConfidence | None) -> list[str]:
    if one is None:
        return []
    states = {"before the temperature": one.before, "after it": one.after} if one.after else {NOT_FITTED: one.before}
    rows = [
        [name, tables.percent(each.ece), f"{each.nll:.3f}", f"{each.brier:.3f}"]
        for name, each in states.items()
        if each
    ]
    fitted = f" The model's temperature is {one.temperatures[0]:.2f}, fitted on {one.fitted_on}." if one.after else ""
    about = (
        "ECE is the expected calibration error: the average distance, in points, between the probability of a prediction and "
        f"the share of correct ones, over {BINS} bins of equal width. NLL is the negative log-likelihood.{fitted}"
    )
    return ["## Confidence", about, tables.markdown_table(["probabilities", "ECE", "NLL", "Brier score"], rows)]


def _mistakes(table: PredictionTable, confidence: RowConfidence | None) -> list[str]:
    """Return a table of the wrong predictions with the highest probabilities: clips that are worth listening to."""
    if confidence is None:
        return []
    cells = [
        [one.id, one.path or tables.UNDEFINED, one.truth, one.answer, tables.percent(one.probability)]
        for one in worst_mistakes(table)
    ]
    if not cells:
        return []
    probability = "probability" if confidence.after else f"probability ({NOT_FITTED})"
    header = ["utterance", "file", "true", "predicted", probability]
    return ["## Most confident mistakes", tables.markdown_table(header, cells, text_columns=4)]
