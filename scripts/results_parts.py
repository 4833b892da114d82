"""What the records of all commands have in common: the run's command, how it was made, and scores with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from results_commands import Command, check_command

from gemoclap.files import read_yaml
from gemoclap.metrics import Scores
from gemoclap.recipes.made import read_made
from gemoclap.recipes.run_folder import CONFIG
from gemoclap.reports.records import Results, Row

Record = dict[str, Any]
REPEAT, RESTORE = "repeat the run's command", "restore it from the run"
"""What to do about a run that is not finished, or lacks a file."""


def checked(runs: Sequence[Path], commands: Sequence[str]) -> tuple[Path, Command]:
    """Return the one run and its command, if they have the same settings."""
    (run,), (command,) = runs, map(Command.of, commands)
    check_command(command, read_yaml(run / CONFIG, RESTORE))
    return run, command


def made_by(folders: Iterable[Path]) -> Record:
    """Return with what the folds in these folders were made; `results` and `code` only if every fold has noted them."""
    each = list(folders)
    noted = [read_made([folder]) for folder in each]
    partial = {name for name in ("results", "code") if not all(one.get(name) for one in noted)}
    return {name: value for name, value in read_made(each).items() if name not in partial}


def figures(scores: Scores) -> Record:
    """Return scores with their intervals, each ``[value, low, high]`` between 0 and 1."""
    return {
        "n": scores.n,
        "speakers": scores.n_clusters,
        **{name: [getattr(scores, name), *getattr(scores, f"{name}_interval")] for name in ("war", "uar", "macro_f1")},
        "by_gender": scores.uar_by_gender,
        "recalls": scores.recalls,
    }


def corpus_facts(results: Results, rows: Sequence[Row]) -> Record:
    return {
        "manifest": Path(results.manifest).name,
        "vocabulary": results.vocabulary,
        "classes": results.class_counts,
        "speakers": max(row.scores.n_clusters for row in rows if row.scores),
        "folds": {fold.name: fold.hash for fold in results.folds},
    }


def nan(value: float | None) -> float:
    """Return a figure of a record; None stands for an undefined one."""
    return float("nan") if value is None else value
