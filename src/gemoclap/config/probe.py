"""Settings of a probe, a linear head on frozen encoders. Plain dataclasses, as in the rest of this folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gemoclap.config import (
    AT_LEAST_1,
    POSITIVE,
    CacheSettings,
    DataSettings,
    check_limits,
    check_seeds,
)
from gemoclap.config.data import refuse_perturbed_copies
from gemoclap.errors import GemoclapError

LOG_MEL = "log_mel"
"""Name of the baseline without an encoder: the mean log-mel spectrum of a clip (80 bands) with the same head.

This is S3PRL's ``fbank_no_cmvn``. Its ``fbank`` subtracts each band's mean over the clip, so that every clip is pooled to
the same vector, zero (s3prl issue 316) [S]. Deltas are left out, because their mean over a clip is only a difference of
the clip's ends [C]. What remains is the long-term spectrum and the level, which is higher in a loud voice."""


@dataclass
class ProbeHeadSettings:
    """Linear head ([S] = from a secondary source, [C] = our choice).

    Args:
        layers: Layers of the encoder to use: weighted = a learned weighted sum of all [S], or last.
        rescale: Divide the features by their root mean square over the training utterances (one number), so that encoders
            with small and with large outputs learn equally fast [C; S: not done].
        hidden_dim: Size of the hidden layer between the two linear layers [S].
    """

    layers: Literal["weighted", "last"] = "weighted"
    rescale: bool = True
    hidden_dim: int = 256

    def __post_init__(self) -> None:
        check_limits("head", self, hidden_dim=AT_LEAST_1)


@dataclass
class ProbeTrainSettings:
    """Training of the linear head.

    Args:
        steps: Number of optimiser steps; training goes on to the end of the last epoch [C; S: 30,000]. More steps gained
            nothing on development speakers of EmoDB, nor did 10,000 steps at a rate of 1e-4. On nEMO log_mel gained 3
            points up to 5,000 steps.
        batch_size: Utterances per step [S: 4, with the gradients of 8 batches added up].
        lr: Learning rate of Adam [C; S: 1e-4], constant [S].
        clip_norm: Largest gradient norm; larger gradients are scaled down to it [S]. null = no clipping.
        class_weights: Weights of the classes in the cross-entropy: none [S], or balanced (inverse to their frequency).
        select: Epoch to report: last [C], or dev (the epoch with the best UAR on the development speakers; needs
            data.dev_speakers) [S: the best accuracy on the development set].
        seeds: Seeds of initialisation and batch order; one head is trained per seed. seeds.json and seeds.csv have the mean
            over seeds and its interval.
    """

    steps: int = 2000
    batch_size: int = 32
    lr: float = 1e-3
    clip_norm: float | None = 1.0
    class_weights: Literal["none", "balanced"] = "none"
    select: Literal["last", "dev"] = "last"
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])

    def __post_init__(self) -> None:
        limits = {"steps": AT_LEAST_1, "batch_size": AT_LEAST_1, "lr": POSITIVE, "clip_norm": POSITIVE}
        check_limits("train", self, **limits)
        check_seeds("train.seeds", self.seeds)


@dataclass
class ProbeSettings:
    """All settings of a probe: a linear head on frozen encoders.

    Args:
        data: Utterances, classes and folds.
        encoders: Encoders to compare. Each is log_mel (the baseline without an encoder), an untrained encoder such as compact
            (its weights are drawn from the first seed), a Hugging Face id or a folder. NAME=ENCODER sets its name in
            folders and tables. The others are compared with the first.
        head: The linear head.
        train: Training of the head.
        cache: Where audio and pooled layers are kept.
    """

    data: DataSettings = field(default_factory=DataSettings)
    encoders: list[str] = field(default_factory=lambda: [LOG_MEL])
    head: ProbeHeadSettings = field(default_factory=ProbeHeadSettings)
    train: ProbeTrainSettings = field(default_factory=ProbeTrainSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)

    def __post_init__(self) -> None:
        refuse_perturbed_copies(self.data, "probe")
        if not self.encoders:
            raise GemoclapError(f"no encoder to probe; give hub ids, folders or {LOG_MEL} with --encoders")
