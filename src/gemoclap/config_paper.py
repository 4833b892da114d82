"""What `gemoclap table1` starts from: the settings of configs/paper.yaml, and the audio encoders of the paper's Table 1.

An installed package has no configs/, so they stand here again; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

PAPER_SETTINGS: dict[str, Any] = {
    "data.audio.max_seconds": 14.0,
    "data.audio.trim_silence_db": None,
    "model.augment": False,
    "model.text_encoder": "roberta-base",
    "model.freeze_text": False,
    "model.text_pooling": "first",
    "model.pooling": "mean",
    "train.epochs": 50,
    "train.batch_size": 8,
    "train.batching": "shuffled",
    "train.lr": 1e-5,
    "train.weight_decay": 0.0,
    "train.warmup_epochs": 5.0,
    "train.schedule": "constant",
    "train.clip_norm": None,
}
"""By dotted name. Classes and folds are left to the corpus: IEMOCAP's usual ones are the paper's."""

PAPER_ENCODERS = (
    "facebook/hubert-large-ll60k",
    "facebook/wav2vec2-large",
    "microsoft/wavlm-large",
    "facebook/data2vec-audio-large",
)
"""Rows of the paper's Table 1, in its order; which checkpoints they were is not said [C]."""
