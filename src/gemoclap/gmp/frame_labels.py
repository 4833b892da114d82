"""Training on pseudo-labels of frames: which frames are hidden, and the model that predicts their labels at every scale.

This is GMP-TL's first stage of fine-tuning: one head per scale, cross-entropy of hidden frames, summed over scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gemoclap.data.targets import Losses, Targets
from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.spec_augment import covered_by_spans
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.heads.losses import widened


def draw_hidden(counts: Tensor, span: int, start: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw the frames to hide: bool ``(B, F)``, F being the largest of ``counts (B,)``.

    Each frame of a clip begins a span of `span` frames with probability `start`; spans overlap, and end where the clip ends.
    A clip in which none begins gets one at a random place, so that every clip has hidden frames [C]. A short clip can be
    hidden completely.

    Random numbers come from torch's global CPU generator or from the given one, and are the same on every device.
    """
    mask = valid_positions(counts, int(counts.max())).cpu()
    chance = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0)
    starts = chance < start
    lowest = chance.argmin(1, keepdim=True)
    starts |= torch.zeros_like(starts).scatter_(1, lowest, True) & ~starts.any(1, keepdim=True)
    return (covered_by_spans(starts, span) & mask).to(counts.device)


def span_rule(span_seconds: float, hidden_share: float, frame_seconds: float) -> tuple[int, float]:
    """Return the frames of a span, and the probability with which a frame begins one.

    Spans have the same length in time, and hide the same share, at any frame rate [C]. A frame is visible if none of `span`
    frames begins a span, with probability ``(1 - p) ** span``. For HuBERT, a share of 0.6 means 15 frames and p = 0.06.

    P-TAPT's 0.06 is not this p. It is the share that transformers' `_compute_mask_indices` aims at, with at least two spans per
    clip: with IEMOCAP's durations 12.8 % of the frames [S]. A `hidden_share` of 0.13 hides 13.9 % of them.
    """
    span = max(1, round(span_seconds / frame_seconds))
    return span, 1 - (1 - hidden_share) ** (1 / span)


class FrameLabelModel(nn.Module):
    """A speech encoder that is trained to predict the pseudo-labels of hidden frames.

    ``model(frame_labels (B, F, S), frame_labels_lengths (B,), waveforms (B, T), lengths (B,))`` returns, for each scale of k
    clusters, ``logits_k (n, k)`` and ``labels_k (n,)`` of the n hidden frames, and ``hidden_share``, 0-dim, for the log. In
    place of the waveforms it accepts ``frozen_frames (B, F, C)`` and ``frame_counts (B,)`` from
    `SpeechEncoder.frozen_frames`.

    Parameters
    ----------
    encoder : is trained in place.
    scales : S different numbers of clusters.
    span_seconds, hidden_share : see `span_rule`.

    Raises
    ------
    GemoclapError : the encoder cannot hide frames; in a call, the number of labels is not the encoder's number of frames.
    """

    def __init__(
        self, encoder: SpeechEncoder, scales: Sequence[int], span_seconds: float = 0.3, hidden_share: float = 0.6
    ) -> None:
        super().__init__()
        encoder.expect_hidden_frames()
        self.encoder, self.scales = encoder, tuple(scales)
        self.span, self.start = span_rule(span_seconds, hidden_share, encoder.frame_seconds)
        self.heads = nn.ModuleList(nn.Linear(encoder.output_dim, k) for k in self.scales)

    def forward(
        self,
        frame_labels: Tensor,
        frame_labels_lengths: Tensor,
        waveforms: Tensor | None = None,
        lengths: Tensor | None = None,
        frozen_frames: Tensor | None = None,
        frame_counts: Tensor | None = None,
    ) -> dict[str, Tensor]:
        counts = self.encoder.frame_counts(cast(Tensor, lengths)) if frame_counts is None else frame_counts
        if not torch.equal(frame_labels_lengths, counts):
            raise GemoclapError(
                f"clips of {counts.tolist()} frames have pseudo-labels for {frame_labels_lengths.tolist()}; make the labels "
                "with an encoder of the same frame rate"
            )
        hidden = draw_hidden(counts, self.span, self.start)
        if frozen_frames is None:
            frames, mask = self.encoder(waveforms, lengths, hidden)
        else:
            frames, mask = self.encoder.from_frozen_frames(frozen_frames, counts, hidden)
        seen = frames[:, : hidden.shape[1]][hidden]
        outputs: dict[str, Tensor] = {"hidden_share": hidden.sum() / mask.sum()}
        for place, (k, head) in enumerate(zip(self.scales, self.heads, strict=True)):
            outputs |= {f"logits_{k}": head(seen), f"labels_{k}": frame_labels[..., place][hidden].long()}
        return outputs


class FramePseudoLabels:
    """Cross-entropy of the hidden frames, summed over scales [P: frame-level; S: heads, CE].

    Returns
    -------
    From the call: ``"loss"``; for each scale ``"frame_cross_entropy_k"`` and ``"frame_accuracy_k"``; ``"hidden_share"``.
    """

    row_outputs: tuple[str, ...] = ()

    def __init__(self, scales: Sequence[int]) -> None:
        self.scales = tuple(scales)

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        losses: Losses = {}
        for k in self.scales:
            logits, labels = widened(outputs[f"logits_{k}"]), outputs[f"labels_{k}"]
            losses[f"frame_cross_entropy_{k}"] = functional.cross_entropy(logits, labels)
            losses[f"frame_accuracy_{k}"] = (logits.argmax(1) == labels).float().mean()
        total = torch.stack([losses[f"frame_cross_entropy_{k}"] for k in self.scales]).sum()
        return {"loss": total, **losses, "hidden_share": outputs["hidden_share"].float()}
