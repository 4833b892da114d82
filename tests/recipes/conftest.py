"""How often a speech encoder runs, for tests of what is computed once."""

from __future__ import annotations

import pytest

from gemoclap.encoders.speech import SpeechEncoder


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the clips that go through the front end and through the whole encoder for its layers."""
    counts = {"front_end": 0, "layer_features": 0}

    def counting(name: str) -> None:
        plain = getattr(SpeechEncoder, name)

        def method(self, waveforms, *rest):
            counts[name] += len(waveforms)
            return plain(self, waveforms, *rest)

        monkeypatch.setattr(SpeechEncoder, name, method)

    for name in counts:
        counting(name)
    return counts
