"""Records of crosscorpus: every pair of corpora, models of all corpora but one, and each corpus within itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from results_commands import Command, unlike_the_default
from results_parts import REPEAT, Record, checked, figures, made_by, nan

from gemoclap.errors import GemoclapError
from gemoclap.files import read_json
from gemoclap.metrics import INTERVAL, INTERVAL_SEEDS, Difference
from gemoclap.predictions import PredictionTable, read_predictions
from gemoclap.recipes.crosscorpus import WITHIN, Pair
from gemoclap.recipes.run_folder import seed_folder
from gemoclap.reports.corpus_matrix import ALL_OTHERS, PairResult
from gemoclap.reports.rows import score_tables
from gemoclap.reports.within import CrossingCost, Within, collect_within, costs_of_cells

PARTS = {"pair": "pairs", "left out": "left_out", "within": "within"}
"""Kind of a cell -> where crosscorpus.json has such cells; earlier versions have pairs only."""


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix: its kind as in `PairResult`, its predictions with each seed, and the folders they are from."""

    kind: str
    pair: Pair
    tables: Sequence[PredictionTable]
    folders: Sequence[Path]

    @property
    def name(self) -> str:
        """Name of its row in a record."""
        if self.kind == "pair":
            return f"{self.pair.trained}_to_{self.pair.tested}"
        return f"{'within' if self.kind == 'within' else 'all_others'}/{self.pair.tested}"

    @property
    def row(self) -> Record:
        """Its row in a record."""
        facts = {"kind": self.kind, "trained_on": self.pair.trained, "tested_on": self.pair.tested}
        return {**facts, "labels": list(self.pair.labels), **figures(score_tables(self.tables))}


def of_crosscorpus(runs: Sequence[Path], commands: Sequence[str]) -> Record:
    """Return the figures of every cell: TRAINED_to_TESTED, and if the run has them, all_others/TESTED and within/TESTED.

    Raises
    ------
    GemoclapError : the command does not train the cells that the run has; a cell is not finished.
    """
    run, command = checked(runs, commands)
    data = read_json(run / "crosscorpus.json", REPEAT)
    _check_cells(command, data)
    cells = _read_cells(run, data)
    crossing = _crossing(cells)
    return {
        "made": made_by(folder for one in cells for folder in one.folders),
        "settings": {command.args.output: unlike_the_default(command)},
        "method": data["method"],
        "seeds": data["seeds"],
        "corpora": {
            name: {**facts, "manifest": Path(facts["manifest"]).name} for name, facts in data["corpora"].items()
        },
        "interval": INTERVAL if len(data["seeds"]) == 1 else INTERVAL_SEEDS,
        "rows": {one.name: one.row for one in cells},
        **({"across_minus_within": crossing} if crossing else {}),
    }


def _check_cells(command: Command, data: Mapping[str, Any]) -> None:
    """Refuse a command that trains other cells than those of the run."""
    args = command.args
    if args.within not in ([], ["train"]):
        raise GemoclapError(
            f"{command.text}: a record has the diagonal only if the run trained it; repeat the run with --within train"
        )
    asked = {
        "manifests": [Path(manifest).stem for manifest in args.manifests],
        "--method": args.method,
        "--seeds": args.seeds or [args.train.seed],
        "--leave_one_out": args.leave_one_out,
        "--within train": bool(args.within),
    }
    has = {
        "manifests": list(data["corpora"]),
        "--method": data["method"],
        "--seeds": data["seeds"],
        "--leave_one_out": bool(data.get("left_out")),
        "--within train": bool(data.get("within")),
    }
    for name, value in has.items():
        if value != asked[name]:
            one, other = (json.dumps(each, ensure_ascii=False) for each in (value, asked[name]))
            raise GemoclapError(f"{command.text}: {name} is {one} in the run, and {other} by the command")


def _read_cells(run: Path, data: Mapping[str, Any]) -> list[Cell]:
    found = []
    for kind, part in PARTS.items():
        for one in data.get(part, []):
            pair = Pair(one["trained_on"], one["tested_on"], tuple(one["labels"]))
            if pair.is_empty:
                continue  # nothing is trained for it
            cell = _read_within(run, pair, data) if kind == "within" else _read_pair(run, kind, pair, data["seeds"])
            if one["state"] != "finished" or len(cell.tables) < len(data["seeds"]):
                raise GemoclapError(f"{run}: {cell.name} is not finished; {REPEAT} first")
            found.append(cell)
    return found


def _read_pair(run: Path, kind: str, pair: Pair, seeds: Sequence[int]) -> Cell:
    paths = [seed_folder(run / "cells" / pair.name, seed) / "predictions.csv" for seed in seeds]
    finished = [path for path in paths if path.is_file()]
    return Cell(kind, pair, [read_predictions(path) for path in finished], [path.parent for path in finished])


def _read_within(run: Path, pair: Pair, data: Mapping[str, Any]) -> Cell:
    folders = [seed_folder(run / WITHIN / pair.tested, seed) for seed in data["seeds"]]
    found = collect_within(pair.tested, folders, data["method"], pair.labels)
    paths = [path for folder in folders for path in sorted(folder.glob(f"{data['method']}/*/predictions.csv"))]
    return Cell("within", pair, found.tables, [path.parent for path in paths])


def _crossing(cells: Sequence[Cell]) -> list[Record]:
    """Return what training on other corpora costs; with the labels of the pair on both sides, on the same utterances."""
    within = {
        one.pair.tested: Within("", tuple(one.tables), one.pair.labels, len(one.tables))
        for one in cells
        if one.kind == "within"
    }
    crossed = [
        (ALL_OTHERS if one.kind == "left out" else one.pair.trained, one.pair, one.tables)
        for one in cells
        if one.kind != "within"
    ]
    return [
        {
            "trained_on": title,
            "tested_on": cost.pair.tested,
            "labels": list(cost.pair.labels),
            "within": [cost.within.uar, *cost.within.uar_interval],
            "across": [cost.across.uar, *cost.across.uar_interval],
            "difference": [cost.difference.value, cost.difference.low, cost.difference.high],
        }
        for title, cost in costs_of_cells(crossed, within)
    ]


# From a record to what `gemoclap.reports` shows.


def entries_of(record: Mapping[str, Any]) -> list[PairResult]:
    """Return the cells of a record, for `gemoclap.reports.corpus_matrix`."""
    return [
        PairResult(_pair(row), 1, 1, _scores(uar=row["uar"], war=row["war"], n=row["n"]), row.get("kind", "pair"))
        for row in record["rows"].values()
    ]


def costs_of(record: Mapping[str, Any]) -> list[tuple[str, CrossingCost]]:
    """Return what training on other corpora costs, for `gemoclap.reports.within`; empty if a record does not have it."""
    return [
        (
            row["trained_on"],
            CrossingCost(
                _pair(row),
                _scores(uar=row["within"]),
                _scores(uar=row["across"]),
                Difference(*map(nan, row["difference"])),
            ),
        )
        for row in record.get("across_minus_within", [])
    ]


def _pair(row: Mapping[str, Any]) -> Pair:
    return Pair(row["trained_on"], row["tested_on"], tuple(row["labels"]))


def _scores(n: int = 0, **named: Sequence[float | None]) -> Any:
    """Return what tables and pictures need of `gemoclap.metrics.Scores`; a record has no confusion matrix."""
    found: dict[str, Any] = {"n": n}
    for name, (value, *interval) in named.items():
        found |= {name: nan(value), f"{name}_interval": tuple(map(nan, interval))}
    return SimpleNamespace(**found)
