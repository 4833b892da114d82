"""The tables of a cross-validation's report: cells for pages, rows of CSV, and the table on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gemoclap.metrics import Scores
from gemoclap.reports.records import LEVEL, FoldMean, Results, Row
from gemoclap.reports.tables import (
    UNDEFINED,
    WITH_INTERVALS,
    Cells,
    figure_cells,
    new_table,
    p_value,
    percent,
    points,
    print_cautions,
    scores_row,
    share_cell,
    shorten,
    verdict,
    with_points,
    with_sd,
)
from gemoclap.wording import counted


def row_label(row: Row) -> str:
    """Return the row's title, and the number of finished folds if some are missing."""
    first = row.first
    total = len(first.folds) + len(first.missing)
    return f"{row.title} ({len(first.folds)} of {total} folds)" if first.missing else row.title


def label_with_seeds(row: Row) -> str:
    """Return `row_label`, and the number of seeds if there are several."""
    return f"{row_label(row)}, mean of {len(row.seeds)} seeds" if row.seeds else row_label(row)


def resampled(results: Results) -> str:
    """Return in words what the intervals of the rows resample."""
    if not results.seed_means:
        return "speakers"
    if all(row.seeds for row in results.scored_rows):
        return "speakers and seeds"
    return "speakers (and seeds, if a row has several)"


# Cells, for pages and terminals.


def summary_cells(results: Results) -> Cells:
    """Return the main table: the figures of each row, pooled over folds and as a mean of folds."""
    several = bool(results.seed_means)
    header = [
        "method", *(["seeds"] if several else []), "WAR pooled [95 % CI]", "UAR pooled [95 % CI]", "macro F1 pooled [95 % CI]",
        "WAR mean of folds ± sd", "UAR mean of folds ± sd", "UAR female", "UAR male", "gap (points)",
    ]  # fmt: skip
    rows = []
    for row in results.rows:
        first = [row_label(row), *([_seeds(row)] if several else [])]
        if row.scores is None or row.mean is None:
            rows.append([*first, *[UNDEFINED] * (len(header) - len(first))])
            continue
        scores, mean = row.scores, row.mean
        rows.append([
            *first,
            *figure_cells(scores, WITH_INTERVALS),
            with_sd(mean.war, mean.war_sd),
            with_sd(mean.uar, mean.uar_sd),
            *(percent(scores.uar_by_gender.get(gender)) for gender in ("female", "male")),
            points(scores.gender_gap),
        ])  # fmt: skip
    return header, rows


def _seeds(row: Row) -> str:
    return ", ".join(map(str, row.seeds)) or UNDEFINED


def recall_cells(scores: Mapping[str, Scores]) -> Cells:
    """Return the recall of each class, one row per entry of `scores` (label -> scores)."""
    classes = next(iter(scores.values())).recalls
    rows = [[label, *(percent(recall) for recall in one.recalls.values())] for label, one in scores.items()]
    return ["method", *classes], rows


def fold_cells(results: Results) -> Cells:
    """Return one row per fold and method: the fold's hash, test speakers and size, and the method's WAR and UAR."""
    header = ["fold", "hash", "test speakers", "method", "n", "WAR", "UAR"]
    lines = []
    for fold in results.folds:
        speakers = shorten(fold.test_speakers, 6) or UNDEFINED
        for row in results.rows:
            found = [method.folds[fold.name] for method in row.members.values() if fold.name in method.folds]
            figures = [
                percent(sum(getattr(one, name) for one in found) / len(found)) if found else UNDEFINED
                for name in ("war", "uar")
            ]
            lines.append([fold.name, fold.hash, speakers, row.title, f"{fold.n_test:,}", *figures])
    return header, lines


def difference_cells(results: Results) -> Cells:
    """Return the UAR of each later row minus that of the first, in points, with p-values before and after correction."""
    titles = {row.name: row.title for row in results.rows}
    rows = [
        [
            f"{titles[one.method]} minus {titles[one.baseline]}",
            with_points(one.uar),
            p_value(one.p),
            p_value(one.p_corrected),
            verdict(one.differs),
            f"{one.n:,}",
        ]
        for one in results.differences
    ]
    number = f"p, Holm over {counted(len(results.differences), 'comparison')}"
    header = ["comparison", "UAR difference in points [95 % CI]", "p", number, f"differs (p < {LEVEL:g})", "n"]
    return header, rows


def seed_cells(results: Results) -> Cells:
    """Return one row per method with several seeds, with the figures of each seed."""
    rows = [
        [
            one.title,
            _seeds(one),
            *(
                cell
                for over in (one.war, one.uar)
                if over
                for cell in (", ".join(map(percent, over.values)), percent(over.sd))
            ),
        ]
        for one in results.seed_means
    ]
    header = ["method", "seeds", "WAR of each", "sd over seeds", "UAR of each", "sd over seeds"]
    return header, rows


def confidence_cells(results: Results) -> Cells:
    """Return one row per method: the calibration of its probabilities before and after the temperature."""
    rows = []
    for row in results.scored_rows:
        one = row.confidence
        if one is None:
            rows.append([row_label(row), "no probabilities", *[UNDEFINED] * 5])
            continue
        after = (percent(one.after.ece), f"{one.after.nll:.3f}") if one.after else (UNDEFINED, UNDEFINED)
        low, high = (min(one.temperatures), max(one.temperatures)) if one.temperatures else (math.nan, math.nan)
        temperature = UNDEFINED if math.isnan(low) else f"{low:.2f}" + (f" to {high:.2f}" if high > low else "")
        figures = [percent(one.before.ece), after[0], f"{one.before.nll:.3f}", after[1], temperature]
        rows.append([row_label(row), one.fitted_on, *figures])
    header = ["method", "temperature fitted on", "ECE before", "ECE after", "NLL before", "NLL after", "temperature"]
    return header, rows


# CSV.


def csv_rows(results: Results) -> list[dict[str, Any]]:
    """Return the rows of results.csv.

    Each training with one seed has a row ``pooled``, a row ``mean_of_folds``, and a row ``fold`` for each finished fold. Each
    method with several seeds has a row ``mean_of_seeds``.
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


def _seed_row(one: Row) -> dict[str, Any]:
    assert one.scores is not None and one.war is not None and one.uar is not None
    sds = {"war_sd": share_cell(one.war.sd), "uar_sd": share_cell(one.uar.sd)}
    return {
        "method": one.first.folder.name,
        "aggregate": "mean_of_seeds",
        "n_folds": len(one.first.folds),
        **scores_row(one.scores),
        **sds,
        "title": one.title,
        "seeds": " ".join(map(str, one.seeds)),
    }


def _mean_row(mean: FoldMean) -> dict[str, str]:
    names = ("war", "war_sd", "uar", "uar_sd", "macro_f1", "macro_f1_sd")
    return {name: share_cell(getattr(mean, name)) for name in names}


# A terminal.


def print_table(results: Results, console: Console) -> None:
    """Print the figures of each method, pooled over folds with intervals, and as a mean of folds."""
    if results.speaker_overlap:
        console.print("[bold red]Speakers are shared between training and test: not speaker-independent.[/]")
    for warning in results.encoder_warnings:
        console.print(f"[bold red]Beware: {escape(warning)}.[/]")
    table = new_table(
        f"{results.subject}: {len(results.classes)} classes, {counted(len(results.folds), 'fold')}, in percent",
        f"pooled: all test utterances together [95 % interval over {resampled(results)}]; mean of folds: all folds "
        "count the same, ± standard deviation; gap: UAR of female minus UAR of male speakers, in points",
        pad_edge=False,
    )
    table.add_column("method", min_width=12, max_width=40)
    for heading in ("WAR\npooled", "UAR\npooled", "F1\npooled", "WAR mean\nof folds", "UAR mean\nof folds", "gap"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results.rows:
        seeds = f"\nmean of seeds {_seeds(row)}" if row.seeds else ""
        if row.scores is None or row.mean is None:
            table.add_row(escape(row_label(row)), *[UNDEFINED] * 6)
            continue
        scores, mean = row.scores, row.mean
        table.add_row(
            escape(row_label(row) + seeds),
            # Not escaped: rich only reads a bracket as markup if a letter follows, and here digits do.
            *figure_cells(scores, gap="\n"),
            percent(scores.macro_f1),
            with_sd(mean.war, mean.war_sd, gap="\n"),
            with_sd(mean.uar, mean.uar_sd, gap="\n"),
            points(scores.gender_gap),
        )
    console.print(table)
    if results.differences:
        console.print()
        console.print(_difference_table(results))
    print_cautions(results.cautions, console)


def _difference_table(results: Results) -> Table:
    titles = {row.name: row.title for row in results.rows}
    table = new_table(
        f"UAR minus UAR of {titles[results.differences[0].baseline]}, points",
        f"p: permutation test over speakers, corrected for {counted(len(results.differences), 'comparison')} (Holm)",
        pad_edge=False,
    )
    table.add_column("method", min_width=12, max_width=40)
    for heading in ("difference [95 %]", "p corrected", "differs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in results.differences:
        table.add_row(escape(titles[one.method]), with_points(one.uar), p_value(one.p_corrected), verdict(one.differs))
    return table
