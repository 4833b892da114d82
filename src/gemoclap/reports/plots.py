"""Pictures of results: confusion matrices, learning curves, methods side by side.

Figures are drawn on their own Agg canvases, without pyplot, so nothing global changes and no display is needed. Colours
are Okabe and Ito's, which people with colour-blindness can tell apart.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gemoclap.metrics import Scores
from gemoclap.reports.results import Results
from gemoclap.reports.tables import UNDEFINED, count, method_label, percent, with_interval
from gemoclap.writing import atomic_write

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#B8A900")
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
DPI = 150
NOT_CURVES = frozenset({"epoch", "step", "lr", "seconds", "utterances_per_second", "data_wait_seconds", "selected"})
"""Columns of log.jsonl that are not drawn; of the development figures (``dev_*``) only ``dev_uar`` is."""


def write_confusion(scores: Scores, path: str | os.PathLike, title: str) -> None:
    """Draw a confusion matrix: rows in percent of the true class, with the counts beneath.

    Parameters
    ----------
    scores : of one evaluation.
    path : PNG to write.
    title : first line of the title; WAR, UAR and the number of utterances follow.
    """
    classes, support = list(scores.recalls), scores.confusion.sum(axis=1, keepdims=True)
    shares = np.divide(scores.confusion, support, out=np.zeros(scores.confusion.shape), where=support > 0)
    side = max(3.2, 0.72 * len(classes) + 1.4)
    with rc_context(STYLE):
        figure = Figure(figsize=(side + 0.9, side), dpi=DPI, layout="tight")
        axes = figure.add_subplot()
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
        _write_cells(axes, scores.confusion, shares, support.ravel())
        axes.set_xticks(range(len(classes)), classes, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(
            range(len(classes)), [f"{name}\nn = {n:,}" for name, n in zip(classes, support[:, 0], strict=True)]
        )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        figures = f"UAR {percent(scores.uar)} %, WAR {percent(scores.war)} %, n = {scores.n:,}"
        axes.set_title(f"{_lines(title)}\n{figures}", pad=9)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=[0, 25, 50, 75, 100])
        bar.set_label("% of the true class")
        bar.outline.set_visible(False)  # type: ignore[operator]
        _save(figure, path)


def _write_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray, support: np.ndarray) -> None:
    """Write percent over count into each cell; a lone grey 0 or dash keeps empty cells out of the way."""
    for row, column in np.ndindex(*counts.shape):
        if counts[row, column] == 0:
            text = "0" if support[row] else UNDEFINED
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="#8A8A8A")
            continue
        share = shares[row, column]
        axes.text(
            column, row, f"{100 * share:.1f}\n({counts[row, column]:,})",
            ha="center", va="center", fontsize=7.5, linespacing=1.25,
            color="white" if share > 0.62 else "#1A1A1A",
            fontweight="bold" if row == column else "normal",
        )  # fmt: skip


def write_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike, title: str) -> bool:
    """Draw each logged loss, and the UAR on the development speakers where logged, by epoch: a thin line a fold.

    Parameters
    ----------
    logs : rows of log.jsonl by fold.
    path : PNG to write.
    title : of the whole figure.

    Returns
    -------
    Whether there was anything to draw; nothing is written otherwise.
    """
    names = _curve_names(logs)
    if not names:
        return False
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.1 * columns + 0.4, 2.5 * rows + 0.7), dpi=DPI, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            _draw_curves(panel, logs, name)
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        figure.suptitle(_lines(title, 36 * columns), fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 * columns))
        _save(figure, path)
    return True


def _curve_names(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the columns to draw: the total loss, the other losses as logged, the development UAR last."""
    logged = dict.fromkeys(
        name
        for rows in logs.values()
        for row in rows
        for name, value in row.items()
        if isinstance(value, int | float) and name not in NOT_CURVES and not name.startswith("dev_")
    )
    has_dev = any("dev_uar" in row for rows in logs.values() for row in rows)
    return sorted(logged, key=lambda name: name != "loss") + (["dev_uar"] if has_dev else [])


def _draw_curves(axes: Axes, logs: Mapping[str, Sequence[Mapping[str, Any]]], name: str) -> None:
    scale = 100 if name == "dev_uar" else 1
    curves = {
        fold: {row["epoch"]: scale * row[name] for row in rows if row.get(name) is not None}
        for fold, rows in logs.items()
    }
    few = len(curves) <= len(OKABE_ITO)
    for index, (fold, curve) in enumerate(curves.items()):
        colour = OKABE_ITO[index] if few else "#999999"
        label = fold if few else ("folds" if index == 0 else "_")
        axes.plot(
            list(curve), list(curve.values()), color=colour, alpha=0.9 if few else 0.5, label=label,
            linewidth=0.9, marker="o" if len(curve) == 1 else "", markersize=4,
        )  # fmt: skip
    if len(curves) > 1:
        common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
        mean = [float(np.mean([curve[epoch] for curve in curves.values()])) for epoch in common]
        axes.plot(common, mean, color="black", linewidth=1.8, label="mean of folds")
    axes.set_title("UAR on the development speakers (%)" if name == "dev_uar" else name.replace("_", " "))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def write_comparison(results: Results, path: str | os.PathLike) -> None:
    """Draw each method's pooled UAR with its 95 % interval over speakers, and a point for each of its folds."""
    rows = [
        (
            method_label(method),
            method.pooled.uar,
            method.pooled.uar_interval,
            [fold.uar for fold in method.folds.values()],
        )
        for method in results.scored
        if method.pooled is not None
    ]
    _draw_comparison(rows, results, "● pooled, bar: 95 % interval over speakers   ○ one fold", path)


def write_seed_comparison(results: Results, path: str | os.PathLike) -> None:
    """Draw the mean UAR over seeds of each method that has several, with its 95 % interval over speakers, and every seed's."""
    rows = [(one.title, one.uar.mean, one.uar_interval, one.uar.values) for one in results.seed_means]
    _draw_comparison(rows, results, "● mean over seeds, bar: 95 % interval over speakers   ○ one seed", path)


def _draw_comparison(
    rows: Sequence[tuple[str, float, tuple[float, float], Sequence[float]]],
    results: Results,
    legend: str,
    path: str | os.PathLike,
) -> None:
    """Draw a row a method: its label, a UAR, the interval of that, and what it is the UAR of."""
    labels = [_lines(label, 30) for label, *_ in rows]
    row_height = max(0.62, 0.16 * max(label.count("\n") + 1 for label in labels) + 0.2)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, row_height * len(rows) + 1.5), dpi=DPI, layout="tight")
        axes = figure.add_subplot()
        for row, (_, uar, interval, parts) in enumerate(rows):
            colour = OKABE_ITO[row % len(OKABE_ITO)]
            axes.scatter(
                [100 * part for part in parts], [row + 0.17] * len(parts),
                s=22, facecolors="none", edgecolors=colour, linewidths=1, alpha=0.8,
            )  # fmt: skip
            low, high = (100 * bound for bound in interval)
            axes.plot([low, high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot(100 * uar, row, marker="o", markersize=8, color=colour)
            axes.text(
                1.015, row, with_interval(uar, interval),
                transform=axes.get_yaxis_transform(), va="center", color="#222222",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(f"UAR (%)   {legend}")
        axes.set_title(
            f"{results.vocabulary}: {len(results.classes)} classes, {count(results.folds, 'fold')}", loc="left"
        )
        _save(figure, path)


def _lines(title: str, width: int = 42) -> str:
    """Return a title in as many lines as it needs: that of an ablation names what differs."""
    return textwrap.fill(title, width, break_on_hyphens=False, break_long_words=False)


def _save(figure: Figure, path: str | os.PathLike) -> None:
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=DPI)
