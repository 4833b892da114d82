"""A comparison of ways to pre-train as a page, a picture, and tables for other programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gemoclap.config import TITLES
from gemoclap.ems.variants import CONTROLS, PAIRS, VARIANTS
from gemoclap.files import write_json
from gemoclap.recipes.ems import EmsComparison
from gemoclap.recipes.seeds import OverSeeds, over_seeds
from gemoclap.reports.canvas import COLOURS, FORMATS, drawing, matplotlib, new_figure, save
from gemoclap.reports.illustrated import write_illustrated, write_page
from gemoclap.reports.tables import UNDEFINED, markdown_table, percent, points, with_interval
from gemoclap.writing import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Trial = tuple[str, str]
"""Task and corpus."""
ALL_PAIRS = tuple(chain(*PAIRS.values(), CONTROLS))
FIGURES = {"uar": "UAR", "war": "WAR"}
LOGGED = {
    "step": "steps",
    "dev_spectral_l1": "held-out L1",
    "dev_spectral_l1_zeros": "L1 of zeros",
    "dev_spectral_l1_interpolated": "L1 of straight lines",
    "dev_intensity_l1": "held-out intensity L1",
    "dev_sum_l1": "held-out L1 of features + intensity",
    "masked_share": "frames hidden or masked more widely (%)",
    "fallbacks": "fallbacks per batch",
    "code_perplexity": "code perplexity",
    "utterances_per_second": "utterances/s",
}
"""Columns of a pre-training's log that are shown. The values are those of the last epoch, averaged over seeds."""
KINDS = {
    "plain": COLOURS[0],
    "EMS": COLOURS[1],
    "control of EMS's masks": COLOURS[2],
    "not trained": COLOURS[6],
}
"""Kind of a variant -> its colour in the picture."""

DIFFERENCES = (
    "UAR in points, paired by seed: both encoders of a pair start with the same weights and see the same batches. EMS changes "
    "more than the position of the masks. With MockingJay, spans overlap at the intense frames, so fewer frames are hidden. "
    "With NPC, masks are wider there. The controls do the same without following emotion: their spans are shifted, or their "
    "wide masks are placed at random. About one in twenty such intervals excludes zero by chance."
)
PRETRAINING = (
    "Values of the last epoch, mean over seeds. Held-out losses of different rows cannot be compared, because each row hides "
    "other frames. For MockingJay the table also has the loss of two predictions that need no training, for the same frames: "
    "zeros, and straight lines between the visible frames around a span."
)


def write_ems_report(comparison: EmsComparison, output: Path) -> Path:
    """Write ems.md, ems.csv (one row per score), ems.json (means and differences) and ems.png; return the page's path."""
    trials = list(dict.fromkeys((one.task, one.corpus) for one in comparison.scores))
    with atomic_write(output / "ems.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "corpus", "variant", "seed", "war", "uar"])
        writer.writerows((one.task, one.corpus, one.variant, one.seed, one.war, one.uar) for one in comparison.scores)
    write_json(output / "ems.json", _as_data(comparison, trials))
    sections = _sections(comparison, trials)
    if not trials:  # so far, encoders were pre-trained only
        return write_page(output / "ems.md", sections)
    draw = partial(draw_comparison, comparison, trials)
    return write_illustrated(output / "ems.md", sections, {"ems.png": ("UAR of each encoder", draw)})


def by_seed(comparison: EmsComparison, trial: Trial, variant: str, figure: str = "uar") -> dict[int, float]:
    """Return seed -> a variant's figure, between 0 and 1."""
    return {
        one.seed: getattr(one, figure)
        for one in comparison.scores
        if (one.task, one.corpus, one.variant) == (*trial, variant)
    }


def difference(comparison: EmsComparison, trial: Trial, pairs: Sequence[tuple[str, str]]) -> OverSeeds | None:
    """Return the UAR of the first minus the second of each pair, mean over pairs, for each seed; None without common seeds."""
    tables = [tuple(by_seed(comparison, trial, name) for name in pair) for pair in pairs]
    seeds = set.intersection(*(set(one) & set(other) for one, other in tables))
    if not seeds:
        return None
    return over_seeds([float(np.mean([one[seed] - other[seed] for one, other in tables])) for seed in sorted(seeds)])


def _as_data(comparison: EmsComparison, trials: Sequence[Trial]) -> dict:
    def plain(one: OverSeeds | None) -> dict | None:
        if one is None:
            return None
        return {
            "mean": one.mean,
            "interval": [one.low, one.high] if one.has_interval else None,
            "values": one.values,
        }

    return {
        "interval": "95 %, Student's t over seeds",
        "warnings": comparison.warnings,
        "trials": [
            {
                "task": trial[0],
                "corpus": trial[1],
                "variants": {
                    name: {figure: plain(_over(comparison, trial, name, figure)) for figure in FIGURES}
                    for name in _variants(comparison)
                },
                "uar_differences": {
                    f"{one} - {other}": plain(difference(comparison, trial, [(one, other)])) for one, other in ALL_PAIRS
                },
                "uar_differences_of_pairs": {
                    kind: plain(difference(comparison, trial, pairs)) for kind, pairs in PAIRS.items()
                },
            }
            for trial in trials
        ],
    }


def _over(comparison: EmsComparison, trial: Trial, variant: str, figure: str) -> OverSeeds | None:
    values = list(by_seed(comparison, trial, variant, figure).values())
    return over_seeds(values) if values else None


def _variants(comparison: EmsComparison) -> list[str]:
    found = {one.variant for one in comparison.scores}
    return [name for name in VARIANTS if name in found]


def _sections(comparison: EmsComparison, trials: Sequence[Trial]) -> list[str]:
    warnings = [f"**Beware: {warning}.**" for warning in comparison.warnings]
    facts = "\n".join(f"- {fact}" for fact in comparison.facts)
    parts = ["# Comparison of ways to pre-train", *warnings, facts]
    parts += _scores(comparison, trials) if trials else ["No encoder has been tested yet."]
    if comparison.pretraining:
        parts += ["## Pre-training", PRETRAINING, _pretraining_table(comparison)]
    return parts


def _scores(comparison: EmsComparison, trials: Sequence[Trial]) -> list[str]:
    """Return the part about the tests of the encoders."""
    seeds = sorted({one.seed for one in comparison.scores})
    intro = (
        f"Seeds {', '.join(map(str, seeds))}: for each seed, one encoder is pre-trained and one head is trained on it. For an "
        "untrained encoder the seed sets its weights and the head; for log-mel, only the head. A cell is the mean over seeds, "
        "in percent, with its 95 % interval (Student's t, with three seeds or more). The interval shows how much the mean "
        "would change with other seeds and the same speakers."
    )
    parts = [intro, "![UAR of each encoder](ems.png)"]
    for figure, name in FIGURES.items():
        parts += [f"## {name}", score_table(comparison, trials, figure)]
    if any(difference(comparison, trial, [pair]) for trial in trials for pair in ALL_PAIRS):
        parts += ["## What each part of EMS changes", DIFFERENCES, difference_table(comparison, trials)]
    return parts


def score_table(comparison: EmsComparison, trials: Sequence[Trial], figure: str) -> str:
    rows = []
    for name in _variants(comparison):
        found = [_over(comparison, trial, name, figure) for trial in trials]
        cells = [with_interval(one.mean, (one.low, one.high)) if one else UNDEFINED for one in found]
        rows.append([VARIANTS[name].title, *cells])
    return markdown_table(["encoder", *map(_title, trials)], rows)


def difference_table(comparison: EmsComparison, trials: Sequence[Trial]) -> str:
    rows = []
    for kind, pairs in {**PAIRS, "": CONTROLS}.items():
        found = [
            (one, other, [difference(comparison, trial, [(one, other)]) for trial in trials]) for one, other in pairs
        ]
        rows += [
            [f"{VARIANTS[one].title} \N{MINUS SIGN} {VARIANTS[other].title}", *map(_with_sign, cells)]
            for one, other, cells in found
            if any(cells)
        ]
        means = [difference(comparison, trial, pairs) for trial in trials]
        if kind and any(means):
            rows.append([f"**{kind}, mean of its {len(pairs)} pairs**", *map(_with_sign, means)])
    return markdown_table(["difference", *map(_title, trials)], rows)


def _with_sign(one: OverSeeds | None) -> str:
    if one is None:
        return UNDEFINED
    return f"{points(one.mean)} [{points(one.low)}, {points(one.high)}]" if one.has_interval else points(one.mean)


def _pretraining_table(comparison: EmsComparison) -> str:
    rows_of: dict[str, list[dict]] = {}
    for (name, _), row in comparison.pretraining.items():
        rows_of.setdefault(name, []).append(row)
    columns = [name for name in LOGGED if any(name in row for rows in rows_of.values() for row in rows)]
    table = []
    for name in (name for name in VARIANTS if name in rows_of):
        cells = []
        for column in columns:
            # Plain NPC has the same mask at every frame, so the share has no meaning.
            is_shown = column != "masked_share" or VARIANTS[name].masking != "none"
            values = [row[column] for row in rows_of[name] if column in row and is_shown]
            cells.append(_number(column, float(np.mean(values))) if values else UNDEFINED)
        table.append([VARIANTS[name].title, *cells])
    return markdown_table(["encoder", *(LOGGED[column] for column in columns)], table)


def _number(column: str, value: float) -> str:
    if column == "masked_share":
        return percent(value)
    return f"{value:.0f}" if column == "step" else f"{value:.3f}" if column.startswith("dev_") else f"{value:.1f}"


def _title(trial: Trial) -> str:
    task, corpus = trial
    return f"{corpus}, {TITLES.get(task, task)}"


def draw_comparison(
    comparison: EmsComparison, trials: Sequence[Trial], path: Path, formats: Sequence[str] = FORMATS
) -> None:
    """Draw the UAR of every variant, with one panel per task and corpus: a ring per seed, the mean, and its interval.

    A dashed line marks log-mel, the baseline.
    """
    names = _variants(comparison)
    with drawing():
        figure = new_figure(2.6 + 2.7 * len(trials), 0.3 * len(names) + 1.3, "constrained")
        panels = figure.subplots(1, len(trials), sharey=True, squeeze=False)[0]
        for panel, trial in zip(panels, trials, strict=True):
            _draw_trial(panel, comparison, trial, names)
            panel.set_title(_title(trial), loc="left")
            panel.set_xlabel("UAR (%)")
        panels[0].set_yticks(range(len(names)), [VARIANTS[name].title for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        present, line = {_kind(name) for name in names}, matplotlib("lines").Line2D
        handles = [
            line([], [], linestyle="", marker="o", color=colour, label=kind)
            for kind, colour in KINDS.items()
            if kind in present
        ]
        if any(VARIANTS[name].encoder is None for name in names):
            handles.append(line([], [], linestyle=(0, (4, 3)), linewidth=0.8, color="#555555", label="log-mel"))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        figure.supxlabel(
            "● mean, with 95 % interval over seeds (arrow: it continues beyond the axis)   ○ one seed", fontsize=8
        )
        save(figure, path, formats)


def _draw_trial(axes: Axes, comparison: EmsComparison, trial: Trial, names: Sequence[str]) -> None:
    found = {name: over for name in names if (over := _over(comparison, trial, name, "uar"))}
    # An interval over few seeds can be much wider than the range of the seeds, so the seeds set the scale.
    seen = [100 * value for over in found.values() for value in over.values]
    margin = 0.15 * (max(seen) - min(seen)) + 1.0
    low, high = min(seen) - margin, max(seen) + margin
    for name, over in found.items():
        row, colour = names.index(name), KINDS[_kind(name)]
        axes.scatter(
            [100 * value for value in over.values], [row] * len(over.values), s=20,
            facecolors="none", edgecolors=colour, linewidths=0.9,
        )  # fmt: skip
        axes.plot(100 * over.mean, row, marker="o", markersize=6, color=colour)
        if over.has_interval:
            axes.plot([100 * over.low, 100 * over.high], [row, row], color=colour, linewidth=1.8, solid_capstyle="butt")
            for edge, marker, is_beyond in ((low, "<", 100 * over.low < low), (high, ">", 100 * over.high > high)):
                if is_beyond:
                    axes.plot(edge, row, marker=marker, markersize=5, color=colour, clip_on=False)
        if VARIANTS[name].encoder is None:
            axes.axvline(100 * over.mean, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xlim(low, high)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def _kind(name: str) -> str:
    """Return which of `KINDS` a variant is."""
    variant = VARIANTS[name]
    if variant.encoder is None or not variant.trained:
        return "not trained"
    if variant.masking == "intensity":
        return "EMS"
    is_control = variant.masking == "shifted" or (variant.encoder, variant.masking) == ("npc", "random")
    return "control of EMS's masks" if is_control else "plain"
