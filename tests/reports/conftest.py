"""What several files on records share: the scripts, a made-up run, and its record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakerun import make_run
from matplotlib.font_manager import fontManager
from results_scripts import TWO, load, record

from gemoclap.reports import canvas, write_report


@pytest.fixture(scope="session")
def scripts() -> ModuleType:
    """scripts/results.py, and with it the modules beside it."""
    return load()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two methods, two folds and eight speakers. Tests do not change it."""
    return make_run(tmp_path_factory.mktemp("made") / "run", **TWO)


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three methods, and its report. Tests do not change it."""
    run = make_run(tmp_path_factory.mktemp("full") / "run")
    write_report(run)
    return run


@pytest.fixture(scope="session")
def found(scripts: ModuleType, made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of the run."""
    return record(scripts, made, tmp_path_factory.mktemp("record") / "made.json")


@pytest.fixture
def no_other_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that has nothing but matplotlib's own font."""
    monkeypatch.setattr(fontManager, "ttflist", [one for one in fontManager.ttflist if one.name == canvas.FONT])
    caches = (canvas.fonts_for, canvas._say_lacking)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()
