"""Log-mel spectrograms of padded batches, on any device; and the base class of encoders that use them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.sizes import refuse_impossible


def mel_filterbank(n_mels: int, n_fft: int, sample_rate: int, low_hz: float, high_hz: float) -> Tensor:
    """Return triangular filters, equally spaced on the mel scale of O'Shaughnessy: ``(n_fft // 2 + 1, n_mels)``.

    Each filter has a peak of 1; `mel = 2595 log10(1 + f / 700)`.
    """

    def to_mel(hz: float) -> float:
        return 2595.0 * math.log10(1.0 + hz / 700.0)

    mels = torch.linspace(to_mel(low_hz), to_mel(high_hz), n_mels + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64).unsqueeze(1)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).float()


class MelFrames(nn.Module):
    """Cuts raw audio into windows and computes their spectra. It is the base of log-mel frames and of mel magnitudes.

    Frames are not centred. Frame t has the samples ``[t * hop, t * hop + window)``, so no frame of a clip includes padding. A
    clip that is shorter than a window has one frame, which is filled up with zeros.

    Parameters
    ----------
    filters : mel filters, ``(n_fft // 2 + 1, n_mels)``.
    window_values : the window, padded with zeros to `n_fft` samples.
    hop, n_fft : numbers of samples.
    """

    filters: Tensor
    window_values: Tensor

    def __init__(self, filters: Tensor, window_values: Tensor, hop: int, n_fft: int) -> None:
        super().__init__()
        self.n_fft, self.window, self.hop = n_fft, len(window_values), hop
        # They are saved with the weights: transformers builds a model without data, and fills it from the file.
        self.register_buffer("filters", filters)
        self.register_buffer("window_values", window_values)

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Number of samples -> number of frames, at least one."""
        return ((lengths - self.window).div(self.hop, rounding_mode="floor") + 1).clamp(min=1)

    def spectra(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(complex spectra (B, F, n_fft // 2 + 1), mask (B, F) bool)`` of zero-padded ``waveforms (B, T)``."""
        counts = self.frame_counts(lengths)
        frames = int(counts.max())
        needed = (frames - 1) * self.hop + self.window
        waveforms = nn.functional.pad(waveforms[:, :needed].float(), (0, max(0, needed - waveforms.shape[1])))
        windows = waveforms.unfold(1, self.window, self.hop) * self.window_values
        return torch.fft.rfft(windows, self.n_fft), valid_positions(counts, frames)


class LogMel(MelFrames):
    """Raw audio -> log-mel frames, cut as `MelFrames` does.

    Parameters
    ----------
    n_mels, low_hz, high_hz : as in `mel_filterbank`.
    n_fft, window, hop : numbers of samples. The Hann window is padded with zeros to `n_fft`.
    """

    def __init__(
        self,
        n_mels: int = 64,
        sample_rate: int = 16000,
        n_fft: int = 512,
        window: int = 400,
        hop: int = 160,
        low_hz: float = 50.0,
        high_hz: float = 7600.0,
    ) -> None:
        filters = mel_filterbank(n_mels, n_fft, sample_rate, low_hz, high_hz)
        super().__init__(filters, torch.hann_window(window), hop, n_fft)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(log-mel (B, F, n_mels), mask (B, F) bool)`` of zero-padded ``waveforms (B, T)``. The padding is 0."""
        spectrum, mask = self.spectra(waveforms, lengths)
        power = spectrum.real.square() + spectrum.imag.square()  # faster than abs(), which computes a square root
        log_mel = (power @ self.filters).add(1e-6).log()
        return log_mel * mask.unsqueeze(-1), mask


def normalize_frames(frames: Tensor, mask: Tensor) -> Tensor:
    """Subtract the mean of each mel bin over the clip, and divide all bins by the same standard deviation.

    This removes level and channel, and keeps the spectral contrast [C]. Shapes are ``frames (B, F, M)`` and ``mask (B, F)``,
    which is True at real frames. The padding becomes zero. So does a clip whose frames are all equal, such as silence.
    """
    weights = mask.unsqueeze(-1).to(frames.dtype)
    count = weights.sum(1, keepdim=True).clamp(min=1)
    centred = (frames - (frames * weights).sum(1, keepdim=True) / count) * weights
    variance = centred.square().sum((1, 2), keepdim=True) / (count * frames.shape[-1])
    return centred / variance.add(1e-5).sqrt()


def cmvn(frames: Tensor, mask: Tensor) -> Tensor:
    """Scale each dimension to zero mean and unit variance over the clip (cepstral mean and variance normalisation) [S].

    Shapes are ``frames (B, F, M)`` and ``mask (B, F)``, which is True at real frames. The padding becomes zero. The variance is
    that of the population. 1e-5 is added to it, so that the noise of a silent band is not amplified [C].
    """
    weights = mask.unsqueeze(-1).to(frames.dtype)
    count = weights.sum(1, keepdim=True).clamp(min=1)
    centred = frames
    # The mean is subtracted twice, because the first one is rounded. A constant dimension far from zero must become zero.
    for _ in range(2):
        centred = (centred - (centred * weights).sum(1, keepdim=True) / count) * weights
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-5)


def deltas(frames: Tensor, mask: Tensor, width: int = 2) -> Tensor:
    """Return the slope of each dimension over time, in the shape of `frames`. It is zero in the padding.

    The slope is ``sum_n n (c[t + n] - c[t - n]) / (2 sum_n n^2)`` with n from 1 to `width`. This is the regression of Kaldi's
    add-deltas and of torchaudio's compute_deltas. Beyond the ends of a clip, its first and last frames are repeated.

    Parameters
    ----------
    frames, mask : ``(B, F, M)``, and ``(B, F)``, which is True at the first frames of each row. Only these frames are read.
    """
    positions = torch.arange(frames.shape[1], device=frames.device)
    last = (mask.sum(1) - 1).clamp(min=0).unsqueeze(1)

    def shifted(offset: int) -> Tensor:
        index = torch.minimum((positions + offset).clamp(min=0).unsqueeze(0), last)
        return frames.gather(1, index.unsqueeze(-1).expand_as(frames))

    slope = torch.zeros_like(frames)
    for offset in range(1, width + 1):
        slope = slope + offset * (shifted(offset) - shifted(-offset))
    return slope / (2 * sum(offset**2 for offset in range(1, width + 1))) * mask.unsqueeze(-1)


def append_deltas(frames: Tensor, mask: Tensor, order: int = 2, width: int = 2) -> Tensor:
    """Return the frames, their deltas, the deltas of these, and so on up to `order`: ``(B, F, (order + 1) M)``."""
    parts = [frames]
    for _ in range(order):
        parts.append(deltas(parts[-1], mask, width))
    return torch.cat(parts, dim=-1)


class MelFeatures(nn.Module):
    """Raw audio -> log-mel frames with `delta_order` orders of deltas, normalised by `cmvn`. Nothing in it is trained."""

    def __init__(
        self, n_mels: int, window: int, hop: int, n_fft: int, delta_order: int = 0, delta_width: int = 2
    ) -> None:
        super().__init__()
        self.log_mel = LogMel(n_mels, n_fft=n_fft, window=window, hop=hop)
        self.delta_order, self.delta_width = delta_order, delta_width

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(features (B, F, M), mask (B, F) bool)`` of zero-padded ``waveforms (B, T)``. The padding is zero."""
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            frames, mask = self.log_mel(waveforms, lengths)
            return cmvn(append_deltas(frames, mask, self.delta_order, self.delta_width), mask), mask


class MelEncoder(PreTrainedModel):
    """An encoder of mel features with two public steps, so that pre-training can mask frames between them.

    ``model(input_values (B, T), attention_mask (B, T))`` calls `features`, then `encode`. ``mask_time_indices`` (B, F)
    (transformers' name) hides frames between the two steps. They become zero, which is the mean.
    """

    main_input_name = "input_values"
    mel: MelFeatures

    def _get_feat_extract_output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of samples -> number of frames; transformers calls it so."""
        return self.mel.log_mel.frame_counts(lengths)

    def freeze_feature_encoder(self) -> None:
        """Do nothing, because the mel features have no weights; transformers calls it so."""

    def features(self, input_values: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return normalised features ``(B, F, M)``, without gradient, and their mask ``(B, F)``. The padding is zero."""
        lengths = input_values.new_full(input_values.shape[:1], input_values.shape[1], dtype=torch.long)
        if attention_mask is not None:
            lengths = attention_mask.sum(1)
        return self.mel(input_values, lengths)

    def encode(self, frames: Tensor, mask: Tensor, output_hidden_states: bool = False) -> BaseModelOutput:
        """Return ``last_hidden_state (B, F, D)``, and on request ``hidden_states``, for the result of `features`."""
        raise NotImplementedError

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        mask_time_indices: Tensor | None = None,
        **kwargs: object,
    ) -> BaseModelOutput:
        frames, mask = self.features(input_values, attention_mask)
        if mask_time_indices is not None:
            frames = frames.masked_fill(mask_time_indices.unsqueeze(-1), 0.0)
        return self.encode(frames, mask, output_hidden_states=output_hidden_states)


def refuse_impossible_sizes(config: Any, *names: str) -> None:
    """Raise a ValueError if no network can be built from the mel sizes and the fields `names` of `config`."""
    refuse_impossible(config, "n_mels", "window", "hop", "n_fft", *names)
    if config.window > config.n_fft:
        raise ValueError(f"n_fft ({config.n_fft}) must hold the window ({config.window})")
