"""Makes a record: the figures of one run, as a small JSON file that can be kept in the repository.

Figures are computed again from the run's predictions, so they have today's intervals and tests, also where the training is
older. A record has no path of a machine and no utterance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from results_crosscorpus import of_crosscorpus
from results_crossval import of_crossval
from results_other import of_ems, of_layers, of_sweep, of_table1
from results_parts import Record

from gemoclap import __version__
from gemoclap.errors import GemoclapError
from gemoclap.recipes.run_folder import CONFIG, seed_folders

FORM = 1
"""Raise it with a change after which older records cannot be read."""
MAKERS: dict[str, Callable[[Sequence[Path], Sequence[str]], Record]] = {
    "crossval": of_crossval,
    "table1": of_table1,
    "crosscorpus": of_crosscorpus,
    "sweep": of_sweep,
    "ems": of_ems,
    "layers": of_layers,
}
"""Command that made a run -> the function that makes the parts of its record that differ between commands."""


def make_record(runs: Sequence[Path], commands: Sequence[str], title: str) -> Record:
    """Return the record of a run, or of several cross-validations over the same folds that are compared with each other.

    Parameters
    ----------
    runs : the folders, or the .csv that benchmarks/emotion_by_layer.py wrote.
    commands : the command of each, with paths as a reader would type them.
    title : name of the corpus in tables.

    Raises
    ------
    GemoclapError : a file is missing or damaged; a command is not the run's; nothing is finished.
    """
    if len(runs) != len(commands):
        raise GemoclapError(
            f"{len(runs)} runs and {len(commands)} commands; give one --command for each run, in their order"
        )
    kind = kind_of(runs[0])
    if len(runs) > 1 and kind != "crossval":
        raise GemoclapError(f"{runs[0]}: only cross-validations can be recorded together")
    found = MAKERS[kind](runs, commands)
    return rounded(
        {
            "form": FORM,
            "kind": kind,
            "title": title,
            "commands": list(commands),
            "made": {"date": [_day(runs)], **found.pop("made", {})},
            "recorded": {"gemoclap": __version__, "date": datetime.now(UTC).strftime("%Y-%m-%d")},
            **found,
        }
    )


def kind_of(run: Path) -> str:
    """Return which command made a folder."""
    for kind in ("sweep", "table1", "crosscorpus", "ems"):
        if (run / f"{kind}.json").is_file():
            return kind
    if run.suffix == ".csv" and run.is_file():
        return "layers"
    if (run / CONFIG).is_file() or seed_folders(run):
        return "crossval"
    raise GemoclapError(f"{run}: no run of crossval, sweep, table1, crosscorpus or compare ems, and no table of layers")


def _day(runs: Iterable[Path]) -> str:
    """Return the day on which the last file of predictions, or else of results, was written."""
    files = [path for run in runs for path in (run.rglob("predictions.csv") if run.is_dir() else [run])]
    files = files or [path for run in runs for path in run.glob("*.json")]
    return datetime.fromtimestamp(max(path.stat().st_mtime for path in files), UTC).strftime("%Y-%m-%d")


def rounded(value: Any) -> Any:
    """Return plain data with six decimals, and None in place of NaN."""
    if isinstance(value, Mapping):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else round(float(value), 6)
    return value
