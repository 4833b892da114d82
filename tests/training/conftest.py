"""Trainings here are short: each epoch's checkpoint is kept, as those of a long training's are."""

from __future__ import annotations

import pytest

from gemoclap.training import run


@pytest.fixture(autouse=True)
def keep_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "KEEP_SECONDS", 0.0)
