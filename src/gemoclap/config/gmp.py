"""Settings of GMP-TL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gemoclap.config.limits import AT_LEAST_0, AT_LEAST_1, INSIDE_0_1, POSITIVE, check_limits
from gemoclap.errors import GemoclapError


@dataclass
class GmpSettings:
    """GMP-TL: pseudo-labels of frames, then fine-tuning in two stages. The last stage uses the settings of `train`.

    Args:
        gender: Train the feature model (the model whose frames are clustered) on emotion and gender [P]. false = on
            emotion alone.
        feature_epochs: Epochs of training the feature model [C]. null = train.epochs.
        features: Folder of another gmp_tl run over the same folds, to reuse its feature model in place of training one.
            That run must have trained it with the same settings. Useful for comparing the later steps.
        layer: Layer whose frames are clustered: 0 = the input of the first layer, -1 = the last layer, -3 = the
            third-last [S].
        scales: Numbers of clusters. Each gives its own pseudo-labels and its own head [P: several; C: these].
        passes: Largest number of k-means passes over all training frames [C].
        start: Encoder that fine-tuning starts from: pretrained = the pre-trained encoder [S]; features = the feature
            model [C].
        span_seconds: Length of a hidden span in the first stage, in seconds. The default is 15 frames of HuBERT [C].
        hidden_share: Average share of frames hidden in the first stage, in long clips: 0.6 [C]; P-TAPT hides about
            0.13 [S].
        frame_epochs: Epochs of the first stage, which predicts the pseudo-labels of hidden frames [C]. 0 skips it.
        frame_lr: Learning rate of the first stage, for encoder and heads [C]. null = train.lr and train.encoder_lr.
        head: Loss of the second stage: am_softmax [S], or ce (cross-entropy).
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
