"""What several files on records share: the scripts, a made-up run, and its record."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakerun import make_run
from results_scripts import TWO, load, record


@pytest.fixture(scope="session")
def scripts() -> ModuleType:
    """scripts/results.py, and with it the modules beside it."""
    return load()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two methods, two folds and eight speakers. Tests do not change it."""
    return make_run(tmp_path_factory.mktemp("made") / "run", **TWO)


@pytest.fixture(scope="session")
def found(scripts: ModuleType, made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of the run."""
    return record(scripts, made, tmp_path_factory.mktemp("record") / "made.json")
