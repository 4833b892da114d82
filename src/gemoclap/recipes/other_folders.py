"""Says what a folder is that was named in place of a cross-validation's, and which folder to name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemoclap.errors import GemoclapError
from gemoclap.files import json_or_empty, read_yaml
from gemoclap.recipes.run_folder import CONFIG, FOLDS
from gemoclap.recipes.sharing import CELLS, LOCKS

CROSSVAL = "name the folder of a 'gemoclap crossval'"
TABLES = {"sweep.json": "sweep", "table1.json": "table1", "crosscorpus.json": "crosscorpus", "ems.json": "compare ems"}
"""File -> command that fills a folder with several runs, and writes this file beside them."""
DEEPEST = 4
"""How many folders above another are looked at: that of a fold's model is RUN/METHOD/FOLD/model."""


def other_folder(folder: Path) -> str | None:
    """Return what a folder is and what to name in its place, the end of a message; None if it may be a cross-validation's.

    It is also None if nothing is known of the folder.
    """
    if not folder.is_dir() or (folder / FOLDS).is_file():
        return None
    if (folder / CONFIG).is_file():
        return _of_several_runs(folder) or _of_one_model(folder)
    return _part_of_a_run(folder) or _of_several_runs(folder) or _of_reports(folder)


def refuse_other_folder(folder: Path) -> None:
    """Raise a GemoclapError if a folder is known to be something else than a cross-validation's."""
    if what := other_folder(folder):
        raise GemoclapError(f"{folder}: {what}")


def _of_several_runs(folder: Path) -> str | None:
    """Return the message for a sweep, a table or a matrix, and for a folder in which the user keeps several runs."""
    is_table = any((folder / name).is_dir() for name in (LOCKS, CELLS))
    plans = folder.rglob(FOLDS) if is_table else [*folder.glob(f"*/{FOLDS}"), *folder.glob(f"*/*/{FOLDS}")]
    runs = sorted(path.parent for path in plans if (path.parent / CONFIG).is_file())
    if not is_table:
        return f"is no run itself, but has runs in it; name one or several of them, such as {runs[0]}" if runs else None
    command = next((command for name, command in TABLES.items() if (folder / name).is_file()), None)
    what = f"the folder of a 'gemoclap {command}'" if command else "a folder of several trainings"
    one = f"; or name one of its runs, such as {runs[0]}" if runs else ""
    return (
        f"is {what}, not one cross-validation; repeat the command that made it, and its tables are written again{one}"
    )


def _of_one_model(folder: Path) -> str | None:
    """Return the message for what the commands that train one model or one encoder have written."""
    config = _config(folder)
    if config.get("methods"):
        return None
    model = folder / "model"
    if config.get("method") == "gmp_tl" and not model.is_dir():
        return (
            "has the steps of GMP-TL for one model of all speakers ('gemoclap gmp'), and no test speakers; "
            "name the folder of a 'gemoclap crossval MANIFEST --methods gmp_tl'"
        )
    if "method" in config:
        return (
            "has one model, which was trained on all speakers, and no test speakers; "
            f"{CROSSVAL}, or test the model on other speakers with 'gemoclap evaluate MANIFEST --model {model}'"
        )
    if "ranking" in config:
        return f"has a model of intensity ('gemoclap pretrain intensity'), which predicts no emotion; {CROSSVAL}"
    if "speech" in config:
        return (
            "has an encoder ('gemoclap pretrain ems'), which predicts no emotion; "
            f"{CROSSVAL} or 'gemoclap probe' that uses {model}"
        )
    return None


def _part_of_a_run(folder: Path) -> str | None:
    """Return the message for a folder inside that of a run."""
    for up in range(1, DEEPEST + 1):
        above = Path(os.path.normpath(Path(folder, *[os.pardir] * up)))
        if not (above / CONFIG).is_file():
            continue
        if (above / FOLDS).is_file():
            return f"is a part of the run in {above}; name {above}"
        what = _of_one_model(above)
        return f"is a part of {above}, which {what}" if what else None
    return None


def _of_reports(folder: Path) -> str | None:
    """Return the message for a report of several runs, and for that of an evaluation."""
    page = folder / "report.md"
    if (folder / "scores.json").is_file():
        return f"has one evaluation, whose report is {page}; {CROSSVAL}"
    runs = json_or_empty(folder / "results.json").get("runs")
    if not isinstance(runs, list) or not runs:
        return None
    named = " ".join(os.path.normpath(folder / str(run)) for run in runs)
    return f"has only the report of several runs, {page}; name the runs: {named}"


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        return read_yaml(folder / CONFIG, "")
    except GemoclapError:
        return {}  # whoever reads it next says what is wrong
