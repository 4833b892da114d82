"""What a fold says about the code that made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gemoclap
from gemoclap.recipes.made import MADE, RESULTS, begun_at, code_hash, read_made, write_made
from gemoclap.running import running_seconds


def test_a_fold_has_the_hash_of_the_code_and_the_number_of_the_results(tmp_path: Path) -> None:
    for fold in ("fold_1", "fold_2"):
        (tmp_path / fold).mkdir()
        write_made(tmp_path / fold, running_seconds())
    made = json.loads((tmp_path / "fold_1" / MADE).read_text())
    assert made["results"] == RESULTS and made["code"] == code_hash() and len(made["code"]) == 12
    together = read_made([tmp_path / "fold_1", tmp_path / "fold_2"])
    assert together["results"] == [str(RESULTS)] and together["code"] == [made["code"]]


def test_the_duration_is_that_of_the_clock_which_stands_still_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemoclap.recipes.made.running_seconds", lambda: 100.0)
    write_made(tmp_path, 40.0)
    assert read_made([tmp_path])["seconds"] == 60.0


def test_a_resumed_fold_counts_the_epochs_before_the_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the trainings in a fold's folder, those with a checkpoint are resumed, and some are finished. Others start again."""
    for name, has_checkpoint in (
        ("fold", True),
        ("fold/frames", True),
        ("fold/again", False),
        ("fold/features", False),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "log.jsonl").write_text('{"epoch": 1, "seconds": 20.5}\n{"epoch": 2, "seconds": 19.5}\n')
        if has_checkpoint:
            (folder / "checkpoint").mkdir()
    monkeypatch.setattr("gemoclap.recipes.made.running_seconds", lambda: 200.0)
    fold = tmp_path / "fold"
    assert begun_at(fold) == 120.0
    assert begun_at(fold, [fold / "features", fold / "frames", fold / "copied"]) == 80.0
    (fold / "frames" / "log.jsonl").write_text("cut of")
    assert begun_at(fold) == 160.0
    assert begun_at(tmp_path / "new") == 200.0


def test_the_hash_of_the_code_is_that_of_what_a_training_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("__init__.py", "training/loop.py", "reports/page.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("one = 1\n")
    monkeypatch.setattr(gemoclap, "__file__", str(tmp_path / "__init__.py"))
    first = code_hash.__wrapped__()
    (tmp_path / "reports" / "page.py").write_text("one = 2\n")
    assert code_hash.__wrapped__() == first
    (tmp_path / "training" / "loop.py").write_text("one = 2\n")
    assert code_hash.__wrapped__() != first
