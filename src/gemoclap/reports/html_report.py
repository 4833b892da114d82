"""Writes the report of cross-validations as one web page that needs no other file: `gemoclap report RUN --html`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

import gemoclap
from gemoclap.corpora.speakers import natural
from gemoclap.labels import GENDERS
from gemoclap.metrics import Scores, confusion_by_seed
from gemoclap.metrics.summary import Labelled
from gemoclap.predictions import aligned
from gemoclap.reports import mistakes, result_tables, tables
from gemoclap.reports.document import Pictures
from gemoclap.reports.embedding_map import FoldMap, draw_map, fold_maps
from gemoclap.reports.html import (
    MOST_CHOICES,
    Section,
    bullets,
    choices,
    details,
    escaped,
    page,
    paragraph,
    table,
)
from gemoclap.reports.page import (
    COMPARISON,
    about_confidence,
    about_intervals,
    adapted_remark,
    overlap_warning,
    partial_warning,
    protocol_lines,
    reading_lines,
    report_pictures,
    report_title,
)
from gemoclap.reports.records import Results, Row
from gemoclap.reports.result_tables import row_label
from gemoclap.reports.rows import tables_of
from gemoclap.reports.run_settings import all_settings, differing_settings
from gemoclap.reports.speakers import ABOUT as ABOUT_SPEAKERS
from gemoclap.reports.speakers import by_row, spread_cells
from gemoclap.reports.tables import Cells, percent, with_interval
from gemoclap.wording import counted
from gemoclap.writing import atomic_write

NAME = "report.html"
MOST_MAPS = MOST_CHOICES
"""Number of folds of a method of which a map is drawn."""
WORST_CONFUSIONS = 3
"""Number of confusions that the description of a matrix names."""
LICENCE = (
    "The players have short clips of the corpus in them. Before you pass this page on, see whether the licence of the corpus "
    "allows that; `--no_audio` leaves them out."
)


def write_html_report(results: Results, with_audio: bool = True) -> Path:
    """Write report.html into the folder of the results, and return its path.

    The page has tables, pictures, maps of embeddings and the most confident mistakes in it. It has no script and loads nothing.

    Parameters
    ----------
    with_audio : whether the page has the sound of the most confident mistakes.

    Raises
    ------
    GemoclapError : a file of embeddings or a config.yaml is damaged.
    """
    pictures = Pictures(report_pictures(results))
    title = report_title(results)
    warnings = [
        *overlap_warning(results),
        *(f"**Beware: {warning}.**" for warning in results.encoder_warnings),
        *partial_warning(results),
        *adapted_remark(results),
    ]
    sections = [
        _results(results, pictures),
        _recalls(results),
        _speakers(results, pictures),
        _confusions(results, pictures),
        _confidence(results, pictures),
        _curves(results, pictures),
        _maps(results),
        _mistakes(results, with_audio),
        _split(results),
        _settings(results),
        Section("reading", "How to read this", bullets(reading_lines(results))),
    ]
    text = page(title, warnings, [one for one in sections if one.body], f"Written by gemoclap {gemoclap.__version__}.")
    path = results.output / NAME
    with atomic_write(path) as file:
        file.write(text)
    return path


def _scores(row: Row) -> Scores:
    assert row.scores is not None
    return row.scores


# The sections.


def _results(results: Results, pictures: Pictures) -> Section:
    uars = "; ".join(
        f"{row_label(row)} {with_interval(_scores(row).uar, _scores(row).uar_interval)} %"
        for row in results.scored_rows
    )
    parts = [
        bullets(protocol_lines(results)),
        pictures.figure(COMPARISON, f"UAR with its interval: {uars}"),
        table(
            f"Scores in percent. {about_intervals(results)} The gap is the UAR of female minus that of male speakers.",
            result_tables.summary_cells(results),
            2 if results.seed_means else 1,
        ),
        *(paragraph(f"**Beware: {caution}.**") for caution in results.cautions),
    ]
    if results.differences:
        caption = "Differences from the first method, paired by speaker; p from a permutation test over speakers"
        parts.append(table(caption, result_tables.difference_cells(results)))
    if results.seed_means:
        parts.append(table("Scores of each seed, pooled over folds, in percent", result_tables.seed_cells(results), 2))
    return Section("results", "Results", "\n".join(parts))


def _recalls(results: Results) -> Section:
    cells = recall_by_gender(results)
    caption = "Share of each class's clips that are recognised, in percent, pooled over folds"
    return Section("recall", "Recall by class and gender", table(caption, cells, 2))


def recall_by_gender(results: Results) -> Cells:
    """Return the recall of each class: of all speakers, and of female and male ones if both occur; means over seeds."""
    rows = []
    for row in results.scored_rows:
        each = aligned(tables_of(list(row.members.values())))
        present = [gender for gender in GENDERS if gender in each[0].genders]
        for gender in [None, *(present if len(present) > 1 else [])]:
            chosen = [_of_gender(one, gender) for one in each]
            by_seed = confusion_by_seed(chosen, results.classes).sum(axis=1)
            support = by_seed[0].sum(axis=1)
            hits = np.diagonal(by_seed, axis1=1, axis2=2).mean(axis=0)
            recalls = np.divide(hits, support, out=np.full(len(support), np.nan), where=support > 0)
            whom = f"{gender or 'all'} ({counted(len(chosen[0].truth), 'clip')})"
            rows.append([row_label(row), whom, *map(percent, recalls.tolist())])
    return ["method", "speakers", *results.classes], rows


def _of_gender(one: Labelled, gender: str | None) -> Labelled:
    if gender is None:
        return one
    kept = [place for place, own in enumerate(one.genders) if own == gender]
    return Labelled(
        truth=[one.truth[place] for place in kept],
        prediction=[one.prediction[place] for place in kept],
        speakers=[one.speakers[place] for place in kept],
        genders=[gender] * len(kept),
    )


def _speakers(results: Results, pictures: Pictures) -> Section:
    if not (spreads := by_row(results)):
        return Section("speakers", "Speakers", "")
    medians = "; ".join(f"{one.title} {percent(median(each.uar for each in one.scores))} %" for one in spreads)
    picture = pictures.figure("speakers.png", f"UAR of every speaker. Medians: {medians}")
    shown = table(f"{ABOUT_SPEAKERS} speakers.csv has each of them.", spread_cells(spreads))
    return Section("speakers", "Speakers", picture + shown)


def _confusions(results: Results, pictures: Pictures) -> Section:
    parts = []
    for row in results.scored_rows:
        caption = f"Confusion matrix of {row.title}, pooled over folds"
        parts.append(
            pictures.figure(f"confusion_{row.name}.png", f"{caption}: {_worst_confusions(_scores(row))}", caption)
            + details(f"Counts of {row.title} as a table", table(f"{caption}: counts", _confusion_cells(_scores(row))))
        )
    gallery = "".join(f"<div>{part}</div>" for part in parts)
    return Section("confusion", "Confusion matrices", f'<div class="gallery">{gallery}</div>')


def _confusion_cells(scores: Scores) -> Cells:
    classes = list(scores.recalls)
    rows = [[name, *(f"{count:,}" for count in counts)] for name, counts in zip(classes, scores.confusion, strict=True)]
    return ["true class", *(f"predicted {name}" for name in classes)], rows


def _worst_confusions(scores: Scores) -> str:
    """Return the most frequent mistakes in words, as shares of their true class."""
    classes, support = list(scores.recalls), scores.confusion.sum(axis=1, keepdims=True)
    shares = np.divide(scores.confusion, support, out=np.zeros(scores.confusion.shape), where=support > 0)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")
    places = [np.unravel_index(place, shares.shape) for place in order[:WORST_CONFUSIONS]]
    found = [
        f"{percent(shares[true, said])} % of {classes[true]} taken for {classes[said]}"
        for true, said in places
        if shares[true, said]
    ]
    return "the most frequent mistakes are " + ", ".join(found) if found else "there are no mistakes"


def _confidence(results: Results, pictures: Pictures) -> Section:
    errors = "; ".join(
        f"{row_label(row)} {percent(row.confidence.before.ece)}"
        for row in results.scored_rows
        if row.confidence is not None
    )
    parts = [
        paragraph(about_confidence()),
        table("Calibration of the probabilities", result_tables.confidence_cells(results), 2),
        pictures.figure("reliability.png", f"Reliability diagram; expected calibration error in points: {errors}"),
    ]
    return Section("confidence", "Confidence", "\n".join(parts))


def _curves(results: Results, pictures: Pictures) -> Section:
    drawn = [
        pictures.figure(f"curves_{row.name}.png", f"Losses of {row.title} over epochs, one line per fold")
        for row in results.scored_rows
    ]
    gallery = "".join(f"<div>{one}</div>" for one in drawn if one)
    return Section("curves", "Training curves", f'<div class="row">{gallery}</div>' if gallery else "")


def _maps(results: Results) -> Section:
    parts = []
    for number, row in enumerate(results.scored_rows):
        found = fold_maps(row.first, MOST_MAPS)
        if not found:
            continue
        figures = [(one.fold, _map_gallery(one, f"{row.title}, {one.fold}")) for one in found]
        of_all = len(row.first.folds)
        some = f" The first {len(found)} of {of_all} folds are shown." if len(found) < of_all else ""
        seed = f" Seed {row.seeds[0]} is shown." if row.seeds else ""
        parts.append(f"<h3>{escaped(row.title)}</h3>{paragraph(some + seed) if some + seed else ''}")
        parts.append(choices(f"map{number}", "Fold", figures))
    if not parts:
        none = "No embeddings were saved: these runs have only baselines, or are of a version before embeddings were saved."
        return Section("map", "Map of embeddings", paragraph(none, "note"))
    about = (
        "Each point is a test clip: what the model compares with the classes, projected to a plane in which near neighbours "
        "stay near. Distances between far points, and the axes, have no meaning. Each fold has a model of its own, whose "
        "embeddings have nothing in common with those of another, so each fold has its own map."
    )
    return Section("map", "Map of embeddings", "\n".join([paragraph(about), *parts]))


def _map_gallery(one: FoldMap, title: str) -> str:
    drawn = []
    for name, words in one.colourings.items():
        caption = f"{one.drawn_by} of {len(one.points):,} test clips of {title}, coloured by {name}"
        pictures = Pictures({"map.png": (caption, partial(draw_map, one.points, words))})
        drawn.append(f"<div>{pictures.figure('map.png', caption)}</div>")
    return f'<div class="row">{"".join(drawn)}</div>'


def _mistakes(results: Results, with_audio: bool) -> Section:
    rows = mistakes.manifest_rows(results.manifest)
    players = mistakes.Players(rows) if with_audio else None
    parts = []
    for row in results.scored_rows:
        predictions = row.first.predictions
        found = mistakes.worst_mistakes(predictions) if predictions is not None else []
        if not found:
            continue
        seed = f", seed {row.seeds[0]}" if row.seeds else ""
        caption = f"The most confident mistakes of {row.title}{seed}; the probability is the model's own, before a temperature"
        header = ["clip", "true", "predicted", "speaker", "fold", "file", "probability, %"]
        cells = [
            [
                one.id,
                one.truth,
                one.answer,
                speaker,
                one.fold or "",
                mistakes.file_name(one, rows),
                percent(one.probability),
            ]
            for one, speaker in zip(found, mistakes.speakers_of(found), strict=True)
        ]
        if players:
            header = [header[0], "listen", *header[1:]]
            cells = [[line[0], _player(players, one), *line[1:]] for line, one in zip(cells, found, strict=True)]
        # All but the last are names, even where speakers are numbers.
        parts.append(table(caption, (header, cells), len(header) - 1, raw_columns=(1,) if players else ()))
    if parts and players:
        parts.insert(0, paragraph(LICENCE, "note"))
    return Section("mistakes", "Most confident mistakes", "\n".join(parts))


def _player(players: mistakes.Players, one: mistakes.Mistake) -> str:
    source, remark = players.sound(one)
    said = f' <span class="note">{escaped(remark)}</span>' if remark else ""
    if not source:
        return said
    label = escaped(f"{one.id}: {one.truth}, predicted {one.answer}")
    return f'<audio controls preload="none" src="{source}" aria-label="{label}"></audio>{said}'


def _split(results: Results) -> Section:
    shared = sorted({speaker for fold in results.folds for speaker in fold.shared_speakers}, key=natural)
    lines = [
        f"Speakers in both training and test of a fold: {tables.shorten(shared, 10) if shared else 'none known'}.",
        *(["The speaker of some utterances is unknown."] if results.speaker_overlap and not shared else []),
        *(f"Encoder: {warning}." for warning in results.encoder_warnings),
        "No epoch was chosen on test speakers.",
        "The hash of a fold covers the utterances of its training, development and test parts: two runs with equal hashes "
        "have the same folds.",
    ]
    caption = "Folds: test speakers, number of test clips, and scores in percent"
    return Section(
        "split", "Split and leakage", bullets(lines) + table(caption, result_tables.fold_cells(results), text_columns=4)
    )


def _settings(results: Results) -> Section:
    parts = []
    if len(results.runs) > 1:
        cells = differing_settings(results)
        caption = "Settings and versions in which the runs differ"
        same = paragraph("The runs have the same settings and versions.")
        parts.append(table(caption, cells, text_columns=len(cells[0])) if cells[1] else same)
    of_first = " of the first run" if len(results.runs) > 1 else ""
    parts.append(
        details(f"All settings{of_first}", table(f"Settings{of_first}", all_settings(results), text_columns=2))
    )
    return Section("settings", "Settings", "\n".join(parts))
