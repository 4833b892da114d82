"""Table 1 of the GEmo-CLAP paper as published, in both readings of its columns."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PUBLISHED = (
    "The paper is Pan et al., arXiv 2306.07848; each cell of its Table 1 has two figures, and it labels them in two ways. "
    "Its introduction and its Table 2 call the first WAR and the second UAR; the header and the discussion of Table 1 call "
    "the first UAR and the second WAR. Both readings stand here. A later version reports SL-GEmo-CLAP with WavLM-large at "
    "WAR 83.16 and UAR 81.43."
)

READINGS = {"table_2": "Table 2", "table_1": "Table 1"}
"""Reading -> the table of the paper whose labels it takes."""

FIGURES: dict[str, dict[str, tuple[float, float]]] = {
    "HuBERT-large": {"emo_clap": (72.43, 73.79), "sl_gemo_clap": (74.29, 74.92), "ml_gemo_clap": (74.49, 74.41)},
    "wav2vec2-large": {"emo_clap": (74.39, 76.30), "sl_gemo_clap": (75.07, 76.32), "ml_gemo_clap": (75.27, 78.18)},
    "WavLM-large": {"emo_clap": (75.46, 78.07), "sl_gemo_clap": (77.22, 79.65), "ml_gemo_clap": (77.03, 80.42)},
    "data2vec-large": {"emo_clap": (74.58, 77.74), "sl_gemo_clap": (77.71, 79.96), "ml_gemo_clap": (77.32, 79.81)},
}
"""The paper's name of an encoder -> method -> its two figures, percent: WAR and UAR as introduction and Table 2 label them."""

CHECKPOINTS = {
    "hubert-large-ll60k": "HuBERT-large",
    "wav2vec2-large": "wav2vec2-large",
    "wavlm-large": "WavLM-large",
    "data2vec-audio-large": "data2vec-large",
}
"""Last part of a hub id, or of a folder with a copy -> the paper's name; which checkpoints it used is not said [C]."""


class Published(NamedTuple):
    """An encoder as the paper calls it, and its two figures under a method."""

    encoder: str
    figures: tuple[float, float]


def published(name: str, encoder: str, method: str) -> Published | None:
    """Return the paper's figures of an encoder, by its name in the table or else by its hub id; None where it has none."""
    title = CHECKPOINTS.get(name) or CHECKPOINTS.get(Path(encoder).name)
    figures = FIGURES[title].get(method) if title else None
    return Published(title, figures) if title and figures else None


def read_as(reading: str, figures: tuple[float, float]) -> tuple[float, float]:
    """Return (WAR, UAR) in one of `READINGS`."""
    first, second = figures
    return (first, second) if reading == "table_2" else (second, first)
