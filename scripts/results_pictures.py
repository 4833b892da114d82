"""Draws the pictures of the pages again, from records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from results_crosscorpus import entries_of
from results_parts import nan
from results_tables import comparison_of

from gemoclap.reports import corpus_matrix, ems, plots, sweep
from gemoclap.reports.canvas import drawing, new_figure, save

Record = Mapping[str, Any]
FORMATS = ("png",)


def draw_pictures(records: Mapping[str, Record], folder: Path) -> list[Path]:
    """Draw every picture of `PICTURES` whose record exists; return their paths."""
    drawn = []
    for name, (draw, record) in PICTURES.items():
        if record in records:
            draw(records[record], folder / name)
            drawn.append(folder / name)
    return drawn


def draw_methods(record: Record, path: Path) -> None:
    """Draw the UAR of every method of a cross-validation, with its interval, and a ring for each seed, or else each fold."""

    def row_of(row: Record) -> SimpleNamespace:
        value, *interval = map(nan, row["uar"])
        return SimpleNamespace(
            title=row["title"],
            seeds=tuple(row["seeds"]),
            scores=SimpleNamespace(uar=value, uar_interval=tuple(interval)),
            uar=SimpleNamespace(values=list(row["seeds"].values())) if row["seeds"] else None,
            first=SimpleNamespace(
                folds={name: SimpleNamespace(uar=uar) for name, uar in row["folds"].items()}, missing=()
            ),
        )

    rows = [row_of(row) for row in record["rows"].values()]
    corpus = record["corpus"]
    plots.write_comparison(
        SimpleNamespace(  # type: ignore[arg-type]
            scored_rows=rows,
            seed_means=[row for row in rows if row.seeds],
            classes=list(corpus["classes"]),
            subject=record["title"].partition(",")[0],
            folds=list(corpus["folds"]),
        ),
        path,
        FORMATS,
    )


def draw_crosscorpus(record: Record, path: Path) -> None:
    """Draw the matrix of training corpora and test corpora."""
    matrix = SimpleNamespace(
        corpora=list(record["corpora"]), method=record["method"], seeds=record["seeds"], output=path.parent
    )
    corpus_matrix.draw_matrix(matrix, entries_of(record), path, FORMATS)  # type: ignore[arg-type]


def draw_sweep(record: Record, path: Path) -> None:
    """Draw the UAR on development speakers by the value of a setting."""
    ((name, values),) = record["over"].items()
    tried = []
    for method in record["rows"]:
        rows = {row[name]: row for row in record["development"] if row["method"] == method}
        means = [rows[value]["development_uar"] for value in values]
        deviations = [nan(rows[value]["development_uar_sd"]) for value in values]
        tried.append(SimpleNamespace(method=method, means=means, deviations=deviations))
    one = SimpleNamespace(
        axes={name: values},
        seeds=record["seeds"],
        combinations=[SimpleNamespace(values={name: SimpleNamespace(shown=value)}) for value in values],
    )
    sweep.draw(one, tried, path, FORMATS)  # type: ignore[arg-type]


def draw_ems(record: Record, path: Path) -> None:
    """Draw the UAR of every way to pre-train."""
    ems.draw_comparison(*comparison_of(record), path, FORMATS)


def draw_layers(record: Record, path: Path) -> None:
    """Draw the UAR of every layer, a line a corpus with its interval as a band."""
    with drawing():
        figure = new_figure(7, 4.2, "constrained")
        axes = figure.add_subplot()
        corpora = list(dict.fromkeys(row["corpus"] for row in record["rows"].values()))
        for corpus, marker in zip(corpora, cycle("osD^v*"), strict=False):
            own = [row for row in record["rows"].values() if row["corpus"] == corpus]
            uar = 100 * np.array([row["uar"] for row in own], float)
            (line,) = axes.plot(uar[:, 0], marker=marker, label=f"{corpus}, {own[0]['classes']} classes")
            axes.fill_between(range(len(own)), uar[:, 1], uar[:, 2], color=line.get_color(), alpha=0.12)
        axes.set(xlabel="layer (0 is the input of the first)", ylabel="UAR (%)", title="frozen encoder, linear probe")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower center", fontsize="small")
        save(figure, path, FORMATS)


PICTURES: dict[str, tuple[Callable[[Record, Path], None], str]] = {
    "ravdess_whisper.png": (draw_methods, "ravdess"),
    "whisper_layers.png": (draw_layers, "layers"),
    "alpha.png": (draw_sweep, "alpha_ravdess"),
    "crosscorpus.png": (draw_crosscorpus, "cross"),
    "ems.png": (draw_ems, "ems"),
    "ems_hour.png": (draw_ems, "ems_hour"),
}
"""File in docs/images -> how it is drawn, and from which record."""
