"""Frames to one vector an utterance, over the valid frames alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def masked_mean(frames: Tensor, mask: Tensor) -> Tensor:
    """Return the mean ``(B, D)`` of ``frames (B, F, D)`` where ``mask (B, F)`` is True [P]; float32 also under autocast."""
    frames = _wide(frames)
    weights = mask.unsqueeze(-1).to(frames.dtype)
    return (frames * weights).sum(1) / weights.sum(1).clamp(min=1)


def masked_mean_std(frames: Tensor, mask: Tensor) -> Tensor:
    """Return mean and standard deviation over the valid frames side by side, ``(B, 2 D)`` [C]."""
    frames = _wide(frames)
    mean = masked_mean(frames, mask)
    variance = masked_mean((frames - mean.unsqueeze(1)).square(), mask)
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1)


def _wide(frames: Tensor) -> Tensor:
    """Half precision becomes float32: a sum over hundreds of frames loses the small ones in it."""
    return frames.to(torch.promote_types(frames.dtype, torch.float32))


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": masked_mean, "mean_std": masked_mean_std}
"""The choices of `ModelSettings.pooling`."""


def pooled_dim(pooling: str, frame_dim: int) -> int:
    """Return the width of a pooled vector."""
    return 2 * frame_dim if pooling == "mean_std" else frame_dim
