"""Tables of results: Markdown for the page, CSV for other tools, rich for a terminal.

People read percent with one decimal; files for programs hold shares between 0 and 1.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gemoclap.metrics import Difference, Scores
from gemoclap.reports.results import FoldMean, MethodResults, Results, SeedMean
from gemoclap.writing import atomic_write

UNDEFINED = "\N{EN DASH}"


def percent(share: float | None) -> str:
    """Return ``"61.3"`` for 0.613, a dash where the figure is not defined."""
    return UNDEFINED if share is None or math.isnan(share) else f"{100 * share:.1f}"


def points(difference: float | None) -> str:
    """Return a difference in percentage points with its sign, ``"+1.2"``."""
    if difference is None or math.isnan(difference):
        return UNDEFINED
    rounded = round(100 * difference, 1) + 0.0  # no minus before a zero
    return f"{rounded:+.1f}".replace("-", "\N{MINUS SIGN}")


def with_interval(share: float, interval: tuple[float, float], gap: str = " ") -> str:
    """Return ``"61.3 [55.1, 67.0]"``; the figure alone where the interval is not defined."""
    low, high = interval
    return percent(share) if math.isnan(low) else f"{percent(share)}{gap}[{percent(low)}, {percent(high)}]"


def with_sd(mean: float, sd: float, gap: str = " ") -> str:
    """Return ``"61.3 ± 4.2"``; the mean alone where there is one fold."""
    return percent(mean) if math.isnan(sd) else f"{percent(mean)}{gap}± {percent(sd)}"


def with_points(difference: Difference | None, gap: str = " ") -> str:
    """Return ``"+1.2 [−0.3, +2.7]"``; the figure alone where the interval is not defined, a dash where neither is."""
    if difference is None:
        return UNDEFINED
    interval = "" if math.isnan(difference.low) else f"{gap}[{points(difference.low)}, {points(difference.high)}]"
    return points(difference.value) + interval


def clear_of_zero(difference: Difference | None) -> str:
    """Say whether the interval of a difference leaves 0 out."""
    if difference is None or math.isnan(difference.low):
        return UNDEFINED
    return "yes" if difference.low > 0 or difference.high < 0 else "no"


def count(things: Sequence[Any], noun: str) -> str:
    """Return ``"1 fold"`` or ``"5 folds"``."""
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def method_label(method: MethodResults) -> str:
    """Return the method's title, with the number of its finished folds where some are missing."""
    total = len(method.folds) + len(method.missing)
    return f"{method.title} ({len(method.folds)} of {total} folds)" if method.missing else method.title


# Markdown.


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return a Markdown table: the first `text_columns` flush left, the others flush right."""
    ruler = [":---" if index < text_columns else "---:" for index in range(len(header))]
    cells = [header, ruler, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def summary_table(results: Results) -> str:
    """Return the table to publish: each method pooled over folds and as a mean of folds."""
    header = [
        "method", "WAR pooled [95 % CI]", "UAR pooled [95 % CI]", "macro F1 pooled", "WAR mean of folds ± sd",
        "UAR mean of folds ± sd", "UAR female", "UAR male", "gap (points)",
    ]  # fmt: skip
    rows = []
    for method in results.methods:
        if method.pooled is None or method.mean is None:
            rows.append([method_label(method), *[UNDEFINED] * (len(header) - 1)])
            continue
        pooled, mean = method.pooled, method.mean
        rows.append([
            method_label(method),
            with_interval(pooled.war, pooled.war_interval),
            with_interval(pooled.uar, pooled.uar_interval),
            percent(pooled.macro_f1),
            with_sd(mean.war, mean.war_sd),
            with_sd(mean.uar, mean.uar_sd),
            *(percent(pooled.uar_by_gender.get(gender)) for gender in ("female", "male")),
            points(pooled.gender_gap),
        ])  # fmt: skip
    return markdown_table(header, rows)


def recall_table(scores: Mapping[str, Scores]) -> str:
    """Return recall by class, one row for each entry of `scores` (label -> scores)."""
    classes = next(iter(scores.values())).recalls
    rows = [[label, *(percent(recall) for recall in one.recalls.values())] for label, one in scores.items()]
    return markdown_table(["method", *classes], rows)


def fold_table(results: Results) -> str:
    """Return a row a fold: its hash, test speakers, size, and each method's WAR / UAR."""
    header = ["fold", "hash", "test speakers", "n", *(f"{method.title} WAR / UAR" for method in results.methods)]
    rows = []
    for fold in results.folds:
        figures = [_war_and_uar(method.folds.get(fold.name)) for method in results.methods]
        speakers = shorten(fold.test_speakers, 6) or UNDEFINED
        rows.append([fold.name, f"`{fold.hash}`", speakers, f"{fold.n_test:,}", *figures])
    return markdown_table(header, rows, text_columns=3)


def difference_table(results: Results) -> str:
    """Return each later method's UAR less the first's, in points."""
    titles = {method.name: method.title for method in results.methods}
    rows = []
    for one in results.differences:
        comparison = f"{titles[one.method]} less {titles[one.baseline]}"
        rows.append([comparison, with_points(one.uar), clear_of_zero(one.uar), f"{one.n:,}"])
    return markdown_table(["comparison", "UAR difference in points [95 % CI]", "interval clear of 0", "n"], rows)


def seed_table(results: Results) -> str:
    """Return a row a method that has several seeds: its mean over them, and that less the first such method's."""
    header = [
        "method", "seeds", "WAR mean [95 % CI]", "UAR mean [95 % CI]", "UAR of each seed", "sd over seeds",
        "difference in points [95 % CI]", "interval clear of 0",
    ]  # fmt: skip
    rows = [
        [
            one.title,
            ", ".join(map(str, one.members)),
            with_interval(one.war.mean, one.war_interval),
            with_interval(one.uar.mean, one.uar_interval),
            ", ".join(map(percent, one.uar.values)),
            percent(one.uar.sd),
            with_points(one.difference),
            clear_of_zero(one.difference),
        ]
        for one in results.seed_means
    ]
    return markdown_table(header, rows, text_columns=2)


def shorten(words: Sequence[str], most: int) -> str:
    """Return the words with commas between, the count alone of those beyond the first `most`."""
    more = len(words) - most
    return ", ".join(words) if more <= 0 else f"{', '.join(words[:most])} and {more} more"


def _war_and_uar(scores: Scores | None) -> str:
    return UNDEFINED if scores is None else f"{percent(scores.war)} / {percent(scores.uar)}"


# CSV.


def csv_rows(results: Results) -> list[dict[str, Any]]:
    """Return, for each method, a row ``pooled``, a row ``mean_of_folds`` and a row ``fold`` for each finished fold; for each
    of several seeds a row ``mean_of_seeds``.
    """
    hashes = {fold.name: fold.hash for fold in results.folds}
    rows: list[dict[str, Any]] = []
    for method in results.scored:
        assert method.pooled is not None and method.mean is not None
        first = {"method": method.name, "n_folds": len(method.folds)}
        rows.append({**first, "aggregate": "pooled", **scores_row(method.pooled)})
        rows.append({**first, "aggregate": "mean_of_folds", "n": method.pooled.n, **_mean_row(method.mean)})
        for name, scores in method.folds.items():
            fold = {"aggregate": "fold", "fold": name, "fold_hash": hashes[name]}
            rows.append({"method": method.name, **fold, **scores_row(scores)})
    return rows + [_seed_row(one) for one in results.seed_means]


def scores_row(scores: Scores) -> dict[str, Any]:
    """Return the figures of one evaluation as CSV cells by column."""
    figures = {
        "war": scores.war, "war_low": scores.war_interval[0], "war_high": scores.war_interval[1],
        "uar": scores.uar, "uar_low": scores.uar_interval[0], "uar_high": scores.uar_interval[1],
        "macro_f1": scores.macro_f1, "uar_female": scores.uar_by_gender.get("female"),
        "uar_male": scores.uar_by_gender.get("male"), "gender_gap": scores.gender_gap,
        **{f"recall_{name}": recall for name, recall in scores.recalls.items()},
    }  # fmt: skip
    return {"n": scores.n, **{name: _share(figure) for name, figure in figures.items()}}


def write_csv(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> None:
    """Write rows whose columns may differ; the columns `first` lead, the others follow in order of appearance."""
    columns = list(dict.fromkeys([*first, *(column for row in rows for column in row)]))
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _seed_row(one: SeedMean) -> dict[str, Any]:
    first, *_ = one.members.values()
    row: dict[str, Any] = {"method": first.folder.name, "aggregate": "mean_of_seeds", "n_folds": len(first.folds)}
    row |= {"n": first.pooled.n if first.pooled else "", "title": one.title, "seeds": " ".join(map(str, one.members))}
    for name, over, (low, high) in (("war", one.war, one.war_interval), ("uar", one.uar, one.uar_interval)):
        figures = {name: over.mean, f"{name}_low": low, f"{name}_high": high, f"{name}_sd": over.sd}
        row |= {column: _share(figure) for column, figure in figures.items()}
    return row


def _mean_row(mean: FoldMean) -> dict[str, str]:
    names = ("war", "war_sd", "uar", "uar_sd", "macro_f1", "macro_f1_sd")
    return {name: _share(getattr(mean, name)) for name in names}


def _share(figure: float | None) -> str:
    return "" if figure is None or math.isnan(figure) else f"{figure:.6f}"


# A terminal.


def print_table(results: Results, console: Console) -> None:
    """Print the methods side by side: pooled over folds, with intervals, and as a mean of folds; both are named."""
    if results.speaker_overlap:
        console.print("[bold red]Speakers are shared between training and test: not speaker-independent.[/]")
    for warning in results.encoder_warnings:
        console.print(f"[bold red]Beware: {escape(warning)}.[/]")
    table = _method_table(
        f"{results.vocabulary}: {len(results.classes)} classes, {count(results.folds, 'fold')}, percent",
        "pooled: all test utterances together [95 % interval over speakers]; "
        "mean of folds: each fold counts the same, ± standard deviation; gap: UAR of female minus male speakers, points",
    )
    for heading in ("WAR\npooled", "UAR\npooled", "F1\npooled", "WAR mean\nof folds", "UAR mean\nof folds", "gap"):
        table.add_column(heading, justify="right", no_wrap=True)
    for method in results.methods:
        if method.pooled is None or method.mean is None:
            table.add_row(escape(method_label(method)), *[UNDEFINED] * 6)
            continue
        pooled, mean = method.pooled, method.mean
        table.add_row(
            escape(method_label(method)),
            # rich takes a bracket for markup where a letter follows it: these are followed by digits.
            with_interval(pooled.war, pooled.war_interval, gap="\n"),
            with_interval(pooled.uar, pooled.uar_interval, gap="\n"),
            percent(pooled.macro_f1),
            with_sd(mean.war, mean.war_sd, gap="\n"),
            with_sd(mean.uar, mean.uar_sd, gap="\n"),
            points(pooled.gender_gap),
        )
    console.print(table)
    if results.seed_means:
        console.print()
        console.print(_seed_table(results))


def _method_table(title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("method", min_width=12, max_width=40)
    return table


def _seed_table(results: Results) -> Table:
    table = _method_table(
        "Mean over seeds, pooled over folds, percent",
        f"less the first's: points from {escape(results.seed_means[0].title)}; all intervals are over speakers",
    )
    for heading in ("seeds", "WAR", "UAR", "sd over\nseeds", "UAR less\nthe first's"):
        table.add_column(heading, justify="right")
    for one in results.seed_means:
        table.add_row(
            escape(one.title),
            ", ".join(map(str, one.members)),
            with_interval(one.war.mean, one.war_interval, gap="\n"),
            with_interval(one.uar.mean, one.uar_interval, gap="\n"),
            percent(one.uar.sd),
            with_points(one.difference, gap="\n"),
        )
    return table
