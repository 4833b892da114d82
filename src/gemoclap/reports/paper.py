"""Finds the figures of the GEmo-CLAP paper's Table 1 for an encoder of ours."""

from __future__ import annotations

from pathlib import Path

from gemoclap.config import TITLES
from gemoclap.reports.published import GEMO_CLAP, LABELS, LATER, PublishedSystem

PUBLISHED = (
    f"The paper is Pan et al., arXiv 2306.07848. {LABELS} A later version of the paper reports a WAR of {LATER[0]:.2f} and a "
    f"UAR of {LATER[1]:.2f} for SL-GEmo-CLAP with WavLM-large."
)

CHECKPOINTS = {
    "hubert-large-ll60k": "HuBERT-large",
    "wav2vec2-large": "wav2vec2-large",
    "wavlm-large": "WavLM-large",
    "data2vec-audio-large": "data2vec-large",
}
"""Last part of a hub id, or of a folder with a copy -> the paper's name. The paper does not name its checkpoints [C]."""


def published(name: str, encoder: str, method: str) -> PublishedSystem | None:
    """Return the paper's figures of an encoder, found by its name in the table or by its hub id; None if there are none."""
    title = CHECKPOINTS.get(name) or CHECKPOINTS.get(Path(encoder).name)
    systems = GEMO_CLAP.groups[0].systems
    return next((one for one in systems if (one.encoder, one.name) == (title, TITLES[method])), None)
