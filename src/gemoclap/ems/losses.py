"""Outputs of a model of `ems.pretraining` -> named losses."""

from __future__ import annotations

import torch
from torch import Tensor

from gemoclap.data.targets import Losses, Targets

SECOND = {"intensity_l1": ("predicted_intensity", "intensity"), "sum_l1": ("predicted_sum", "sum")}
"""For each score head: the name of its loss, and of the two outputs that are compared."""


class Reconstruction:
    """L1 between predicted and true frames, and with a score head between its prediction and the truth [S].

    Both are means over the model's ``positions``: the hidden spans for MockingJay, all valid frames for NPC.

    Parameters
    ----------
    intensity_weight : weight of the second loss; the first has weight 1 [S: 1].

    Returns
    -------
    From the call: ``"loss"``, its parts ``"spectral_l1"`` and, with a score head, one of `SECOND`, and every 0-dim
    output of the model, for the log.
    """

    row_outputs: tuple[str, ...] = ()

    def __init__(self, intensity_weight: float = 1.0) -> None:
        self.intensity_weight = intensity_weight

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        positions = outputs["positions"]
        loss = spectral = masked_l1(outputs["prediction"], outputs["target"], positions)
        losses = {"spectral_l1": spectral}
        for name, (prediction, target) in SECOND.items():
            if prediction in outputs:
                losses[name] = masked_l1(outputs[prediction], outputs[target], positions)
                loss = spectral + self.intensity_weight * losses[name]
        diagnostics = {name: value.float() for name, value in outputs.items() if value.ndim == 0}
        return {"loss": loss, **losses, **diagnostics}


def masked_l1(prediction: Tensor, target: Tensor, positions: Tensor) -> Tensor:
    """Return the mean absolute difference over the frames that ``positions (B, F)`` marks; zero if there is none.

    ``prediction`` and ``target`` are ``(B, F)`` or ``(B, F, M)``; the difference is taken in float32 or wider.
    """
    differences = (prediction.to(torch.promote_types(prediction.dtype, torch.float32)) - target).abs()
    by_frame = differences.reshape(*positions.shape, -1).mean(-1)
    return by_frame.masked_fill(~positions, 0.0).sum() / positions.sum().clamp(min=1)
