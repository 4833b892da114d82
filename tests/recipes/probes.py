"""Settings of a probe that takes a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gemoclap.config import DataSettings
from gemoclap.config.probe import LOG_MEL, ProbeHeadSettings, ProbeSettings, ProbeTrainSettings


def settings_for(manifest: Path, *encoders: str, folds: int = 2, dev: int = 0, **train: Any) -> ProbeSettings:
    """Return settings with few steps and one seed; `train` changes settings of the training."""
    return ProbeSettings(
        DataSettings(manifest=str(manifest), folds="kfold", n_folds=folds, dev_speakers=dev),
        list(encoders or (LOG_MEL,)),
        ProbeHeadSettings(hidden_dim=8),
        ProbeTrainSettings(**{"steps": 6, "batch_size": 8, "lr": 1e-2, "seeds": [0], **train}),
    )
