"""Settings of GMP-TL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gemoclap.config.limits import AT_LEAST_0, AT_LEAST_1, INSIDE_0_1, POSITIVE, check_limits
from gemoclap.errors import GemoclapError


@dataclass
class GmpSettings:
    """GMP-TL: frame pseudo-labels, and fine-tuning in two stages; its last stage is trained as `train` says.

    Args:
        gender: Whether the model whose frames are clustered also learns gender [P]; false: emotion alone.
        feature_epochs: Of that model's training; null: as many as train.epochs [C].
        features: Folder of another run of gmp_tl over the same folds, whose model of that kind is taken instead of
            training one, if it was trained with the same settings: for comparing what comes after it.
        layer: Whose frames are clustered: 0 is the input of the first layer, -1 the last, -3 the third-last [S].
        scales: Numbers of clusters, each its own pseudo-label and head [P: several; C: these].
        passes: Of k-means over all training frames at most [C].
        start: What the first stage, or without it the second, starts from: the pre-trained encoder [S], or that of the
            features [C].
        span_seconds: How much is hidden together in the first stage; 15 of HuBERT's frames [C].
        hidden_share: Of the frames that are hidden, on average, in long clips: 0.6 [C]; P-TAPT hides about 0.13 [S].
        frame_epochs: Of the first stage, on pseudo-labels of hidden frames; 0 leaves it out [C].
        frame_lr: Learning rate of the first stage, encoder and heads; null: train.lr and train.encoder_lr [C].
        head: Of the second stage: am_softmax [S] or ce.
    """

    gender: bool = True
    feature_epochs: int | None = None
    features: str | None = None
    layer: int = -3
    scales: list[int] = field(default_factory=lambda: [64, 512, 4096])
    passes: int = 10
    start: Literal["pretrained", "features"] = "pretrained"
    span_seconds: float = 0.3
    hidden_share: float = 0.6
    frame_epochs: int = 25
    frame_lr: float | None = None
    head: Literal["am_softmax", "ce"] = "am_softmax"

    def __post_init__(self) -> None:
        limits = {"feature_epochs": AT_LEAST_1, "passes": AT_LEAST_1, "frame_epochs": AT_LEAST_0, "frame_lr": POSITIVE}
        check_limits("gmp", self, **limits, span_seconds=POSITIVE, hidden_share=INSIDE_0_1)
        if not self.scales or min(self.scales) < 2 or len(set(self.scales)) < len(self.scales):
            raise GemoclapError(f"gmp.scales must be one or more numbers, 2 or more, each once, not {self.scales}")
