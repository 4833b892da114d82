"""Log-mel spectrograms of padded batches, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gemoclap.encoders.padding import valid_positions


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


class LogMel(nn.Module):
    """Raw audio -> log-mel frames.

    Frames are not centred: frame t covers the samples ``[t * hop, t * hop + window)``, so no frame of a clip sees the
    padding behind it. A clip shorter than one window has one frame, over the clip and zeros.

    Parameters
    ----------
    n_mels, low_hz, high_hz : of `mel_filterbank`.
    n_fft, window, hop : samples; the Hann window is filled with zeros up to `n_fft`.
    """

    filters: Tensor
    window_values: Tensor

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
        super().__init__()
        self.n_fft, self.window, self.hop = n_fft, window, hop
        filters = mel_filterbank(n_mels, n_fft, sample_rate, low_hz, high_hz)
        # Saved with the weights: transformers builds a model without data and fills in what it finds in the file.
        self.register_buffer("filters", filters)
        self.register_buffer("window_values", torch.hann_window(window))

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Samples -> frames, at least one."""
        return ((lengths - self.window).div(self.hop, rounding_mode="floor") + 1).clamp(min=1)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(log-mel (B, F, n_mels), mask (B, F) bool)`` of zero-padded ``waveforms (B, T)``; padding is 0."""
        counts = self.frame_counts(lengths)
        frames = int(counts.max())
        needed = (frames - 1) * self.hop + self.window
        waveforms = nn.functional.pad(waveforms[:, :needed].float(), (0, max(0, needed - waveforms.shape[1])))
        windows = waveforms.unfold(1, self.window, self.hop) * self.window_values
        spectrum = torch.fft.rfft(windows, self.n_fft)
        power = spectrum.real.square() + spectrum.imag.square()  # faster than abs(), which takes a root first
        log_mel = (power @ self.filters).add(1e-6).log()
        mask = valid_positions(counts, frames)
        return log_mel * mask.unsqueeze(-1), mask


def normalize_frames(frames: Tensor, mask: Tensor) -> Tensor:
    """Take each mel bin's mean over the clip away, and divide all bins by one standard deviation.

    Level and channel vanish, the spectral contrast stays [C]. ``frames (B, F, M)``, ``mask (B, F)`` True where real;
    the padding becomes zero, and so does a clip whose frames are all alike (silence).
    """
    weights = mask.unsqueeze(-1).to(frames.dtype)
    count = weights.sum(1, keepdim=True).clamp(min=1)
    centred = (frames - (frames * weights).sum(1, keepdim=True) / count) * weights
    variance = centred.square().sum((1, 2), keepdim=True) / (count * frames.shape[-1])
    return centred / variance.add(1e-5).sqrt()
