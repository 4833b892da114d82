"""The cells of a matrix of corpora, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gemoclap.config import TITLES
from gemoclap.metrics import Scores
from gemoclap.predictions import PredictionTable
from gemoclap.recipes.crosscorpus import CrossCorpus, Pair
from gemoclap.reports.canvas import FORMATS, drawing, matplotlib, new_figure, save, write_note
from gemoclap.reports.plots import broken_lines
from gemoclap.reports.tables import UNDEFINED, figure_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL_OTHERS = "all others"
"""Title of the row whose models are trained on all corpora but the tested one."""
ABOUT_OTHERS = "one model of all corpora but the tested one"
NAME = 18
"""Letters of a corpus's name that fit beside those of the next columns."""
WITHIN = "within: "
"""Stands before the figure of a cross-validation of one corpus."""
ABOUT_WITHIN = (
    f"'{WITHIN.strip()}' marks a cross-validation of one corpus, whose models are trained on its other speakers."
)


@dataclass(frozen=True)
class PairResult:
    """A cell: what was trained and tested, its number of finished seeds, and their mean scores (None if no seed is finished).

    `kind` is ``"within"`` for a cross-validation of one corpus, and ``"left out"`` for a model of all other corpora. `tables`
    are the predictions with each finished seed; a cell that is read from a record has none.
    """

    pair: Pair
    finished: int
    n_seeds: int
    scores: Scores | None
    kind: Literal["pair", "left out", "within"] = "pair"
    tables: tuple[PredictionTable, ...] = field(default=(), repr=False, compare=False)

    @property
    def n(self) -> int:
        """Number of test utterances; each counts once, even with several seeds."""
        return self.scores.n if self.scores else 0

    @property
    def state(self) -> str:
        """The state of the cell, in words."""
        if self.pair.is_empty:
            return f"only {self.pair.labels[0]} shared" if self.pair.labels else "no label shared"
        if self.finished == self.n_seeds:
            return "finished"
        return f"{self.finished} of {self.n_seeds} seeds" if self.finished else "not finished"

    @property
    def is_lacking(self) -> bool:
        """Whether some training or test is still to be done."""
        return not self.pair.is_empty and self.finished < self.n_seeds


def grid_of(names: Sequence[str], entries: Sequence[PairResult]) -> dict[str, list[PairResult | None]]:
    """Return the entries by row, with a column for each corpus in `names`; None where there is no entry."""
    places = {(_row_title(one), one.pair.tested): one for one in entries}
    rows = [*names, *([ALL_OTHERS] if any(one.kind == "left out" for one in entries) else [])]
    return {row: [places.get((row, tested)) for tested in names] for row in rows}


def _row_title(one: PairResult) -> str:
    return ALL_OTHERS if one.kind == "left out" else one.pair.trained


def matrix_rows(names: Sequence[str], entries: Sequence[PairResult], figure: str) -> list[list[str]]:
    """Return the cells of a table: what was trained on, then ``"uar"`` or ``"war"`` for each corpus in `names`.

    A cross-validation starts with `WITHIN`, so that nobody takes it for a test on another corpus.
    """

    def words(one: PairResult | None) -> str:
        if one is None:
            return UNDEFINED
        return f"{WITHIN if one.kind == 'within' else ''}{figure_of(one, figure) if one.scores else one.state}"

    return [[title, *map(words, row)] for title, row in grid_of(names, entries).items()]


def figure_of(one: PairResult, figure: str) -> str:
    """Return ``"61.3 [55.1, 67.0]"``, followed by the number of seeds if some are not finished."""
    assert one.scores is not None
    (words,) = figure_cells(one.scores, (figure,))
    return words if one.finished == one.n_seeds else f"{words} ({one.state})"


def over(matrix: CrossCorpus) -> str:
    """Return in words what the intervals resample."""
    return "test speakers and seeds" if len(matrix.seeds) > 1 else "test speakers"


def draw_matrix(
    matrix: CrossCorpus, entries: Sequence[PairResult], path: Path, formats: Sequence[str] = FORMATS
) -> None:
    """Draw the UAR of every cell. A darker cell has a higher UAR; each cell shows its figures, labels and utterances.

    Cells of a cross-validation have a frame.
    """
    grid = grid_of(list(matrix.corpora), entries)
    height, width = len(grid), len(matrix.corpora)
    shares = np.array([[one.scores.uar if one and one.scores else np.nan for one in row] for row in grid.values()])
    has_within = any(one.kind == "within" for one in entries)
    with drawing():
        figure = new_figure(1.55 * width + 2.2, 1.15 * height + 1.5, "constrained")
        axes = figure.add_subplot()
        # One hue that only gets darker, so that the order of the cells is the same in a grey copy.
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for row, entries_of_row in enumerate(grid.values()):
            for column, one in enumerate(entries_of_row):
                _write_cell(axes, column, row, one)
        axes.set_xticks(range(width), [broken_lines(name, NAME) for name in matrix.corpora])
        axes.set_yticks(range(height), [broken_lines(name, NAME) for name in grid])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_facecolor("#F2F2F2")  # empty cells
        axes.set_xlabel("tested on")
        axes.set_ylabel("trained on")
        axes.set_title(f"{TITLES[matrix.method]} across corpora, in percent", pad=9)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=[0, 25, 50, 75, 100])
        bar.set_label("UAR (%)")
        bar.outline.set_visible(False)  # type: ignore[operator]
        frame = "; frame: cross-validation of one corpus" if has_within else ""
        write_note(
            figure, f"[95 % interval over {over(matrix)}]; guessing has a UAR of 100 % / number of labels{frame}"
        )
        save(figure, path, formats)


def _write_cell(axes: Axes, column: int, row: int, one: PairResult | None) -> None:
    if one is None or one.scores is None:
        text = UNDEFINED if one is None else one.state.replace(" shared", "\nshared")
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="#6A6A6A")
        return
    scores = one.scores
    colour = ink_on(scores.uar)
    if one.kind == "within":
        rectangle = matplotlib("patches").Rectangle
        axes.add_patch(
            rectangle((column - 0.48, row - 0.48), 0.96, 0.96, fill=False, edgecolor="#222222", linewidth=1.6)
        )
    war, uar = figure_cells(scores)
    axes.text(column, row - 0.2, f"UAR {uar}", ha="center", va="center", fontsize=7.5, color=colour, fontweight="bold")
    axes.text(column, row + 0.05, f"WAR {war}", ha="center", va="center", fontsize=7, color=colour)
    text = f"{len(one.pair.labels)} labels, n = {one.n:,}"
    axes.text(column, row + 0.3, text, ha="center", va="center", fontsize=7, color=colour)


def ink_on(share: float) -> str:
    """Return a colour of text that can be read on the cell of this UAR."""
    return "white" if share > 0.71 else "black"
