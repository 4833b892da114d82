"""Pools the valid frames of each utterance into one vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gemoclap.errors import GemoclapError

QUANTILES = (0.1, 0.5, 0.9)
"""Those of `masked_quantiles` [C]."""


def masked_mean(frames: Tensor, mask: Tensor) -> Tensor:
    """Return the mean ``(B, D)`` of ``frames (B, F, D)`` where ``mask (B, F)`` is True [P], in float32, also under autocast."""
    frames = _wide(frames)
    weights = mask.unsqueeze(-1).to(frames.dtype)
    return (frames * weights).sum(1) / weights.sum(1).clamp(min=1)


def masked_mean_std(frames: Tensor, mask: Tensor) -> Tensor:
    """Return mean and standard deviation over the valid frames, concatenated, ``(B, 2 D)`` [C]."""
    frames = _wide(frames)
    mean = masked_mean(frames, mask)
    variance = masked_mean((frames - mean.unsqueeze(1)).square(), mask)
    return torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1)


def masked_quantiles(frames: Tensor, mask: Tensor) -> Tensor:
    """Return the `QUANTILES` of each dimension over the valid frames, concatenated, ``(B, 3 D)`` [C].

    Between two frames they are interpolated, as NumPy does. A few odd frames, such as clicks, change them less than they change
    mean and deviation.
    """
    ordered = _wide(frames).masked_fill(~mask.unsqueeze(-1), torch.inf).sort(dim=1).values
    last = mask.sum(1).clamp(min=1) - 1
    found = []
    for share in QUANTILES:
        place = share * last
        below = _at(ordered, place.floor())
        found.append(below + (place - place.floor()).unsqueeze(-1) * (_at(ordered, place.ceil()) - below))
    return torch.cat(found, dim=-1)


def _at(frames: Tensor, places: Tensor) -> Tensor:
    """Return one frame of each clip: ``(B, F, D)`` and ``(B,)`` -> ``(B, D)``."""
    return frames.gather(1, places.long().view(-1, 1, 1).expand(-1, 1, frames.shape[-1])).squeeze(1)


def _wide(frames: Tensor) -> Tensor:
    """Convert half precision to float32, because a sum over hundreds of frames would lose small values."""
    return frames.to(torch.promote_types(frames.dtype, torch.float32))


def attention_weights(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax of ``scores (B, F, H)`` over the frames where ``mask (B, F)`` is True; elsewhere it is zero."""
    scores = _wide(scores).masked_fill(~mask.unsqueeze(-1), -torch.inf)
    return scores.softmax(dim=1)


class AttentionPooling(nn.Module):
    """A learned weighted mean of the frames, and the standard deviation, for each head [C].

    Each head has a part of the frame, D / H wide. Its weights are ``a = softmax over frames of w_h tanh(W x + b)``. It returns
    ``mean = sum_t a_t x_t`` and ``std = sqrt(sum_t a_t (x_t - mean)^2)`` of its part. These are attentive statistics (Okabe et
    al. 2018, arXiv 1803.10963), but with several heads. The weights w start at zero, so that training starts from the plain
    mean and standard deviation.

    Parameters
    ----------
    frame_dim : D, a multiple of `heads`.
    heads : H.

    Raises
    ------
    GemoclapError : D is not a multiple of H.
    """

    def __init__(self, frame_dim: int, heads: int) -> None:
        super().__init__()
        if frame_dim % heads:
            raise GemoclapError(
                f"model.pooling_heads: {heads} heads cannot share frames of {frame_dim} values; give a divisor"
            )
        self.heads = heads
        self.hidden = nn.Linear(frame_dim, ATTENTION_DIM)
        self.score = nn.Linear(ATTENTION_DIM, heads, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``(B, F, D)`` and ``(B, F)`` -> ``(B, 2 D)``."""
        weights = attention_weights(self.score(self.hidden(frames).tanh()), mask).unsqueeze(-1)
        slices = _wide(frames).unflatten(-1, (self.heads, -1))
        mean = (weights * slices).sum(1)
        variance = (weights * (slices - mean.unsqueeze(1)).square()).sum(1)
        return torch.cat([mean.flatten(1), (variance + 1e-5).sqrt().flatten(1)], dim=-1)


class Standardizer(nn.Module):
    """Standardises pooled features ``(B, P)`` by mean and standard deviation over the training utterances [C].

    The dimensions of pre-trained encoders differ in size by orders of magnitude. Without this, a head that Adam trains would
    only use the largest ones. Before `fit` is called, features are not changed.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, features: Tensor) -> None:
        """Measure mean and deviation of ``features (N, P)``. Constant dimensions are divided by 1."""
        features = features.double()
        deviation = features.std(0, correction=0)
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


class RunningStandardizer(nn.BatchNorm1d):
    """Standardises pooled features ``(B, P)`` of an encoder that is being trained [C].

    In training, mean and deviation are those of the batch. In prediction, they are averages over the batches of the training,
    in which later batches have more weight.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, affine=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return standardised features. A single clip has no deviation, so it gets the averages, also in training."""
        if self.training and len(features) > 1:
            return super().forward(features.float())
        mean, variance = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        return (features - mean) / (variance + self.eps).sqrt()


def make_standardizer(
    kind: bool | Literal["running", "speaker"], size: int
) -> Standardizer | RunningStandardizer | None:
    """Return the standardiser that `config.ModelSettings.standardize` names, for features of a size."""
    if kind == "running":
        return RunningStandardizer(size)
    return Standardizer(size) if kind else None


class StatisticsPooling(nn.Module):
    """One of `POOLINGS`, as a module without weights."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return POOLINGS[self.name](frames, mask)


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": masked_mean,
    "mean_std": masked_mean_std,
    "quantiles": masked_quantiles,
}
"""Values of `ModelSettings.pooling` that have no weights. Their output can be cached."""
ATTENTION_DIM = 128
"""Width of the layer that computes the scores of frames [C]."""


def make_pooling(name: str, frame_dim: int, heads: int) -> nn.Module:
    """Return a module: frames ``(B, F, D)`` and mask ``(B, F)`` -> ``(B, pooled_dim)``. See `ModelSettings.pooling`."""
    return AttentionPooling(frame_dim, heads) if name == "attention" else StatisticsPooling(name)


def pooled_dim(pooling: str, frame_dim: int) -> int:
    """Return the size of a pooled vector."""
    statistics = {"mean": 1, "mean_std": 2, "quantiles": len(QUANTILES), "attention": 2}
    return statistics[pooling] * frame_dim
