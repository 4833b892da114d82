"""Reports a cross-corpus matrix: as a page, a picture, a table on the terminal, CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gemoclap.config import TITLES
from gemoclap.encoders.provenance import named_speakers
from gemoclap.files import write_json
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, Scores
from gemoclap.recipes.crosscorpus import Corpus, CrossCorpus, Pair
from gemoclap.reports.canvas import FORMATS, drawing, new_figure, save
from gemoclap.reports.page import Picture, write_illustrated
from gemoclap.reports.rows import score_tables
from gemoclap.reports.tables import UNDEFINED, markdown_table, percent, scores_row, with_interval, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOW_TO_READ = (
    "- **WAR** (weighted average recall) is the share of utterances that are predicted correctly. **UAR** (unweighted average "
    "recall) is the mean of the recalls of the labels. Guessing has a UAR of 100 % divided by the number of labels, so cells "
    "with different numbers of labels cannot be compared.\n"
    "- **[95 % CI]**: expanded percentile bootstrap over the speakers of the test corpus, and over seeds if there are several. "
    "It shows how much the figure would change with other speakers (and seeds). With one seed, it says nothing about other "
    "seeds.\n"
    "- A pair uses the labels that both corpora have. The model was trained on these labels only, with all speakers of its "
    "corpus. The diagonal is empty, because no corpus is tested on itself here: use `gemoclap crossval` for that."
)


@dataclass(frozen=True)
class PairResult:
    """A pair, its number of finished seeds, and their mean scores (None if no seed is finished)."""

    pair: Pair
    finished: int
    n_seeds: int
    scores: Scores | None

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


def write_crosscorpus(matrix: CrossCorpus) -> Path:
    """Write crosscorpus.md, .csv, .json and .png into the matrix's folder, finished or not; return the page's path.

    Raises
    ------
    GemoclapError : predictions do not belong to the manifests.
    """
    entries = read_entries(matrix)
    write_csv(matrix.output / "crosscorpus.csv", [_row(one) for one in entries])
    write_json(matrix.output / "crosscorpus.json", _data(matrix, entries))
    pictures: dict[str, Picture] = {"crosscorpus.png": ("UAR of every pair", partial(draw_matrix, matrix, entries))}
    return write_illustrated(matrix.output / "crosscorpus.md", _sections(matrix, entries), pictures)


def read_entries(matrix: CrossCorpus) -> list[PairResult]:
    """Return the results of every ordered pair, in the order of the matrix."""
    entries = []
    for pair in matrix.pairs:
        tables = [] if pair.is_empty else matrix.predictions(pair)
        scores = score_tables(tables) if tables else None
        entries.append(PairResult(pair, len(tables), len(matrix.seeds), scores))
    return entries


# For programs.


def _row(one: PairResult) -> dict[str, Any]:
    first = {
        "trained_on": one.pair.trained, "tested_on": one.pair.tested, "state": one.state, "labels": len(one.pair.labels),
        "label_names": " ".join(one.pair.labels), "finished_seeds": one.finished,
    }  # fmt: skip
    if one.scores is None:
        return first
    return {**first, **scores_row(one.scores), "n": one.n, "n_speakers": one.scores.n_clusters}


def _data(matrix: CrossCorpus, entries: Sequence[PairResult]) -> dict[str, Any]:
    return {
        "method": matrix.method,
        "seeds": list(matrix.seeds),
        "interval": INTERVAL if len(matrix.seeds) == 1 else INTERVAL_SEEDS,
        "warnings": matrix.warnings,
        "corpora": {one.name: _facts(one) for one in matrix.corpora.values()},
        "pairs": [
            {
                "trained_on": one.pair.trained,
                "tested_on": one.pair.tested,
                "labels": list(one.pair.labels),
                "state": one.state,
                "finished_seeds": one.finished,
                "scores": {**one.scores.to_dict(), "n": one.n} if one.scores else None,
            }
            for one in entries
        ],
    }


def _facts(corpus: Corpus) -> dict[str, Any]:
    return {
        "manifest": str(corpus.data.manifest),
        "utterances": len(corpus.rows),
        "speakers": len(named_speakers(corpus.rows)),
        "labels": list(corpus.labels),
    }


# The page.


def _sections(matrix: CrossCorpus, entries: Sequence[PairResult]) -> list[str]:
    seeds = f"{'seed' if len(matrix.seeds) == 1 else 'mean over the seeds'} {', '.join(map(str, matrix.seeds))}"
    title = TITLES[matrix.method]
    lacking = sum(one.finished < one.n_seeds for one in entries if not one.pair.is_empty)
    unfinished = f"**Unfinished:** {lacking} pairs are not finished; repeat the command to resume."
    return [
        f"# {title} across {len(matrix.corpora)} corpora",
        *(f"**Beware: {one}.**" for one in matrix.warnings),
        *([unfinished] if lacking else []),
        f"Encoder `{matrix.settings.model.audio_encoder}`, {matrix.settings.train.epochs} epochs, {seeds}; all settings: "
        "[config.yaml](config.yaml).",
        _corpus_table(matrix),
        "![UAR by training corpus and test corpus](crosscorpus.png)",
        "## UAR",
        "In percent, with [95 % CI]. Rows: corpus that was trained on. Columns: corpus that was tested on.",
        _matrix_table(matrix, entries, "uar"),
        "## WAR",
        _matrix_table(matrix, entries, "war"),
        "## Labels and utterances",
        _pair_table(entries),
        "## How to read this",
        HOW_TO_READ,
        "Figures for programs: [crosscorpus.csv](crosscorpus.csv), [crosscorpus.json](crosscorpus.json). Prediction of each "
        "utterance: cells/TRAINED_to_TESTED/seed_N/predictions.csv. Models, if they are kept: "
        "trainings/TRAINED/LABELS/seed_N/model.",
    ]


def _over(matrix: CrossCorpus) -> str:
    """Return in words what the intervals resample."""
    return "test speakers and seeds" if len(matrix.seeds) > 1 else "test speakers"


def _corpus_table(matrix: CrossCorpus) -> str:
    rows = [
        [name, f"`{facts['manifest']}`", f"{facts['utterances']:,}", str(facts["speakers"]), ", ".join(facts["labels"])]
        for name, facts in ((one.name, _facts(one)) for one in matrix.corpora.values())
    ]
    return markdown_table(["corpus", "manifest", "utterances", "speakers", "labels"], rows, text_columns=2)


def _matrix_table(matrix: CrossCorpus, entries: Sequence[PairResult], figure: str) -> str:
    def words(one: PairResult | None) -> str:
        if one is None:
            return ""
        return _figure(one, figure) if one.scores else one.state

    header = ["trained on", *(f"tested on {name}" for name in matrix.corpora)]
    return markdown_table(header, [[name, *map(words, row)] for name, row in _grid(matrix, entries).items()])


def _grid(matrix: CrossCorpus, entries: Sequence[PairResult]) -> dict[str, list[PairResult | None]]:
    """Return the entries by row; None on the diagonal."""
    by_pair = {(one.pair.trained, one.pair.tested): one for one in entries}
    names = list(matrix.corpora)
    return {trained: [by_pair.get((trained, tested)) for tested in names] for trained in names}


def _figure(one: PairResult, figure: str) -> str:
    assert one.scores is not None
    words = with_interval(getattr(one.scores, figure), getattr(one.scores, f"{figure}_interval"))
    return words if one.finished == one.n_seeds else f"{words} ({one.state})"


def _pair_table(entries: Sequence[PairResult]) -> str:
    rows = [
        [
            one.pair.trained,
            one.pair.tested,
            f"{len(one.pair.labels)}: {', '.join(one.pair.labels)}" if one.pair.labels else "0",
            f"{one.n:,}" if one.scores else UNDEFINED,
            str(one.scores.n_clusters) if one.scores else UNDEFINED,
            UNDEFINED if one.pair.is_empty else percent(1 / len(one.pair.labels)),
            one.state,
        ]
        for one in entries
    ]
    header = ["trained on", "tested on", "labels", "utterances tested", "speakers", "UAR of guessing", "state"]
    return markdown_table(header, rows, text_columns=3)


# The picture.


def draw_matrix(
    matrix: CrossCorpus, entries: Sequence[PairResult], path: Path, formats: Sequence[str] = FORMATS
) -> None:
    """Draw the UAR of every pair. A darker cell has a higher UAR; each cell shows its figures, labels and utterances."""
    grid = _grid(matrix, entries)
    names, side = list(grid), len(grid)
    shares = np.array([[one.scores.uar if one and one.scores else np.nan for one in row] for row in grid.values()])
    with drawing():
        figure = new_figure(1.55 * side + 2.2, 1.15 * side + 1.5, "constrained")
        axes = figure.add_subplot()
        # One hue that only gets darker, so that the order of the cells is the same in a grey copy.
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for row, entries_of_row in enumerate(grid.values()):
            for column, one in enumerate(entries_of_row):
                _write_cell(axes, column, row, one)
        axes.set_xticks(range(side), names)
        axes.set_yticks(range(side), names)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_facecolor("#F2F2F2")  # empty cells
        axes.set_xlabel("tested on")
        axes.set_ylabel("trained on")
        axes.set_title(f"{TITLES[matrix.method]} across corpora, in percent", pad=9)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=[0, 25, 50, 75, 100])
        bar.set_label("UAR (%)")
        bar.outline.set_visible(False)  # type: ignore[operator]
        figure.supxlabel(
            f"[95 % interval over {_over(matrix)}]; guessing has a UAR of 100 % / number of labels",
            fontsize=7.5,
        )
        save(figure, path, formats)


def _write_cell(axes: Axes, column: int, row: int, one: PairResult | None) -> None:
    if one is None or one.scores is None:
        text = UNDEFINED if one is None else one.state.replace(" shared", "\nshared")
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="#6A6A6A")
        return
    scores = one.scores
    colour = ink_on(scores.uar)
    uar, war = (with_interval(*pair) for pair in ((scores.uar, scores.uar_interval), (scores.war, scores.war_interval)))
    axes.text(column, row - 0.2, f"UAR {uar}", ha="center", va="center", fontsize=7.5, color=colour, fontweight="bold")
    axes.text(column, row + 0.05, f"WAR {war}", ha="center", va="center", fontsize=7, color=colour)
    text = f"{len(one.pair.labels)} labels, n = {one.n:,}"
    axes.text(column, row + 0.3, text, ha="center", va="center", fontsize=7, color=colour)


def ink_on(share: float) -> str:
    """Return a colour of text that can be read on the cell of this UAR."""
    return "white" if share > 0.71 else "black"


# A terminal.


def print_crosscorpus(matrix: CrossCorpus, console: Console) -> None:
    """Print the matrix. A cell has UAR, WAR, and the numbers of labels and utterances, one below the other."""
    for warning in matrix.warnings:
        console.print(f"[bold red]Beware: {escape(warning)}.[/]")
    table = Table(
        title=f"{TITLES[matrix.method]} across corpora, in percent: upper line UAR, lower line WAR",
        caption=f"rows: trained on; columns: tested on; [95 % interval over {_over(matrix)}]",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_lines=True,
    )
    table.add_column("trained on", overflow="fold")
    for name in matrix.corpora:
        table.add_column(escape(name), justify="right")
    for name, row in _grid(matrix, read_entries(matrix)).items():
        table.add_row(escape(name), *(escape(_lines(one)) for one in row))
    console.print(table)


def _lines(one: PairResult | None) -> str:
    if one is None:
        return UNDEFINED
    if one.scores is None:
        return one.state
    return f"{_figure(one, 'uar')}\n{_figure(one, 'war')}\n{len(one.pair.labels)} labels, n {one.n:,}"
