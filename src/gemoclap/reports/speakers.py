"""How much recognition differs between speakers: the scores of each, a table of their spread, and a picture.

The interval of a method's UAR comes from this spread. A speaker who is hardly recognised can be a damaged recording, wrong
labels, or a voice unlike those of the training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gemoclap.corpora.speakers import natural
from gemoclap.labels import GENDERS
from gemoclap.metrics import Labelled
from gemoclap.metrics.intervals import confusion_by_cluster
from gemoclap.metrics.scores import uar_of, war_of
from gemoclap.predictions import PredictionTable, aligned
from gemoclap.reports.canvas import COLOURS, FORMATS, drawing, matplotlib, new_figure, save
from gemoclap.reports.plots import broken_lines
from gemoclap.reports.records import Results
from gemoclap.reports.result_tables import row_label
from gemoclap.reports.rows import tables_of
from gemoclap.reports.tables import Cells, percent, share_cell
from gemoclap.wording import shortened_inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("speaker", "gender", "n", "war", "uar")
"""Columns of speakers.csv of one system; those of several have "method" in front."""
COLOUR_OF = {"female": COLOURS[1], "male": COLOURS[0], None: COLOURS[6]}
"""Gender -> colour of a speaker's dot."""
ABOUT = (
    "UAR of each speaker in percent, over the classes that the speaker has. A quarter of the speakers are below the lower "
    "quartile, and a quarter above the upper one."
)
LONGEST_NAME = 30
"""Letters of a speaker's name in the picture. A name can be that of a recording."""
CAPTION = "UAR of every speaker; the line is the median, and the name that of the lowest"
"""Of the picture on a page."""


@dataclass(frozen=True)
class SpeakerScore:
    """The scores of one speaker, between 0 and 1; means over seeds. The UAR is over the classes that the speaker has."""

    speaker: str
    gender: str | None
    n: int
    war: float
    uar: float


@dataclass(frozen=True)
class Spread:
    """The scores of the speakers of one row of a report. `name` is for programs, `title` for people."""

    name: str
    title: str
    scores: Sequence[SpeakerScore]


def scores_by_speaker(tables: Sequence[PredictionTable]) -> list[SpeakerScore]:
    """Return the scores of each known speaker, in the order of names.

    `tables` have one seed each, and the same utterances. Speakers are those of the first table (`predictions.aligned`).
    """
    each, known = aligned(tables), {*tables[0].speakers} - {None}
    genders: dict[str, set[str | None]] = {}
    for speaker, gender in zip(each[0].speakers, each[0].genders, strict=True):
        if speaker in known:
            genders.setdefault(str(speaker), set()).add(gender)
    names = sorted(genders, key=natural)
    if not names:
        return []
    by_seed = np.stack([_confusions(one, tables[0].classes, names) for one in each])  # (K, S, C, C)
    wars, uars = war_of(by_seed).mean(axis=0), uar_of(by_seed).mean(axis=0)
    counts = by_seed[0].sum(axis=(1, 2))
    return [
        SpeakerScore(name, _only(genders[name]), int(count), float(war), float(uar))
        for name, count, war, uar in zip(names, counts, wars, uars, strict=True)
    ]


def _confusions(one: Labelled, classes: Sequence[str], speakers: Sequence[str]) -> np.ndarray:
    """Return (S, C, C), the confusion matrix of each of the speakers; utterances of others are left out."""
    wanted = {*speakers}
    rows = zip(one.truth, one.prediction, one.speakers, strict=True)
    truth, said, whose = zip(*(row for row in rows if row[2] in wanted), strict=True)
    return confusion_by_cluster(truth, said, whose, classes, speakers)


def _only(genders: set[str | None]) -> str | None:
    """Return the gender of a speaker, or None if it is unknown or differs between utterances."""
    return next(iter(genders)) if len(genders) == 1 and genders <= {*GENDERS} else None


def by_row(results: Results) -> list[Spread]:
    """Return the scores by speaker of each row with two known speakers or more."""
    found = (
        Spread(row.name, row_label(row), scores_by_speaker(tables_of(list(row.members.values()))))
        for row in results.scored_rows
    )
    return [one for one in found if len(one.scores) > 1]


def csv_rows(scores: Sequence[SpeakerScore]) -> list[dict[str, Any]]:
    """Return the rows of speakers.csv of one system."""
    return [
        {
            "speaker": one.speaker,
            "gender": one.gender or "",
            "n": one.n,
            "war": share_cell(one.war),
            "uar": share_cell(one.uar),
        }
        for one in scores
    ]


def spread_cells(spreads: Sequence[Spread]) -> Cells:
    """Return one row per method: the lowest and highest speaker by name, and the quartiles between."""
    header = ["method", "speakers", "lowest", "lower quartile", "median", "upper quartile", "highest", "sd"]
    lines = []
    for spread in spreads:
        uars = np.array([one.uar for one in spread.scores])
        low, high = spread.scores[int(uars.argmin())], spread.scores[int(uars.argmax())]
        quartiles = np.quantile(uars, (0.25, 0.5, 0.75)).tolist()
        named = [f"{percent(one.uar)} ({one.speaker})" for one in (low, high)]
        middle = [percent(one) for one in quartiles]
        sd = percent(float(uars.std(ddof=1)))
        lines.append([spread.title, f"{len(uars):,}", named[0], *middle, named[1], sd])
    return header, lines


def draw_speakers(
    spreads: Sequence[Spread], classes: int, path: str | os.PathLike, formats: Sequence[str] = FORMATS
) -> None:
    """Draw the UAR of every speaker as a dot, one line of dots per method, with the median, and the name of the lowest."""
    genders = {one.gender for spread in spreads for one in spread.scores}
    with drawing():
        figure = new_figure(6.6, 0.75 * len(spreads) + 1.4, "tight")
        axes = figure.add_subplot()
        for line, spread in enumerate(spreads):
            _draw_line(axes, line, spread.scores)
        axes.axvline(100 / classes, color="#555555", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        axes.set_yticks(range(len(spreads)), [broken_lines(spread.title, 30) for spread in spreads])
        axes.set_ylim(len(spreads) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        dot = matplotlib("lines").Line2D
        words = {
            "female": "female speaker",
            "male": "male speaker",
            None: "gender unknown" if len(genders) > 1 else "speaker",
        }
        handles = [
            dot([], [], linestyle="", marker="o", markersize=5, color=COLOUR_OF[gender], label=words[gender])
            for gender in words
            if gender in genders
        ]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(handles))
        axes.set_xlabel("UAR of each speaker (%)\n│ median   ┆ guessing   the name is that of the lowest", fontsize=8)
        save(figure, path, formats)


def _draw_line(axes: Axes, line: int, scores: Sequence[SpeakerScore]) -> None:
    """Draw the dots of one method; those at nearly the same place lie above each other."""
    uars = [100 * one.uar for one in scores]
    heights = line + _offsets(uars)
    axes.scatter(uars, heights, s=14, c=[COLOUR_OF[one.gender] for one in scores], alpha=0.75, linewidths=0)
    middle = float(np.median(uars))
    axes.plot([middle, middle], [line - 0.36, line + 0.36], color="#1A1A1A", linewidth=1.4, zorder=1)
    lowest = int(np.argmin(uars))
    # To the right, where the axis has room: on the left are the names of the methods.
    axes.annotate(
        shortened_inside(scores[lowest].speaker.rpartition("/")[2], LONGEST_NAME), (uars[lowest], heights[lowest]),
        xytext=(-3, 5), textcoords="offset points", ha="left", fontsize=7, color="#444444",
    )  # fmt: skip


def _offsets(values: Sequence[float], width: float = 1.5, most: float = 0.3) -> np.ndarray:
    """Return a height for each dot, from -`most` to `most`: dots in the same `width` points of UAR are spread evenly."""
    heights = np.zeros(len(values))
    bins = np.floor(np.asarray(values) / width).astype(int)
    crowd = np.bincount(bins - bins.min()).max()
    step = min(0.12, 2 * most / max(crowd - 1, 1))
    for one in np.unique(bins):
        places = np.flatnonzero(bins == one)
        heights[places] = step * (np.arange(len(places)) - (len(places) - 1) / 2)
    return heights
