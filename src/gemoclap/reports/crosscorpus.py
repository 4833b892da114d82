"""Reports a matrix of corpora: as a page, a web page, a picture, a table on the terminal, CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from gemoclap.config import TITLES
from gemoclap.encoders.provenance import named_speakers
from gemoclap.files import write_json
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, none_if_nan
from gemoclap.recipes.crosscorpus import Corpus, CrossCorpus, Pair
from gemoclap.reports.corpus_matrix import (
    ABOUT_OTHERS,
    ABOUT_WITHIN,
    ALL_OTHERS,
    WITHIN,
    PairResult,
    draw_matrix,
    figure_of,
    grid_of,
    matrix_rows,
    over,
)
from gemoclap.reports.document import Bullets, Chapter, Document, Drawing, Grid, write_document
from gemoclap.reports.illustrated import Picture
from gemoclap.reports.protocol import use_of_encoder
from gemoclap.reports.records import cautions_of
from gemoclap.reports.rows import score_tables
from gemoclap.reports.tables import UNDEFINED, Cells, new_table, percent, print_cautions, scores_row, write_csv
from gemoclap.reports.within import CrossingCost, Within, cost_grid, costs_of_cells, read_within
from gemoclap.wording import counted

PICTURE = "crosscorpus.png"


@dataclass(frozen=True)
class MatrixResults:
    """A matrix of corpora with its figures.

    Attributes
    ----------
    entries : every cell: ordered pairs in the order of the matrix, models of all other corpora, diagonal.
    within : corpus -> its cross-validation.
    costs : each cell beside the cross-validation of its tested corpus: what was trained on, and the difference.
    """

    matrix: CrossCorpus
    entries: tuple[PairResult, ...]
    within: Mapping[str, Within]
    costs: tuple[tuple[str, CrossingCost], ...]


def read_crosscorpus(matrix: CrossCorpus, within: Sequence[str] = ()) -> MatrixResults:
    """Return the figures of every cell, finished or not.

    Parameters
    ----------
    within : folders of cross-validations of single corpora, for the diagonal (`reports.within`).

    Raises
    ------
    GemoclapError : predictions do not belong to the manifests; or as `read_within`.
    """
    own = read_within(matrix, within)
    entries = [_entry(matrix, pair) for pair in matrix.pairs]
    entries += [_entry(matrix, pair, is_left_out=True) for pair in matrix.left_out]
    for name, one in own.items():
        scores = score_tables(one.tables) if one.tables else None
        entries.append(PairResult(Pair(name, name, one.labels), len(one.tables), one.n_seeds, scores, "within"))
    return MatrixResults(matrix, tuple(entries), own, tuple(_costs(entries, own)))


def write_crosscorpus(found: MatrixResults) -> Path:
    """Write crosscorpus.md, .html, .csv, .json and .png into the matrix's folder; return the page's path."""
    matrix, entries = found.matrix, found.entries
    write_csv(matrix.output / "crosscorpus.csv", [_row(one) for one in entries])
    write_json(matrix.output / "crosscorpus.json", _data(matrix, entries, found.costs))
    pictures: dict[str, Picture] = {PICTURE: ("UAR of every pair", partial(draw_matrix, matrix, entries))}
    page = _document(matrix, entries, found.within, found.costs)
    return write_document(page, matrix.output / "crosscorpus", pictures)


def _entry(matrix: CrossCorpus, pair: Pair, is_left_out: bool = False) -> PairResult:
    tables = [] if pair.is_empty else matrix.predictions(pair)
    scores = score_tables(tables) if tables else None
    kind: Literal["pair", "left out"] = "left out" if is_left_out else "pair"
    return PairResult(pair, len(tables), len(matrix.seeds), scores, kind, tuple(tables))


def _costs(entries: Sequence[PairResult], within: Mapping[str, Within]) -> list[tuple[str, CrossingCost]]:
    cells = [one for one in entries if one.kind != "within" and one.pair.tested in within]
    titled = [(ALL_OTHERS if one.kind == "left out" else one.pair.trained, one) for one in cells]
    return costs_of_cells(((title, one.pair, one.tables) for title, one in titled), within)


# For programs.


def _row(one: PairResult) -> dict[str, Any]:
    first = {
        "kind": one.kind, "trained_on": one.pair.trained, "tested_on": one.pair.tested, "state": one.state,
        "labels": len(one.pair.labels), "label_names": " ".join(one.pair.labels), "finished_seeds": one.finished,
    }  # fmt: skip
    if one.scores is None:
        return first
    return {**first, **scores_row(one.scores), "n": one.n, "n_speakers": one.scores.n_clusters}


def _data(
    matrix: CrossCorpus, entries: Sequence[PairResult], costs: Sequence[tuple[str, CrossingCost]]
) -> dict[str, Any]:
    of_kind = {
        kind: [_pair_data(one) for one in entries if one.kind == kind] for kind in ("pair", "left out", "within")
    }
    return {
        "method": matrix.method,
        "seeds": list(matrix.seeds),
        "interval": INTERVAL if len(matrix.seeds) == 1 else INTERVAL_SEEDS,
        "warnings": matrix.warnings,
        "corpora": {one.name: _facts(one) for one in matrix.corpora.values()},
        "pairs": of_kind["pair"],
        "left_out": of_kind["left out"],
        "within": of_kind["within"],
        "across_minus_within": [
            {
                "trained_on": title,
                "tested_on": cost.pair.tested,
                "labels": list(cost.pair.labels),
                "uar_within": cost.within.uar,
                "uar_across": cost.across.uar,
                "uar_difference": cost.difference.value,
                "interval": [none_if_nan(cost.difference.low), none_if_nan(cost.difference.high)],
            }
            for title, cost in costs
        ],
    }


def _pair_data(one: PairResult) -> dict[str, Any]:
    return {
        "trained_on": one.pair.trained,
        "tested_on": one.pair.tested,
        "labels": list(one.pair.labels),
        "state": one.state,
        "finished_seeds": one.finished,
        "scores": {**one.scores.to_dict(), "n": one.n} if one.scores else None,
    }


def _facts(corpus: Corpus) -> dict[str, Any]:
    return {
        "manifest": str(corpus.data.manifest),
        "utterances": len(corpus.rows),
        "speakers": len(named_speakers(corpus.rows)),
        "labels": list(corpus.labels),
        "left_out": dict(corpus.left_out),
    }


def _cautions(entries: Sequence[PairResult]) -> list[str]:
    """Return the sentences on the limits of the intervals, with the corpus whose speakers they are about."""
    found = ((one.pair.tested, caution) for one in entries for caution in cautions_of([one.scores]))
    return [f"{tested}: {caution}" for tested, caution in dict.fromkeys(found)]


# The page.


def _document(
    matrix: CrossCorpus,
    entries: Sequence[PairResult],
    within: Mapping[str, Within],
    costs: Sequence[tuple[str, CrossingCost]],
) -> Document:
    lacking = sum(one.is_lacking for one in entries)
    remarks = [remark for one in within.values() for remark in one.remarks]
    files = (
        "Figures for programs: [crosscorpus.csv](crosscorpus.csv), [crosscorpus.json](crosscorpus.json). As one web page: "
        "[crosscorpus.html](crosscorpus.html). All settings: [config.yaml](config.yaml). Prediction of each utterance: "
        "cells/TRAINED_to_TESTED/seed_N/predictions.csv. Models, if they are kept: trainings/TRAINED/LABELS/seed_N/model."
    )
    return Document(
        f"{TITLES[matrix.method]} across {len(matrix.corpora)} corpora",
        (
            *(f"**Beware: {one}.**" for one in (*matrix.warnings, *remarks, *_cautions(entries))),
            *([f"**Unfinished:** {lacking} of {len(entries)} cells; repeat the command to resume."] if lacking else []),
        ),
        (
            Chapter(
                "Corpora",
                (
                    _about(matrix),
                    Grid("Each corpus, with the labels that have utterances.", _corpus_cells(matrix), text_columns=2),
                    *_left_out(matrix),
                ),
            ),
            Chapter("Picture", (Drawing(PICTURE, _described(entries)),)),
            *(Chapter(name.upper(), (_matrix_grid(matrix, entries, name),)) for name in ("uar", "war")),
            *([Chapter("Within the corpus and across", (cost_grid(costs),))] if costs else []),
            Chapter("Labels and utterances", (Grid("What each cell is about.", _pair_cells(entries), text_columns=3),)),
            Chapter("How to read this", (Bullets(tuple(_how_to_read(matrix, entries))),)),
        ),
        files,
    )


def _about(matrix: CrossCorpus) -> str:
    seeds = f"{'seed' if len(matrix.seeds) == 1 else 'mean over the seeds'} {', '.join(map(str, matrix.seeds))}"
    drawn = ", corpora drawn evenly" if matrix.left_out and matrix.settings.train.balance_corpora else ""
    epochs = counted(matrix.settings.train.epochs, "epoch")
    model = matrix.settings.model
    return ", ".join([f"Encoder `{model.audio_encoder}`", *use_of_encoder(asdict(model)), epochs, f"{seeds}{drawn}."])


def _described(entries: Sequence[PairResult]) -> str:
    scored = [f"{one.pair.trained} to {one.pair.tested} {percent(one.scores.uar)}" for one in entries if one.scores]
    return f"UAR in percent by training corpus and test corpus: {'; '.join(scored)}"


def _corpus_cells(matrix: CrossCorpus) -> Cells:
    rows = [
        [name, facts["manifest"], f"{facts['utterances']:,}", str(facts["speakers"]), ", ".join(facts["labels"])]
        for name, facts in ((one.name, _facts(one)) for one in matrix.corpora.values())
    ]
    return ["corpus", "manifest", "utterances", "speakers", "labels"], rows


def _left_out(matrix: CrossCorpus) -> list[str]:
    """Return a sentence for each corpus with utterances whose label is no class."""
    lines = []
    for one in matrix.corpora.values():
        if one.left_out:
            number = counted(sum(one.left_out.values()), "utterance")
            found = ", ".join(f"{label} {count:,}" for label, count in one.left_out.items())
            lines.append(f"Left out of {one.name}, because the label is not one of its classes: {number} ({found}).")
    return lines


def _matrix_grid(matrix: CrossCorpus, entries: Sequence[PairResult], figure: str) -> Grid:
    about = "Rows: corpus that was trained on. Columns: corpus that was tested on."
    within = f" {ABOUT_WITHIN}" if any(one.kind == "within" for one in entries) else ""
    names = list(matrix.corpora)
    header = ["trained on", *(f"tested on {name}" for name in names)]
    caption = f"{figure.upper()} in percent, with [95 % CI]. {about}{within}"
    return Grid(caption, (header, matrix_rows(names, entries, figure)))


def _pair_cells(entries: Sequence[PairResult]) -> Cells:
    rows = [
        [
            f"{one.pair.trained}, other speakers"
            if one.kind == "within"
            else " and ".join(one.pair.together) or one.pair.trained,
            one.pair.tested,
            f"{len(one.pair.labels)}: {', '.join(one.pair.labels)}" if one.pair.labels else "0",
            f"{one.n:,}" if one.scores else UNDEFINED,
            str(one.scores.n_clusters) if one.scores else UNDEFINED,
            UNDEFINED if one.pair.is_empty else percent(1 / len(one.pair.labels)),
            one.state,
        ]
        for one in entries
    ]
    return ["trained on", "tested on", "labels", "utterances tested", "speakers", "UAR of guessing", "state"], rows


def _how_to_read(matrix: CrossCorpus, entries: Sequence[PairResult]) -> list[str]:
    kinds = {one.kind for one in entries}
    lines = [
        "**WAR** (weighted average recall) is the share of utterances that are predicted correctly. **UAR** (unweighted "
        "average recall) is the mean of the recalls of the labels. Guessing has a UAR of 100 % divided by the number of "
        "labels, so cells with different numbers of labels cannot be compared.",
        "**[95 % CI]**: expanded percentile bootstrap over the speakers of the test corpus, and over seeds if there are "
        "several. It shows how much the figure would change with other speakers (and seeds). With one seed, it says "
        "nothing about other seeds.",
        "A pair uses the labels that both corpora have. The model was trained on these labels only, with all speakers of its "
        "corpus.",
    ]
    if "left out" in kinds:
        even = "Each corpus is drawn as often as the others" if matrix.settings.train.balance_corpora else (
            "Each corpus counts by its number of utterances; --train.balance_corpora true draws them evenly"
        )  # fmt: skip
        lines.append(
            f"**{ALL_OTHERS[0].upper()}{ALL_OTHERS[1:]}**: {ABOUT_OTHERS}. A label is used if "
            "the tested corpus and one of the others have it. In training, an utterance is not compared with labels "
            f"that its own corpus lacks. A corpus that shares only one label is left out. {even}."
        )
    if "within" in kinds:
        lines.append(
            "The **diagonal** is a cross-validation of one corpus: the models are trained on its other speakers, with all "
            "its labels. Compare it with other cells in the table 'Within the corpus and across', which has the same "
            "labels on both sides."
        )
    else:
        lines.append("The diagonal has no figures, because no corpus is tested on itself here: --within adds them.")
    return lines


# A terminal.


def print_crosscorpus(found: MatrixResults, console: Console) -> None:
    """Print the matrix. A cell has UAR, WAR, and the numbers of labels and utterances, one below the other."""
    matrix, entries = found.matrix, found.entries
    for warning in matrix.warnings:
        console.print(f"[bold red]Beware: {escape(warning)}.[/]")
    about = f". {ABOUT_WITHIN}" if any(one.kind == "within" for one in entries) else ""
    table = new_table(
        f"{TITLES[matrix.method]} across corpora, in percent: upper line UAR, lower line WAR",
        f"rows: trained on; columns: tested on; [95 % interval over {over(matrix)}]{about}",
        show_lines=True,
    )
    table.add_column("trained on", overflow="fold")
    for name in matrix.corpora:
        table.add_column(escape(name), justify="right")
    for name, row in grid_of(list(matrix.corpora), entries).items():
        table.add_row(escape(name), *(escape(_lines(one)) for one in row))
    console.print(table)
    print_cautions(_cautions(entries), console)


def _lines(one: PairResult | None) -> str:
    if one is None:
        return UNDEFINED
    if one.scores is None:
        return one.state
    lines = [figure_of(one, "uar"), figure_of(one, "war"), f"{len(one.pair.labels)} labels, n {one.n:,}"]
    return "\n".join([*([WITHIN.strip()] if one.kind == "within" else []), *lines])
