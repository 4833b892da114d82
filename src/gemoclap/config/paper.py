"""Defaults of `gemoclap table1`: the settings of configs/paper.yaml, and the audio encoders of the paper's Table 1."""

from __future__ import annotations

from typing import Any

import yaml

from gemoclap.config.files import find

LEFT_TO_THE_TABLE = {"model": ("audio_encoder",), "data": ("vocabulary", "folds")}
"""Settings that depend on the table's row or on the corpus. IEMOCAP's standard classes and folds are the paper's."""

PAPER_ENCODERS = (
    "facebook/hubert-large-ll60k",
    "facebook/wav2vec2-large",
    "microsoft/wavlm-large",
    "facebook/data2vec-audio-large",
)
"""Rows of the paper's Table 1, in its order. The paper does not name the checkpoints; these are our choice [C]."""


def paper_settings() -> dict[str, Any]:
    """Return the settings of configs/paper.yaml without the encoder, the classes and the folds."""
    settings = yaml.safe_load(find("paper").read_text(encoding="utf-8"))
    return {
        section: {name: value for name, value in values.items() if name not in LEFT_TO_THE_TABLE.get(section, ())}
        for section, values in settings.items()
    }
