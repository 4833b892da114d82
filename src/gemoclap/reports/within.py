"""Scores of each corpus within itself, to stand beside a matrix of corpora: speaker-disjoint cross-validations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash
from gemoclap.metrics import Difference, Scores, confusion_by_seed, difference_over_speakers
from gemoclap.predictions import PredictionTable, aligned
from gemoclap.recipes.crosscorpus import CrossCorpus, Pair
from gemoclap.recipes.other_folders import other_folder
from gemoclap.recipes.run_folder import CONFIG, MANIFEST_HASH, determining, first_difference
from gemoclap.reports.document import Grid
from gemoclap.reports.records import MethodResults, Results
from gemoclap.reports.results import collect
from gemoclap.reports.rows import score_tables, tables_of
from gemoclap.reports.systems import is_run, read_run
from gemoclap.reports.tables import with_interval, with_points

DECIDING = ("model", "objective", "train")
"""Sections of config.yaml in which a cross-validation should not differ from the matrix."""


@dataclass(frozen=True)
class Within:
    """The cross-validation of one corpus.

    Attributes
    ----------
    source : its folder.
    tables : predictions for all its test speakers, one table per finished seed.
    labels : its classes.
    n_seeds : number of seeds that were asked for.
    remarks : what a reader must know.
    """

    source: str
    tables: tuple[PredictionTable, ...]
    labels: tuple[str, ...]
    n_seeds: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class CrossingCost:
    """UAR of a pair minus that within the tested corpus, both among the pair's labels and on the same utterances."""

    pair: Pair
    within: Scores
    across: Scores
    difference: Difference


def read_within(matrix: CrossCorpus, runs: Sequence[str] = ()) -> dict[str, Within]:
    """Return corpus -> its cross-validation: those that the matrix trains, and runs that the user names.

    Raises
    ------
    GemoclapError : a run is no cross-validation; it is of none of the corpora, or has another method; two are of the same
        corpus.
    """
    found = {name: _trained(matrix, name) for name in matrix.within}
    manifests = {file_hash(str(one.data.manifest)): name for name, one in matrix.corpora.items()} if runs else {}
    for run in runs:
        if not is_run(Path(run)):
            other = other_folder(Path(run)) or "is not the folder of a cross-validation; name one"
            raise GemoclapError(f"--within {run}: {other}, or give --within train")
        results = read_run(Path(run))
        name = manifests.get(str(results.config.get(MANIFEST_HASH)))
        if name is None:
            raise GemoclapError(
                f"--within {run}: is of {results.manifest}, which is none of the manifests here; name a run of one of them"
            )
        if name in found:
            raise GemoclapError(f"--within {run}: is of {name}, as another run is; name one of them")
        found[name] = _given(matrix, run, results)
    return {name: found[name] for name in matrix.corpora if name in found}


def _trained(matrix: CrossCorpus, name: str) -> Within:
    folders = [matrix.within_folder(name, seed) for seed in matrix.seeds]
    return collect_within(name, folders, matrix.method, matrix.corpora[name].labels)


def collect_within(name: str, folders: Sequence[Path], method: str, labels: Sequence[str]) -> Within:
    """Return the cross-validation of one corpus that a matrix trained, from its folders, one for each seed."""
    read = [collect(one) for one in folders if any(one.glob(f"{method}/*/predictions.csv"))]
    tables = _finished(found for results in read for found in results.methods)
    remarks = tuple(dict.fromkeys(remark for results in read for remark in _remarks(name, results)))
    return Within(str(folders[0].parent), tables, tuple(labels), len(folders), remarks)


def _given(matrix: CrossCorpus, run: str, results: Results) -> Within:
    rows = [row for row in results.rows if row.first.folder.name == matrix.method]
    if not rows:
        raise GemoclapError(f"--within {run}: has no {matrix.method}, which is the method here; name a run that has it")
    if len(rows) > 1:
        raise GemoclapError(f"--within {run}: has several settings of {matrix.method}; name a run with one")
    (row,) = rows
    own = {name: section for name, section in determining(results.config).items() if name in DECIDING}
    here = {name: section for name, section in determining(matrix.settings.to_dict()).items() if name in DECIDING}
    for config in (own, here):
        if "train" in config:
            config["train"] = {name: value for name, value in config["train"].items() if name != "seed"}
    differs = first_difference(here, own)
    remarks = _remarks(run, results)
    if differs:
        remarks.append(f"{run} has other settings than the matrix ({differs} differs, see its {CONFIG})")
    return Within(run, _finished(row.members.values()), results.classes, len(row.members), tuple(remarks))


def _finished(methods: Iterable[MethodResults]) -> tuple[PredictionTable, ...]:
    return tuple(tables_of([one for one in methods if not one.missing]))


def _remarks(name: str, results: Results) -> list[str]:
    if results.speaker_overlap:
        return [
            f"within {name}, speakers are shared between training and test: its figures are not speaker-independent"
        ]
    return []


def cost_of(pair: Pair, within: Within | None, across: Sequence[PredictionTable]) -> CrossingCost | None:
    """Return what training on another corpus costs; None if one of both sides is not finished.

    The models of a cross-validation know all classes of their corpus. Here they choose among those of the pair.
    """
    if within is None or not within.tables or not across or not set(pair.labels) <= set(within.tables[0].classes):
        return None
    # A cross-validation need not test every utterance of its corpus, for example with the corpus's own partitions.
    common = set.intersection(*(set(table.ids) for table in (*within.tables, *across)))
    own = [restricted(table, pair.labels, common) for table in within.tables]
    other = [restricted(table, pair.labels, common) for table in across]
    if not all(map(len, (*own, *other))):
        return None
    by_seed = confusion_by_seed(aligned([*own, *other]), pair.labels)
    return CrossingCost(
        pair,
        score_tables(own),
        score_tables(other),
        difference_over_speakers(by_seed[: len(own)], by_seed[len(own) :]),
    )


def costs_of_cells(
    cells: Iterable[tuple[str, Pair, Sequence[PredictionTable]]], within: Mapping[str, Within]
) -> list[tuple[str, CrossingCost]]:
    """Return title and cost of each cell of a matrix, where both it and its tested corpus's cross-validation are finished.

    Parameters
    ----------
    cells : title of the row, pair, and predictions with each seed.
    within : corpus -> its cross-validation.
    """
    found = [(title, cost_of(pair, within.get(pair.tested), tables)) for title, pair, tables in cells]
    return [(title, cost) for title, cost in found if cost is not None]


def cost_grid(costs: Sequence[tuple[str, CrossingCost]]) -> Grid:
    """Return the table of costs, each with the title of what was trained on."""
    rows = [
        [
            title,
            cost.pair.tested,
            str(len(cost.pair.labels)),
            with_interval(cost.within.uar, cost.within.uar_interval),
            with_interval(cost.across.uar, cost.across.uar_interval),
            with_points(cost.difference),
        ]
        for title, cost in costs
    ]
    header = ["trained on", "tested on", "labels", "within the tested corpus", "across", "across minus within, points"]
    caption = (
        "UAR in percent, both among the labels of the pair and on the same utterances. Models of a cross-validation were "
        "trained on other speakers of the tested corpus and on all its labels; here they choose among those of the pair. "
        "The difference is paired by speaker."
    )
    return Grid(caption, (header, rows), text_columns=2)


def restricted(table: PredictionTable, labels: Sequence[str], ids: Collection[str]) -> PredictionTable:
    """Return the rows with one of the labels and one of the ids; the prediction is the likeliest of the labels."""
    rows = enumerate(zip(table.ids, table.truth, strict=True))
    places = [place for place, (name, truth) in rows if name in ids and truth in labels]
    columns = [table.classes.index(label) for label in labels]
    kept = table.probabilities[places][:, columns]
    words: dict[str, Any] = {
        name: tuple(getattr(table, name)[place] for place in places)
        for name in ("ids", "speakers", "genders", "truth", "paths")
    }
    said = tuple(labels[index] for index in np.argmax(kept, axis=1))
    return PredictionTable(
        classes=tuple(labels), folds=(None,) * len(places), prediction=said, probabilities=kept, **words
    )
