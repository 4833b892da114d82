"""Writes a comparison of systems: tables on a terminal, a page in Markdown, CSV, JSON, LaTeX, and a picture of differences."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from gemoclap.files import json_or_empty, write_json
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, least_p
from gemoclap.reports.canvas import COLOURS, FORMATS, check_formats, drawing, new_figure, save
from gemoclap.reports.comparison import SystemComparison, SystemPair, pair_row
from gemoclap.reports.illustrated import Picture, write_illustrated
from gemoclap.reports.latex import plain_latex_table
from gemoclap.reports.plots import broken_lines
from gemoclap.reports.records import LEVEL
from gemoclap.reports.tables import (
    UNDEFINED,
    WITH_INTERVALS,
    drawn_table,
    figure_cells,
    markdown_table,
    p_value,
    percent,
    scores_row,
    verdict,
    with_points,
    write_csv,
)
from gemoclap.wording import counted
from gemoclap.writing import atomic_write, refuse_used_folder

PAGE, DATA, PAIRS, SYSTEMS, LATEX = (
    f"comparison{end}" for end in (".md", ".json", "_pairs.csv", "_systems.csv", ".tex")
)
PICTURE = "comparison.png"
ONLY_ON_THE_PAGE = ("p over speakers", "p McNemar over clips", "McNemar corrected")
"""Columns of the pairs for which a terminal has no room."""
SYSTEM_COLUMNS = ("system", "WAR [95 % CI]", "UAR [95 % CI]", "macro F1 [95 % CI]", "source")


def write_comparison_files(comparison: SystemComparison, output: Path, formats: Sequence[str] = FORMATS) -> Path:
    """Write the page, both tables as CSV and LaTeX, JSON, and the picture into the folder `output`; return the page's path.

    Raises
    ------
    GemoclapError : a format is unknown, or the folder contains something other than an earlier comparison.
    """
    formats = list(dict.fromkeys(["png", *formats]))
    check_formats(formats)
    refuse_others(output)
    write_json(output / DATA, comparison_data(comparison, output))
    write_csv(output / PAIRS, [pair_row(comparison, pair) for pair in comparison.pairs])
    write_csv(output / SYSTEMS, _system_rows(comparison))
    with atomic_write(output / LATEX) as file:
        file.write("\n".join(_latex(comparison)))
    caption = "UAR of each system minus UAR of another, with the 95 % interval; filled: the two differ"
    pictures: dict[str, Picture] = {PICTURE: (caption, partial(plot_pairs, comparison))}
    sections = [*comparison_sections(comparison), f"![{caption}]({PICTURE})"]
    return write_illustrated(output / PAGE, sections, pictures, formats)


def refuse_others(output: Path) -> None:
    """Raise a GemoclapError if a folder has files, but no earlier comparison."""
    if "pairs" not in json_or_empty(output / DATA):
        refuse_used_folder(output)


# A terminal.


def print_comparison(comparison: SystemComparison, console: Console) -> None:
    """Print the scores of each system and the differences of each pair; the page has more columns."""
    for remark in comparison.remarks:
        console.print(f"[bold red]Beware: {escape(remark)}.[/]")
    caption = f"in percent; brackets are intervals: {_interval(comparison)}"
    # The last column, the source, would leave no room for the figures; the page has it.
    systems = [row[:-1] for row in _system_table(comparison)]
    console.print(drawn_table(SYSTEM_COLUMNS[:-1], systems, _title(comparison), caption))
    header, rows = _pair_table(comparison)
    places = [header.index(name) for name in header if name not in ONLY_ON_THE_PAGE]
    console.print()
    console.print(
        drawn_table(
            [header[place] for place in places],
            [[row[place] for place in places] for row in rows],
            "every pair",
            _pair_caption(comparison),
        )
    )


# Data for programs.


def comparison_data(comparison: SystemComparison, output: Path) -> dict[str, Any]:
    """Return plain data for JSON: scores between 0 and 1, sources relative to the folder."""
    return {
        "systems": [
            {
                "name": system.name,
                "source": os.path.relpath(system.source, output),
                "seeds": list(system.seeds),
                **scores.to_dict(),
            }
            for system, scores in zip(comparison.systems, comparison.scores, strict=True)
        ],
        "pairs": [pair_row(comparison, pair) for pair in comparison.pairs],
        "classes": list(comparison.classes),
        "n": comparison.n,
        "n_speakers": comparison.n_speakers,
        "interval": _interval(comparison),
        "test": "uar_p, war_p: permutation over speakers; mcnemar_p: McNemar's exact test over clips; _holm: for all pairs",
        "remarks": list(comparison.remarks),
    }


def _system_rows(comparison: SystemComparison) -> list[dict[str, Any]]:
    return [
        {"system": system.name, "seeds": " ".join(map(str, system.seeds)), **scores_row(scores)}
        for system, scores in zip(comparison.systems, comparison.scores, strict=True)
    ]


def _interval(comparison: SystemComparison) -> str:
    return INTERVAL_SEEDS if any(system.seeds for system in comparison.systems) else INTERVAL


# The page.


def comparison_sections(comparison: SystemComparison) -> list[str]:
    """Return the paragraphs of the page."""
    header, rows = _pair_table(comparison)
    return [
        f"# {_title(comparison)}",
        *(f"**Beware: {remark}.**" for remark in comparison.remarks),
        f"In percent. Brackets are intervals: {_interval(comparison)}.",
        markdown_table(SYSTEM_COLUMNS, _system_table(comparison)),
        "## Every pair",
        _pair_caption(comparison),
        markdown_table(header, rows),
        "## How to read this",
        _how_to_read(comparison),
    ]


def _title(comparison: SystemComparison) -> str:
    classes = counted(_labelled_classes(comparison), "class", "classes")
    clips = f"{counted(comparison.n, 'clip')} of {counted(comparison.n_speakers, 'speaker')}, {classes}"
    return f"{counted(len(comparison.systems), 'system')} compared on {clips}"


def _labelled_classes(comparison: SystemComparison) -> int:
    """Return how many classes some clip is labelled with. A system may answer others, too."""
    return sum(support > 0 for support in comparison.scores[0].confusion.sum(axis=1))


def _pair_caption(comparison: SystemComparison) -> str:
    pairs = counted(len(comparison.pairs), "comparison")
    return f"Differences in points, paired by speaker. p is corrected for {pairs} (Holm)."


def _system_table(comparison: SystemComparison) -> list[list[str]]:
    rows = []
    for system, scores in zip(comparison.systems, comparison.scores, strict=True):
        rows.append([_label(comparison, system.name), *figure_cells(scores, WITH_INTERVALS), f"`{system.source}`"])
    return rows


def _label(comparison: SystemComparison, name: str) -> str:
    seeds = next(system.seeds for system in comparison.systems if system.name == name)
    return f"{name} (mean of {len(seeds)} seeds)" if seeds else name


def _pair_table(comparison: SystemComparison) -> tuple[list[str], list[list[str]]]:
    header = [
        "pair", "UAR difference [95 % CI]", "p over speakers", "p corrected", "differs",
        "WAR difference [95 % CI]", "p McNemar over clips", "McNemar corrected",
    ]  # fmt: skip
    rows = [
        [
            _minus(comparison, pair),
            with_points(pair.differences["uar"]),
            p_value(pair.p["uar"]),
            p_value(pair.p_corrected["uar"]),
            verdict(pair.differs),
            with_points(pair.differences["war"]),
            p_value(pair.mcnemar),
            p_value(pair.mcnemar_corrected),
        ]
        for pair in comparison.pairs
    ]
    return header, rows


def _minus(comparison: SystemComparison, pair: SystemPair) -> str:
    return f"{comparison.systems[pair.second].name} minus {comparison.systems[pair.first].name}"


def _how_to_read(comparison: SystemComparison) -> str:
    seeds = any(system.seeds for system in comparison.systems)
    guessing = percent(1 / _labelled_classes(comparison))
    lines = [
        "- **WAR** is the share of clips with the right answer, **UAR** the mean of the recalls of the classes, **macro F1** "
        f"the mean of the F1 of the classes. Guessing has a UAR of {guessing} %.",
        "- **Intervals** resample whole speakers, the same ones for both systems of a pair, because clips of one speaker are "
        "not independent. They are not corrected for the number of pairs."
        + (
            " Seeds are resampled too."
            if seeds
            else " They say nothing about other seeds: train with several for that."
        ),
        "- **p over speakers** (permutation test): if two systems were equally good, each speaker's clips could just as well "
        "have been answered by the other system. p is the share of such exchanges that give a UAR difference at least as large."
        f" With S speakers it is at least 2 / 2^S{_least(comparison.n_speakers)}.",
        "- **p McNemar over clips** counts the clips that only one of the two systems gets right, and treats clips as "
        "independent. Clips of one speaker are not, so it is too sure: a small p there speaks of these speakers, not of "
        "others. It is only defined for single trainings, not for means over seeds.",
        f"- **Differs**: the corrected p over speakers is below {LEVEL:g}, and the interval of the UAR difference excludes 0.",
    ]
    return "\n".join(lines)


def _least(speakers: int) -> str:
    return f", here {p_value(least_p(speakers))}" if 2 <= speakers <= 10 else ""


def _latex(comparison: SystemComparison) -> list[str]:
    clips = f"{counted(comparison.n, 'clip')} of {counted(comparison.n_speakers, 'speaker')}"
    header, rows = _pair_table(comparison)
    pairs = counted(len(comparison.pairs), "comparison")
    mcnemar = "; McNemar's test treats clips as independent, and is too sure"
    # McNemar's test has the last two columns, and is not defined for means over seeds.
    if all(row[-1] == UNDEFINED for row in rows):
        header, rows, mcnemar = header[:-2], [row[:-2] for row in rows], ""
    return [
        plain_latex_table(
            f"Scores in percent on {clips}; brackets: intervals ({_interval(comparison)})",
            "systems",
            SYSTEM_COLUMNS[:-1],
            [row[:-1] for row in _system_table(comparison)],
        ),
        plain_latex_table(
            f"Differences in points on {clips}; brackets: intervals ({_interval(comparison)}); p over speakers: permutation "
            f"test of the UAR difference, corrected for {pairs} (Holm); two systems differ if "
            f"the corrected p is below {LEVEL:g} and the interval excludes 0{mcnemar}",
            "pairs",
            header,
            rows,
        ),
    ]


# The picture.


def plot_pairs(comparison: SystemComparison, path: str | os.PathLike, formats: Sequence[str] = FORMATS) -> None:
    """Draw the difference of UARs of every pair with its interval, and a line at 0; a filled dot if the two differ."""
    labels = [broken_lines(_minus(comparison, pair), 44) for pair in comparison.pairs]
    height = max(0.34, 0.17 * max(label.count("\n") + 1 for label in labels) + 0.12)
    with drawing():
        figure = new_figure(7.2, height * len(labels) + 1.1, "tight")
        axes = figure.add_subplot()
        axes.axvline(0, color="#555555", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        for row, pair in enumerate(comparison.pairs):
            one = pair.differences["uar"]
            if not np.isnan(one.low):
                axes.plot([100 * one.low, 100 * one.high], [row, row], color=COLOURS[0], linewidth=2)
            face = COLOURS[0] if pair.differs else "white"
            axes.plot(
                100 * one.value, row, marker="o", markersize=7, markerfacecolor=face, markeredgecolor=COLOURS[0],
                markeredgewidth=1.5,
            )  # fmt: skip
            axes.text(1.015, row, with_points(one), transform=axes.get_yaxis_transform(), va="center", color="#222222")
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("difference of UARs (points), with 95 % interval; filled: the two differ", fontsize=8)
        save(figure, path, formats)
