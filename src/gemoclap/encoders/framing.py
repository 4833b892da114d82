"""Samples and frames: normalises clips for an encoder, and computes the number of their frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders.padding import valid_positions


def normalize_clips(waveforms: Tensor, lengths: Tensor, do_normalize: bool) -> Tensor:
    """Set the padding to zero. Optionally, scale each clip to zero mean and unit variance over its own samples.

    The formula is that of `Wav2Vec2FeatureExtractor`: ``(x - mean) / sqrt(variance + 1e-7)``. Shapes are ``(B, T)`` and
    ``(B,)``.
    """
    padding = ~valid_positions(lengths, waveforms.shape[1])
    waveforms = waveforms.masked_fill(padding, 0.0)
    if not do_normalize:
        return waveforms
    count = lengths.clamp(min=1).unsqueeze(1)
    centred = (waveforms - waveforms.sum(1, keepdim=True) / count).masked_fill(padding, 0.0)
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-7)


def frame_counts_of(model: Any, samples: Tensor) -> Tensor:
    """Return the number of frames that a transformers model makes from each number of samples."""
    return model._get_feat_extract_output_lengths(samples)


def receptive_field(model: PreTrainedModel) -> tuple[int, int, int]:
    """Return three numbers of samples: of the shortest clip with a frame, from one frame to the next, and in one frame.

    Our own encoders make one frame even from a clip that is shorter than a frame.
    """
    counts = frame_counts_of(model, torch.arange(1, SAMPLE_RATE + 1, device="cpu"))
    minute = 60 * SAMPLE_RATE
    first, second = frame_counts_of(model, torch.tensor([minute, 2 * minute], device="cpu")).tolist()
    hop = round(minute / (second - first))
    # The shortest clip with two frames is one hop longer than a frame.
    return int((counts < 1).sum()) + 1, hop, max(1, int((counts < 2).sum()) + 1 - hop)
