from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of real corpora and manifests beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no real corpora here: {SHARED.name}/ does not lie beside the repository")
    return SHARED


@pytest.fixture
def write_clip() -> Callable[..., Path]:
    """Return a function that writes a short noise clip, another one for each seed."""

    def write(path: Path, seed: int = 0, seconds: float = 0.1, sample_rate: int = 16000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * sample_rate))
        soundfile.write(path, noise, sample_rate)
        return path

    return write
