"""The figures of the GEmo-CLAP paper's Table 1. The paper labels its columns in two ways; both are given."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PUBLISHED = (
    "The paper is Pan et al., arXiv 2306.07848. Each cell of its Table 1 has two figures, and the paper labels them in two "
    "ways. In its introduction and its Table 2 the first is WAR and the second is UAR. In the header and the discussion of "
    "Table 1 the first is UAR and the second is WAR. Both are shown here. A later version of the paper reports a WAR of 83.16 "
    "and a UAR of 81.43 for SL-GEmo-CLAP with WavLM-large."
)

READINGS = {"table_2": "Table 2", "table_1": "Table 1"}
"""Reading -> the table of the paper that labels the figures in this way."""

FIGURES: dict[str, dict[str, tuple[float, float]]] = {
    "HuBERT-large": {"emo_clap": (72.43, 73.79), "sl_gemo_clap": (74.29, 74.92), "ml_gemo_clap": (74.49, 74.41)},
    "wav2vec2-large": {"emo_clap": (74.39, 76.30), "sl_gemo_clap": (75.07, 76.32), "ml_gemo_clap": (75.27, 78.18)},
    "WavLM-large": {"emo_clap": (75.46, 78.07), "sl_gemo_clap": (77.22, 79.65), "ml_gemo_clap": (77.03, 80.42)},
    "data2vec-large": {"emo_clap": (74.58, 77.74), "sl_gemo_clap": (77.71, 79.96), "ml_gemo_clap": (77.32, 79.81)},
}
"""The paper's name of an encoder -> method -> (WAR, UAR) in percent, as labelled in the introduction and Table 2."""

CHECKPOINTS = {
    "hubert-large-ll60k": "HuBERT-large",
    "wav2vec2-large": "wav2vec2-large",
    "wavlm-large": "WavLM-large",
    "data2vec-audio-large": "data2vec-large",
}
"""Last part of a hub id, or of a folder with a copy -> the paper's name. The paper does not name its checkpoints [C]."""


class Published(NamedTuple):
    """The paper's name of an encoder, and its two figures for a method."""

    encoder: str
    figures: tuple[float, float]


def published(name: str, encoder: str, method: str) -> Published | None:
    """Return the paper's figures of an encoder, found by its name in the table or by its hub id; None if there are none."""
    title = CHECKPOINTS.get(name) or CHECKPOINTS.get(Path(encoder).name)
    figures = FIGURES[title].get(method) if title else None
    return Published(title, figures) if title and figures else None


def read_as(reading: str, figures: tuple[float, float]) -> tuple[float, float]:
    """Return (WAR, UAR), labelled as one of `READINGS`."""
    first, second = figures
    return (first, second) if reading == "table_2" else (second, first)
