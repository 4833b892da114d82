"""Pictures of results: confusion matrices, learning curves, a comparison of methods, reliability of the probabilities."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gemoclap.metrics import Scores
from gemoclap.metrics.calibration import BINS, Confidence
from gemoclap.reports.canvas import COLOURS, FORMATS, drawing, drawn_length, matplotlib, new_figure, save
from gemoclap.reports.records import Results, RowConfidence
from gemoclap.reports.result_tables import label_with_seeds, resampled
from gemoclap.reports.tables import UNDEFINED, percent, with_interval
from gemoclap.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_CURVES = frozenset({"epoch", "step", "lr", "seconds", "utterances_per_second", "data_wait_seconds", "selected"})
"""Columns of log.jsonl that are not drawn. Of the figures on development speakers (``dev_*``) only ``dev_uar`` is drawn."""


def write_confusion(scores: Scores, path: str | os.PathLike, title: str, formats: Sequence[str] = FORMATS) -> None:
    """Draw a confusion matrix: percentages of each true class, with the counts below.

    Parameters
    ----------
    scores : the scores of one evaluation.
    path : PNG to write; other formats get the same name.
    title : first line of the title; WAR, UAR and the number of utterances follow.
    """
    classes, support = list(scores.recalls), scores.confusion.sum(axis=1, keepdims=True)
    shares = np.divide(scores.confusion, support, out=np.zeros(scores.confusion.shape), where=support > 0)
    side = max(3.2, 0.72 * len(classes) + 1.4)
    names = 0.08 * max(0, max(map(drawn_length, classes)) - 8)  # long names would take the room of cells and title
    with drawing():
        figure = new_figure(side + 0.9 + names, side + 0.6 * names, "tight")
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
        seeds = f"\ncounts of {scores.n_seeds} seeds together" if scores.n_seeds > 1 else ""
        figures = f"UAR {percent(scores.uar)} %, WAR {percent(scores.war)} %, n = {scores.n:,}{seeds}"
        axes.set_title(f"{broken_lines(title, 38)}\n{figures}", pad=9)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=[0, 25, 50, 75, 100])
        bar.set_label("% of the true class")
        bar.outline.set_visible(False)  # type: ignore[operator]
        save(figure, path, formats)


def _write_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray, support: np.ndarray) -> None:
    """Write the percentage and the count into each cell; an empty cell only has a grey 0 or a dash."""
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


def write_curves(
    logs: Mapping[str, Sequence[Mapping[str, Any]]],
    path: str | os.PathLike,
    title: str,
    formats: Sequence[str] = FORMATS,
) -> bool:
    """Draw each loss, and the UAR on the development speakers if there are any, over epochs: one thin line per fold.

    Parameters
    ----------
    logs : fold -> rows of log.jsonl.
    path : PNG to write; other formats get the same name.
    title : title of the whole figure.

    Returns
    -------
    False if there was nothing to draw; then no file is written.
    """
    names = _curve_names(logs)
    if not names:
        return False
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    with drawing():
        figure = new_figure(3.1 * columns + 0.4, 2.5 * rows + 0.7, "constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            _draw_curves(panel, logs, name)
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        figure.suptitle(broken_lines(title, 36 * columns), fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 * columns))
        save(figure, path, formats)
    return True


def has_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    """Whether `write_curves` has anything to draw."""
    return bool(_curve_names(logs))


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
    few = len(curves) <= len(COLOURS)
    for index, (fold, curve) in enumerate(curves.items()):
        colour = COLOURS[index] if few else "#999999"
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
    axes.xaxis.set_major_locator(matplotlib("ticker").MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def write_comparison(results: Results, path: str | os.PathLike, formats: Sequence[str] = FORMATS) -> None:
    """Draw the pooled UAR of each row with its 95 % interval, a circle for each fold (or seed), and a line for guessing."""
    rows = [
        (
            label_with_seeds(row),
            row.scores.uar,
            row.scores.uar_interval,
            row.uar.values if row.uar else [fold.uar for fold in row.first.folds.values()],
        )
        for row in results.scored_rows
        if row.scores is not None
    ]
    parts = "fold or seed" if results.seed_means else "fold"
    legend = f"● pooled, with 95 % interval over {resampled(results)}\n○ one {parts}   ┆ guessing"
    _draw_comparison(rows, results, legend, path, formats)


def _draw_comparison(
    rows: Sequence[tuple[str, float, tuple[float, float], Sequence[float]]],
    results: Results,
    legend: str,
    path: str | os.PathLike,
    formats: Sequence[str],
) -> None:
    """Draw one row per method; `rows` has its label, UAR, interval, and the UARs of single folds or seeds."""
    labels = [broken_lines(label, 30) for label, *_ in rows]
    row_height = max(0.62, 0.16 * max(label.count("\n") + 1 for label in labels) + 0.2)
    with drawing():
        figure = new_figure(6.6, row_height * len(rows) + 1.5, "tight")
        axes = figure.add_subplot()
        for row, (_, uar, interval, parts) in enumerate(rows):
            colour = COLOURS[row % len(COLOURS)]
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
        axes.axvline(100 / len(results.classes), color="#555555", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        # Aligned right, so that long lines have room below the names of the methods.
        axes.set_xlabel(f"UAR (%)\n{legend}", loc="right", fontsize=8)
        axes.set_title(
            f"{results.subject}: {len(results.classes)} classes, {counted(len(results.folds), 'fold')}", loc="left"
        )
        save(figure, path, formats)


def write_reliability(
    named: Mapping[str, RowConfidence], path: str | os.PathLike, formats: Sequence[str] = FORMATS
) -> None:
    """Draw a reliability diagram per panel: the share of correct predictions against confidence.

    Each panel shows the probabilities before the temperature, and after it if one was fitted.

    Parameters
    ----------
    named : title of a panel -> its figures.
    path : PNG to write; other formats get the same name.
    """
    columns = min(3, len(named))
    rows = math.ceil(len(named) / columns)
    with drawing():
        figure = new_figure(2.9 * columns + 0.3, 3.0 * rows + 0.6, "constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (title, one) in zip(panels, named.items(), strict=False):
            panel.plot([0, 100], [0, 100], color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
            if one.after is None:
                _draw_reliability(panel, one.before, COLOURS[1], "", ":")
            else:
                _draw_reliability(panel, one.before, COLOURS[1], "before temperature: ", ":")
                _draw_reliability(panel, one.after, COLOURS[0], "after temperature: ", "-")
            panel.set_title(broken_lines(title, 34), fontsize=8.5)
            panel.set_xlim(0, 100)
            panel.set_ylim(0, 100)
            panel.legend(loc="best", fontsize=7)
            panel.set_xlabel("mean confidence (%)")
            panel.set_ylabel("correct (%)")
        for panel in panels[len(named) :]:
            panel.set_visible(False)
        title = f"Reliability over {BINS} bins of equal width; larger dots: more utterances"
        figure.suptitle(broken_lines(title, 40 * columns), fontsize=9)
        save(figure, path, formats)


def _draw_reliability(axes: Axes, one: Confidence, colour: str, name: str, line: str) -> None:
    filled = one.sizes > 0
    x, y, sizes = 100 * one.confidences[filled], 100 * one.rights[filled], one.sizes[filled]
    axes.plot(x, y, color=colour, linewidth=1.1, linestyle=line, label=f"{name}ECE {percent(one.ece)} %")
    axes.scatter(x, y, s=6 + 90 * sizes / sizes.sum(), color=colour, alpha=0.75, linewidths=0, clip_on=False)


def broken_lines(title: str, width: int) -> str:
    """Return a title broken into lines of at most `width` letters, also inside a long word such as a path.

    Titles of ablations can be long, and what is wider than the figure would be cut off on both sides.
    """
    return textwrap.fill(title, width, break_on_hyphens=False)
