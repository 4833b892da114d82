"""Reports a sweep of settings: as a page, a picture, a table on the terminal, CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from gemoclap.config import TITLES
from gemoclap.files import write_json
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, Scores
from gemoclap.metrics.scores import none_if_nan
from gemoclap.recipes.sweep import Sweep, best_of_each_fold
from gemoclap.reports.canvas import COLOURS, FORMATS, drawing, new_figure, save, write_note
from gemoclap.reports.illustrated import Picture, write_illustrated
from gemoclap.reports.protocol import use_of_encoder
from gemoclap.reports.records import cautions_of
from gemoclap.reports.rows import score_tables
from gemoclap.reports.tables import (
    UNDEFINED,
    figure_cells,
    markdown_table,
    new_table,
    percent,
    print_cautions,
    scores_row,
    with_interval,
    with_sd,
    write_csv,
)
from gemoclap.wording import counted

HOW_TO_READ = (
    "- **UAR** (unweighted average recall) is the mean of the recalls of the classes.\n"
    "- **Development UAR**: on the development speakers of each fold, who are neither trained on nor tested on. Mean ± "
    "standard deviation over folds (and seeds). The deviation says how much folds differ; it is not an interval for the mean.\n"
    "- **Chosen**: in how many folds (of all seeds together) the combination was the best on development speakers.\n"
    "- **On test speakers**: each fold is tested with the combination that its own development speakers chose, so no test "
    "speaker has taken part in the choice. Scores of each combination on test speakers are not shown, because choosing by them "
    "would spoil the test."
)


@dataclass(frozen=True)
class Tried:
    """The results of a method with each combination.

    Attributes
    ----------
    method : its name.
    development : UAR ``(combinations, folds * seeds)``, NaN where a training is not finished.
    chosen : for each combination, in how many folds it was chosen; None before all of a seed are finished.
    scores : on test speakers, each fold by its own choice; None before that.
    """

    method: str
    development: np.ndarray
    chosen: list[int] | None
    scores: Scores | None

    @property
    def means(self) -> list[float | None]:
        """Mean development UAR of each combination over what is finished."""
        return [float(row[~np.isnan(row)].mean()) if (~np.isnan(row)).any() else None for row in self.development]

    @property
    def deviations(self) -> list[float]:
        """Their standard deviations, NaN for a single one."""
        finished = [row[~np.isnan(row)] for row in self.development]
        return [float(row.std(ddof=1)) if len(row) > 1 else float("nan") for row in finished]

    @property
    def best(self) -> int | None:
        """The combination with the highest mean, once all are finished."""
        return None if np.isnan(self.development).any() else int(self.development.mean(1).argmax())


def read_sweep(sweep: Sweep) -> list[Tried]:
    """Return the results of each method, finished or not."""
    found = []
    for method in sweep.methods:
        by_seed = {seed: sweep.development_uar(method, seed) for seed in sweep.seeds}
        chosen = {seed: best for seed, uar in by_seed.items() if (best := best_of_each_fold(uar))}
        every = [number for numbers in chosen.values() for number in numbers]
        counts = [every.count(number) for number in range(len(sweep.combinations))] if every else None
        tables = sweep.chosen_predictions(method, chosen)
        development = np.concatenate([*by_seed.values()], axis=1)
        found.append(Tried(method, development, counts, score_tables(tables) if tables else None))
    return found


def write_sweep(sweep: Sweep, tried: Sequence[Tried]) -> Path:
    """Write sweep.md, .csv, .json and .png into the sweep's folder; return the page's path."""
    write_csv(sweep.output / "sweep.csv", _rows(sweep, tried))
    write_json(sweep.output / "sweep.json", _data(sweep, tried))
    pictures: dict[str, Picture] = {"sweep.png": ("Development UAR of every combination", partial(draw, sweep, tried))}
    return write_illustrated(sweep.output / "sweep.md", _sections(sweep, tried), pictures)


def _rows(sweep: Sweep, tried: Sequence[Tried]) -> list[dict[str, Any]]:
    return [
        {
            "method": one.method,
            **{name: value.shown for name, value in combination.values.items()},
            "development_uar": one.means[number],
            "development_uar_sd": none_if_nan(one.deviations[number]),
            "chosen": one.chosen[number] if one.chosen else None,
        }
        for one in tried
        for number, combination in enumerate(sweep.combinations)
    ]


def _data(sweep: Sweep, tried: Sequence[Tried]) -> dict[str, Any]:
    return {
        "over": {name: [value.shown for value in values] for name, values in sweep.axes.items()},
        "seeds": list(sweep.seeds),
        "folds": [{"name": fold.name, "hash": fold.hash} for fold in sweep.folds],
        "interval": INTERVAL if len(sweep.seeds) == 1 else INTERVAL_SEEDS,
        "methods": {
            one.method: {
                "best": None if one.best is None else sweep.combinations[one.best].title,
                "test": None if one.scores is None else {**one.scores.to_dict(), **scores_row(one.scores)},
            }
            for one in tried
        },
        "combinations": _rows(sweep, tried),
    }


def _sections(sweep: Sweep, tried: Sequence[Tried]) -> list[str]:
    lacking = sum(int(np.isnan(one.development).sum()) for one in tried)
    return [
        f"# Sweep over {' and '.join(f'`{name}`' for name in sweep.axes)}",
        *([f"**Unfinished:** {lacking} trainings are not finished; repeat the command to resume."] if lacking else []),
        f"Manifest `{sweep.settings.data.manifest}`, {counted(len(sweep.folds), 'fold')} with {_development(sweep)} each, "
        f"{_trained(sweep)}; all other settings: [config.yaml](config.yaml).",
        "![Development UAR](sweep.png)",
        "## On development speakers",
        "UAR in percent; the highest of each method in bold.",
        _development_table(sweep, tried),
        "## On test speakers",
        "In percent, with [95 % CI] over test speakers" + (" and seeds." if len(sweep.seeds) > 1 else "."),
        _test_table(sweep, tried),
        *(f"**Beware: {caution}.**" for caution in cautions_of(one.scores for one in tried)),
        "## How to read this",
        HOW_TO_READ,
        "Figures for programs: [sweep.csv](sweep.csv), [sweep.json](sweep.json). Each combination is a cross-validation in "
        "cells/COMBINATION/seed_N. `gemoclap report` reads it, and shows its scores on test speakers: look at them after the "
        "choice.",
    ]


def _trained(sweep: Sweep) -> str:
    """Return in words what all combinations have in common: encoder, epochs and seeds, except what is tried out."""
    settings = sweep.settings
    model = {name: value for name, value in asdict(settings.model).items() if f"model.{name}" not in sweep.axes}
    encoder = [f"encoder `{model['audio_encoder']}`"] if "audio_encoder" in model else []
    epochs = [] if "train.epochs" in sweep.axes else [counted(settings.train.epochs, "epoch")]
    seeds = f"{'seed' if len(sweep.seeds) == 1 else 'seeds'} {', '.join(map(str, sweep.seeds))}"
    return ", ".join([*encoder, *use_of_encoder(model), *epochs, seeds])


def _development(sweep: Sweep) -> str:
    """Return in words how many development speakers a fold has."""
    if number := sweep.settings.data.dev_speakers:
        return counted(number, "development speaker")
    return f"{counted(min(len(fold.dev) for fold in sweep.folds), 'development utterance')} or more"


def _development_table(sweep: Sweep, tried: Sequence[Tried]) -> str:
    def cells(one: Tried, number: int) -> list[str]:
        mean = one.means[number]
        words = UNDEFINED if mean is None else with_sd(mean, one.deviations[number])
        return [f"**{words}**" if number == one.best else words, str(one.chosen[number]) if one.chosen else UNDEFINED]

    header = [*sweep.axes, *(word for one in tried for word in (TITLES[one.method], "chosen"))]
    rows = [
        [
            *(value.shown for value in combination.values.values()),
            *(cell for one in tried for cell in cells(one, number)),
        ]
        for number, combination in enumerate(sweep.combinations)
    ]
    return markdown_table(header, rows, text_columns=len(sweep.axes))


def _test_table(sweep: Sweep, tried: Sequence[Tried]) -> str:
    rows = [
        [
            TITLES[one.method],
            UNDEFINED if one.best is None else sweep.combinations[one.best].title,
            *([UNDEFINED, UNDEFINED] if one.scores is None else figure_cells(one.scores)),
        ]
        for one in tried
    ]
    return markdown_table(["method", "best on all development speakers", "WAR", "UAR"], rows, text_columns=2)


def draw(sweep: Sweep, tried: Sequence[Tried], path: Path, formats: Sequence[str] = FORMATS) -> None:
    """Draw mean and deviation of the development UAR for every combination, a colour per method."""
    names = [
        "\n".join(
            value.shown if len(sweep.axes) == 1 else f"{name.split('.')[-1]} {value.shown}"
            for name, value in one.values.items()
        )
        for one in sweep.combinations
    ]
    with drawing():
        figure = new_figure(max(5.0, 0.9 * len(names) + 2), 3.6, "constrained")
        axes = figure.add_subplot()
        for place, one in enumerate(tried):
            finished = [number for number, mean in enumerate(one.means) if mean is not None]
            shift = 0.08 * (place - (len(tried) - 1) / 2)
            axes.errorbar(
                [number + shift for number in finished],
                [100 * (one.means[number] or 0.0) for number in finished],
                [100 * np.nan_to_num(one.deviations[number]) for number in finished],
                color=COLOURS[place % len(COLOURS)],
                marker="o",
                markersize=4,
                linestyle="-" if len(sweep.axes) == 1 else "none",
                capsize=2,
                label=TITLES[one.method],
            )
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_xlabel(next(iter(sweep.axes)) if len(sweep.axes) == 1 else "")
        axes.set_ylabel("UAR on development speakers (%)")
        axes.grid(axis="y", linewidth=0.4)
        axes.legend(frameon=False, fontsize=8)
        write_note(figure, "mean and standard deviation over folds" + (" and seeds" if len(sweep.seeds) > 1 else ""))
        save(figure, path, formats)


def print_sweep(sweep: Sweep, tried: Sequence[Tried], console: Console) -> None:
    """Print development UAR by combination, and the scores on test speakers."""
    table = new_table(
        "UAR on development speakers, in percent",
        "mean ± standard deviation over folds; in brackets: in how many folds it was chosen",
    )
    table.add_column(", ".join(sweep.axes))
    for one in tried:
        table.add_column(escape(TITLES[one.method]), justify="right")
    for number, combination in enumerate(sweep.combinations):
        cells = []
        for one in tried:
            mean = one.means[number]
            words = UNDEFINED if mean is None else with_sd(mean, one.deviations[number])
            cells.append(f"{words} ({one.chosen[number]})" if one.chosen else words)
        table.add_row(escape(", ".join(value.shown for value in combination.values.values())), *cells)
    console.print(table)
    for one in tried:
        if one.scores is not None:
            console.print(
                f"{TITLES[one.method]}, each fold with its own choice, on test speakers: UAR "
                f"{with_interval(one.scores.uar, one.scores.uar_interval)} %, WAR {percent(one.scores.war)} %",
                markup=False,
                highlight=False,
            )
    print_cautions(cautions_of(one.scores for one in tried), console)
