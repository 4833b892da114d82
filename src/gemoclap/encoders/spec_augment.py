"""Augments log-mel spectrograms in training: changes tempo and vocal tract by resampling, and hides stripes (SpecAugment)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def warp(frames: Tensor, lengths: Tensor, speed: Tensor, tract: Tensor) -> tuple[Tensor, Tensor]:
    """Resample each clip along time by `speed` and along the mel axis by `tract`, with linear interpolation.

    A speed above 1 shortens the clip; a tract factor above 1 moves everything down the mel axis, like a longer vocal
    tract. Pitch and formants move together.

    Parameters
    ----------
    frames : ``(B, F, M)``. The first `lengths` ``(B,)`` frames of each clip are valid. The others are not read.
    speed, tract : factors, ``(B,)``.

    Returns
    -------
    The resampled frames ``(B, F', M)`` and their lengths ``(B,)``. Frames beyond the length must be masked.
    """
    batch, width, mels = frames.shape
    warped_lengths = (lengths / speed).round().long().clamp(min=1)
    times = torch.arange(int(warped_lengths.max()), device=frames.device) * speed.unsqueeze(1)
    times = torch.minimum(times, (lengths - 1).unsqueeze(1).to(times))
    bins = (torch.arange(mels, device=frames.device) * tract.unsqueeze(1)).clamp(max=mels - 1)
    grid = torch.stack(
        [
            _to_unit(bins, mels).unsqueeze(1).expand(-1, times.shape[1], -1),
            _to_unit(times, width).unsqueeze(2).expand(-1, -1, mels),
        ],
        dim=-1,
    )
    warped = nn.functional.grid_sample(frames.unsqueeze(1), grid, align_corners=True, padding_mode="border")
    return warped.squeeze(1), warped_lengths


def _to_unit(position: Tensor, size: int) -> Tensor:
    """Index -> position for `grid_sample`, in which -1 is the centre of the first sample and 1 that of the last."""
    return position / max(size - 1, 1) * 2 - 1


def draw_factors(batch: int, width: float, device: torch.device) -> Tensor:
    """Return ``(batch,)`` factors drawn from ``[1 - width, 1 + width]``."""
    return 1 + width * (2 * torch.rand(batch, device=device) - 1)


def hide_stripes(frames: Tensor, extent: Tensor, axis: int, stripes: int, share: float) -> Tensor:
    """Set `stripes` stripes of each clip to zero along `axis` (1 is time, 2 is mel). This is SpecAugment (Park et al. 2019).

    Parameters
    ----------
    frames : ``(B, F, M)``, normalised, so that zero is the mean.
    extent : ``(B,)``, valid size along the axis.
    stripes, share : number of stripes. Each begins anywhere in the extent, and its width is at most `share` of it.
    """
    positions = torch.arange(frames.shape[axis], device=frames.device).unsqueeze(0)
    extents = extent.unsqueeze(1).to(torch.float32)
    for _ in range(stripes):
        start = torch.rand_like(extents) * extents
        width = torch.rand_like(extents) * extents * share
        hidden = (positions >= start) & (positions < torch.minimum(start + width, extents))
        frames = frames.masked_fill(hidden.unsqueeze(2) if axis == 1 else hidden.unsqueeze(1), 0.0)
    return frames


def covered_by_spans(starts: Tensor, span: int) -> Tensor:
    """Return bool ``(B, F)``, which is True at the `span` frames from each of ``starts`` on, as far as there are frames."""
    return nn.functional.pad(starts, (span - 1, 0)).unfold(1, span, 1).any(-1)
