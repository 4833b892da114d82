"""What tests of streams and timelines share."""

from __future__ import annotations

import pytest
from speaking import LoudNet


@pytest.fixture
def loud_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let streams take for speech what is loud."""
    monkeypatch.setattr("gemoclap.inference.stream.load_speech_net", LoudNet)
