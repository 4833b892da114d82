"""The scripts that make the pages of results, for tests: no package has them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sklearn.metrics import recall_score
from table_files import read_table

ROOT = Path(__file__).parents[1]
COMMAND = "gemoclap crossval made.jsonl --methods emo_clap,ce -o runs/made"
TWO: dict[str, Any] = {"methods": ("emo_clap", "ce"), "n_folds": 2, "accuracy": (0.5, 0.6), "epochs": 2}
"""A made-up run of two methods, two folds and eight speakers; see `fakerun.make_run`."""


def load() -> ModuleType:
    """Return scripts/results.py, and import the modules beside it."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import results
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return results


def module(name: str) -> ModuleType:
    """Return one of the modules that `load` has imported."""
    return sys.modules[name]


def record(scripts: ModuleType, run: Path, target: Path, command: str = COMMAND, *more: str) -> dict[str, Any]:
    arguments = ["record", str(run), "--command", command, "--title", "Made, 8 classes", "-o", str(target), *more]
    assert call(scripts, *arguments) == 0
    return json.loads(target.read_text())


def call(scripts: ModuleType, *arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["results.py", *arguments])
        return scripts.main()


def answers(run: Path, method: str) -> list[dict[str, str]]:
    """Return the rows of a method's predictions, read without the package."""
    return [row for path in sorted(run.glob(f"{method}/*/predictions.csv")) for row in read_table(path)]


def uar_of(rows: list[dict[str, str]]) -> float:
    truth, said = ([row[name] for row in rows] for name in ("truth", "prediction"))
    return float(recall_score(truth, said, average="macro"))


def table(page: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its ruler."""
    lines = [line for line in page.splitlines() if line.startswith("|") and not set(line) <= set("|:- ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
