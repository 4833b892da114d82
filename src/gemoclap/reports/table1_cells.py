"""Reads the cells of Table 1 from its folder, finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gemoclap.metrics import Scores
from gemoclap.recipes.run_folder import CONFIG
from gemoclap.recipes.table1 import Cell, Table
from gemoclap.reports.records import MethodResults, Results
from gemoclap.reports.results import collect
from gemoclap.reports.rows import score_tables
from gemoclap.reports.tables import UNDEFINED


@dataclass(frozen=True)
class Entry:
    """A cell of the table: one encoder with one method.

    Attributes
    ----------
    encoder, method : their names in the table.
    finished : the cross-validations that have all their folds, one per seed.
    seeds : the seeds that were requested or have begun; empty if no command requested the cell.
    n_table_seeds : number of seeds of the table.
    folds : number of finished folds of the seed that has most, and number of all its folds; (0, 0) if no seed has begun.
    scores : means over the finished seeds, with intervals over speakers (and seeds, if there are several); None if no seed
        is finished.
    """

    encoder: str
    method: str
    finished: tuple[MethodResults, ...]
    seeds: tuple[int, ...]
    n_table_seeds: int
    folds: tuple[int, int]
    scores: Scores | None

    @property
    def is_finished(self) -> bool:
        return len(self.finished) == len(self.seeds)

    @property
    def state(self) -> str:
        """State of the cell: ``"finished"``, ``"2 of 3 seeds"``, ``"3 of 5 folds"``, ``"not begun"`` or ``"not requested"``."""
        if not self.seeds:
            return "not requested"
        if self.is_finished:
            return "finished"
        if self.finished:
            return f"{len(self.finished)} of {len(self.seeds)} seeds"
        done, number = self.folds
        return f"{done} of {number} folds" if done else "not begun"

    @property
    def instead(self) -> str:
        """Text of a cell without figures."""
        return self.state if self.seeds else UNDEFINED

    def beside(self, figures: str) -> str:
        """Return figures, followed by the number of finished seeds if it is not the number of seeds of the table."""
        lacks = len(self.finished) < self.n_table_seeds
        return f"{figures} ({len(self.finished)} of {self.n_table_seeds} seeds)" if lacks else figures

    def mean_of_folds(self, figure: str) -> float:
        """Return ``"war"``, ``"uar"``, ``"war_sd"`` or ``"uar_sd"`` over folds, averaged over the finished seeds."""
        return float(np.mean([getattr(one.mean, figure) for one in self.finished]))


@dataclass(frozen=True)
class TableResults:
    """A table with its figures.

    Attributes
    ----------
    table : with the rows and columns that other commands have added to its folder.
    entries : its cells, row by row. If several commands add rows, columns and seeds, the table can have cells that no command
        requested. These have no seeds.
    first : the results of the run with the most folds; None if no fold of any is finished.
    """

    table: Table
    entries: tuple[Entry, ...]
    first: Results | None


def read_table1(asked: Table) -> TableResults:
    """Return the figures of every cell in the table's folder."""
    table = asked.with_found()
    own = set(asked.cells)
    runs = {one: _results(one) for one in table.cells if one in own or (one.folder / CONFIG).is_file()}
    seeds: dict[tuple[str, str], dict[int, Results | None]] = {}
    for one, results in runs.items():
        seeds.setdefault((one.encoder, one.method), {})[one.seed] = results
    entries = tuple(
        _entry(table, encoder, method, seeds.get((encoder, method), {}))
        for encoder in table.encoders
        for method in table.methods
    )
    begun = [one for one in runs.values() if one is not None]
    first = max(begun, key=lambda one: len(one.methods[0].folds), default=None)
    return TableResults(table, entries, first)


def _results(cell: Cell) -> Results | None:
    return collect(cell.folder) if any(cell.folder.glob(f"{cell.method}/*/predictions.csv")) else None


def _entry(table: Table, encoder: str, method: str, runs: Mapping[int, Results | None]) -> Entry:
    begun = [run.methods[0] for run in runs.values() if run is not None]
    finished = [one for one in begun if not one.missing]
    tables = [one.predictions for one in finished if one.predictions is not None]
    folds = max(((len(one.folds), len(one.folds) + len(one.missing)) for one in begun), default=(0, 0))
    scores = score_tables(tables) if tables else None
    return Entry(encoder, method, tuple(finished), tuple(runs), len(table.seeds), folds, scores)
