"""The optimiser and its learning rate. Both depend only on the settings and on the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from gemoclap.config import TrainSettings
from gemoclap.errors import GemoclapError

ENCODERS = ("audio_encoder.model.", "text_encoder.", "encoder.model.")
"""How the names of the parameters of an encoder begin."""


def optimizer_for(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return Adam [P] for the trainable parameters, or AdamW (decoupled decay, [C]) if `weight_decay` is set.

    With `encoder_lr`, the parameters of the encoders have that learning rate, and the others have `lr` [C]. Weight decay is
    only used for matrices. For vectors and scalars (biases, normalisations, layer weights, temperatures) it does not
    regularise.

    Raises
    ------
    GemoclapError : every parameter is frozen.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not named:
        raise GemoclapError("the model has no trainable parameter; loosen --model.freeze or --model.freeze_text")
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        share = settings.encoder_lr / settings.lr if settings.encoder_lr and name.startswith(ENCODERS) else 1.0
        decays = settings.weight_decay > 0 and parameter.ndim >= 2
        groups.setdefault((share, decays), []).append(parameter)
    made: list[dict[str, Any]] = [
        {"params": parameters, "share": share, "weight_decay": settings.weight_decay if decays else 0.0}
        for (share, decays), parameters in sorted(groups.items(), key=lambda item: (-item[0][0], not item[0][1]))
    ]
    kind = torch.optim.AdamW if settings.weight_decay > 0 else torch.optim.Adam
    return kind(made, lr=settings.lr, fused=True)


def learning_rate_at(step: int, settings: TrainSettings, steps_per_epoch: int) -> float:
    """Return the learning rate of one optimiser step.

    With W = `warmup_epochs` * `steps_per_epoch` and T = `epochs` * `steps_per_epoch`, step s (from 0) has

    - warm-up, s < W:  lr * min(1, (s + 1) / W), so that no step has a rate of zero            [P: 5 epochs; C: linear]
    - constant:        lr                                                                      [C]
    - cosine:          lr * (1 + cos(pi * (s - W) / (T - W))) / 2, zero at s = T               [C]

    It depends on the step only, so it needs no state in a checkpoint.
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return settings.lr * min(1.0, (step + 1) / warmup)
    if settings.schedule == "constant":
        return settings.lr
    progress = (step - warmup) / (settings.epochs * steps_per_epoch - warmup)
    return settings.lr * 0.5 * (1.0 + math.cos(math.pi * progress))


def learning_rate_of(optimizer: torch.optim.Optimizer) -> float:
    """Return the learning rate that `set_learning_rate` set last."""
    group = optimizer.param_groups[0]
    return group["lr"] / group.get("share", 1.0)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group: `lr`, or for the encoders the corresponding share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("share", 1.0)
