"""Writes Table 1 as a page, CSV, JSON and LaTeX. On IEMOCAP, the paper's own figures are shown too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from gemoclap.config import TITLES
from gemoclap.files import write_json
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, without_nan
from gemoclap.recipes.made import read_made
from gemoclap.recipes.table1 import Table
from gemoclap.reports.document import Chapter, Content, Document, Grid, write_document
from gemoclap.reports.latex import latex_table
from gemoclap.reports.paper import PUBLISHED, published
from gemoclap.reports.protocol import means, protocol_grid, protocol_of, use_of_encoder, versions
from gemoclap.reports.published import GEMO_CLAP, READINGS
from gemoclap.reports.records import Results, cautions_of
from gemoclap.reports.table1_cells import Entry, TableResults
from gemoclap.reports.tables import (
    UNDEFINED,
    Cells,
    figure_cells,
    new_table,
    percent,
    print_cautions,
    with_sd,
    write_csv,
)
from gemoclap.wording import counted
from gemoclap.writing import atomic_write


def write_table1(found: TableResults) -> Path:
    """Write table1.md, .html, .csv, .json and .tex into the table's folder, finished or not; return the page's path."""
    table, entries, first = found.table, found.entries, found.first
    write_csv(table.output / "table1.csv", [_row(table, one) for one in entries])
    cells = [_data(table, one) for one in entries]
    write_json(
        table.output / "table1.json", {"interval": INTERVAL_SEEDS if len(table.seeds) > 1 else INTERVAL, "cells": cells}
    )
    with atomic_write(table.output / "table1.tex") as file:
        file.write(_latex(table, entries, first))
    return write_document(_document(table, entries, first), table.output / "table1")


# For programs.


def _row(table: Table, one: Entry) -> dict[str, Any]:
    """Return a cell's figures, shares between 0 and 1, as CSV cells by column."""
    row: dict[str, Any] = {
        "encoder": one.encoder, "audio_encoder": table.encoders[one.encoder], "method": one.method, "state": one.state,
        "seeds": len(one.seeds), "finished_seeds": len(one.finished),
    }  # fmt: skip
    for name, value in without_nan(_figures(one)).items():
        row[name] = f"{value:.6f}" if isinstance(value, float) else value
    return row | _paper_columns(table, one)


def _figures(one: Entry) -> dict[str, Any]:
    if one.scores is None:
        return {}
    scores = one.scores
    return {
        "n": scores.n, "n_speakers": scores.n_clusters,
        "war": scores.war, "war_low": scores.war_interval[0], "war_high": scores.war_interval[1],
        "uar": scores.uar, "uar_low": scores.uar_interval[0], "uar_high": scores.uar_interval[1],
        **{f"{name}_mean_of_folds": one.mean_of_folds(name) for name in ("war", "uar")},
        **{f"{name}_sd_over_folds": one.mean_of_folds(f"{name}_sd") for name in ("war", "uar")},
    }  # fmt: skip


def _paper_columns(table: Table, one: Entry) -> dict[str, float | None]:
    """Return the paper's figures as shares, in both readings, where there are some."""
    found = published(one.encoder, table.encoders[one.encoder], one.method) if table.is_iemocap else None
    if found is None:
        return {}
    return {
        f"paper_{name}_{reading}": share
        for reading in READINGS
        for name, share in zip(("war", "uar"), found.shares(reading), strict=True)
    }


def _data(table: Table, one: Entry) -> dict[str, Any]:
    first = {"encoder": one.encoder, "audio_encoder": table.encoders[one.encoder], "method": one.method}
    return {
        **first,
        "state": one.state,
        "seeds": list(one.seeds),
        "finished_seeds": len(one.finished),
        **without_nan(_figures(one)),
        **_paper_columns(table, one),
    }


# The page.


def _document(table: Table, entries: Sequence[Entry], first: Results | None) -> Document:
    in_percent = (
        f"WAR / UAR in percent, each with its 95 % interval over {_over(table)}: how much it would change with others."
    )
    of_folds = (
        "WAR / UAR in percent; all folds count the same; ± is the standard deviation over folds. To compare with a published "
        "figure, use the table with the same kind of mean."
    )
    beside = _beside_the_paper(table, entries)
    parts = [
        Chapter("All test utterances together", (Grid(in_percent, _cells(table, entries, _pooled)),)),
        Chapter("Mean of folds", (Grid(of_folds, _cells(table, entries, _by_fold)),)),
        *([Chapter("Comparison with the paper", beside)] if beside else []),
        *([Chapter("Protocol", (_protocol(table, first, bool(beside)),))] if first else []),
    ]
    return Document(
        f"Audio encoders by methods{f' on {first.subject}' if first else ''}",
        (*_warnings(first), *(f"**Beware: {one}.**" for one in _cautions(entries)), *_unfinished(entries)),
        tuple(parts),
        "Settings of all cells: [config.yaml](config.yaml). Figures for programs: [table1.csv](table1.csv), "
        "[table1.json](table1.json). For a paper: [table1.tex](table1.tex). As one web page: [table1.html](table1.html). "
        "Each cell is a run of its own in cells/, with its own report.md; `gemoclap report` compares several of them.",
    )


def _over(table: Table) -> str:
    """Return in words what the intervals resample."""
    return "speakers and seeds" if len(table.seeds) > 1 else "speakers"


def _warnings(first: Results | None) -> list[str]:
    if first is None:
        return []
    shared = ["speakers are shared between training and test: the figures are not speaker-independent"]
    return [f"**Beware: {one}.**" for one in (*(shared if first.speaker_overlap else ()), *first.encoder_warnings)]


def _cautions(entries: Sequence[Entry]) -> list[str]:
    return cautions_of(one.scores for one in entries)


def _unfinished(entries: Sequence[Entry]) -> list[str]:
    lacking = sum(not one.is_finished for one in entries)
    if not lacking:
        return []
    asked = sum(bool(one.seeds) for one in entries)
    return [
        f"**Unfinished:** {lacking} of {asked} cells; each shows how far it is. To resume, repeat the command that requested "
        "the cell."
    ]


def _protocol(table: Table, first: Results, beside: bool) -> Grid:
    """Return the protocol of all cells, beside that of the paper if its figures are shown."""
    folders = (one.folder / one.method / fold.name for one in table.cells for fold in first.folds)
    here = protocol_of(first) | {
        **means(table.seeds),
        "audio encoder": _encoders(table, first),
        "versions": versions(read_made(folders)),
    }
    published = {GEMO_CLAP.groups[0].title: GEMO_CLAP.groups[0].protocol} if beside else {}
    return protocol_grid({"here": here}, published)


def _encoders(table: Table, first: Results) -> str:
    named = [name if name == one else f"{name} is {one}" for name, one in table.encoders.items()]
    return "; ".join([*named, *([", ".join(use)] if (use := use_of_encoder(first.config.get("model") or {})) else [])])


def _cells(table: Table, entries: Sequence[Entry], words: Any) -> Cells:
    header = ["audio encoder", *(f"{TITLES[method]} WAR / UAR" for method in table.methods)]
    return header, _rows(table, entries, words)


def _rows(table: Table, entries: Sequence[Entry], words: Any) -> list[list[str]]:
    return [[name, *(words(one) for one in entries if one.encoder == name)] for name in table.encoders]


def _pooled(one: Entry) -> str:
    if one.scores is None:
        return one.instead
    return one.beside(" / ".join(figure_cells(one.scores)))


def _by_fold(one: Entry) -> str:
    if one.scores is None:
        return one.instead
    pairs = ((one.mean_of_folds(name), one.mean_of_folds(f"{name}_sd")) for name in ("war", "uar"))
    return one.beside(" / ".join(with_sd(*pair) for pair in pairs))


def _beside_the_paper(table: Table, entries: Sequence[Entry]) -> tuple[Content, ...]:
    """Return a table of our figures and the paper's, for encoders that the paper has; nothing if the corpus is not IEMOCAP."""
    rows = []
    for name, encoder in table.encoders.items():
        own = [one for one in entries if one.encoder == name]
        found = [published(name, encoder, one.method) for one in own]
        if not table.is_iemocap or not any(found):
            continue
        rows.append([name, "here", *(_short(one) for one in own)])
        title = next(one.encoder for one in found if one)
        for reading, labels in READINGS.items():
            cells = [" / ".join(one.cells(reading)) if one else UNDEFINED for one in found]
            rows.append([title, f"the paper, labelled as in its {labels}", *cells])
    if not rows:
        return ()
    header = ["audio encoder", "source", *(f"{TITLES[method]} WAR / UAR" for method in table.methods)]
    return PUBLISHED, Grid("In percent, all test utterances together.", (header, rows), text_columns=2)


def _short(one: Entry) -> str:
    if one.scores is None:
        return one.instead
    return one.beside(f"{percent(one.scores.war)} / {percent(one.scores.uar)}")


def _latex(table: Table, entries: Sequence[Entry], first: Results | None) -> str:
    ours = [(name, [_latex_cells(one) for one in entries if one.encoder == name]) for name in table.encoders]
    blocks = [("", ours)]
    if table.is_iemocap:
        blocks += [
            (f"Pan et al., labelled as in their {labels}", rows)
            for reading, labels in READINGS.items()
            if (rows := _paper_rows(table, reading))
        ]
    what = f" on {first.subject}, {counted(len(first.folds), 'fold')}" if first else ""
    interval = f"with 95 % intervals over {_over(table)}"
    caption = f"Audio encoders by methods{what}: in percent, all test utterances together, {interval}."
    return latex_table(caption, [TITLES[method] for method in table.methods], ("WAR", "UAR"), blocks)


def _latex_cells(one: Entry) -> list[str]:
    """Return WAR and UAR, or the state of an unfinished cell in a single cell."""
    if one.scores is None:
        return [one.instead]
    return figure_cells(one.scores)


def _paper_rows(table: Table, reading: str) -> list[tuple[str, list[list[str]]]]:
    rows = []
    for name, encoder in table.encoders.items():
        found = [published(name, encoder, method) for method in table.methods]
        if any(found):
            title = next(one.encoder for one in found if one)
            cells = [[*one.cells(reading)] if one else [UNDEFINED] * 2 for one in found]
            rows.append((title, cells))
    return rows


# A terminal.


def print_table1(found: TableResults, console: Console) -> None:
    """Print the table: WAR above UAR, with intervals, or the state of a cell that is not finished."""
    table, entries, first = found.table, found.entries, found.first
    grid = new_table(
        f"{first.subject if first else 'table 1'}, in percent",
        f"WAR above UAR, all test utterances together [95 % interval over {_over(table)}]",
    )
    grid.add_column("audio encoder", overflow="fold")
    for method in table.methods:
        grid.add_column(TITLES[method], justify="right", no_wrap=True)
    for row in _rows(table, entries, _pooled):
        grid.add_row(escape(row[0]), *(escape(cell.replace(" / ", "\n")) for cell in row[1:]))
    console.print(grid)
    print_cautions(_cautions(entries), console)
