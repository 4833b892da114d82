"""During an export, replaces modules by others that compute the same with operators of ONNX, for any batch and any length.

Three things cannot be in a graph as they are. The Fourier transform of mel frames becomes a convolution with its basis. Numbers
of frames that depend on the values of `lengths` become those of the padded batch, whose additional frames are masked. Batch
norm in evaluation is the same for every frame, so the valid frames need not be packed first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders import w2v_bert
from gemoclap.encoders.compact import MaskedBatchNorm
from gemoclap.encoders.mel import LogMel
from gemoclap.encoders.overriding import calling_instead
from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.whisper import (
    CHUNK_SECONDS,
    FRAME,
    HOP,
    WINDOW,
    WhisperFrontEnd,
    extended,
    finished_levels,
    mel_filters,
)


@contextmanager
def portable(model: nn.Module) -> Iterator[None]:
    """During the block, replace the parts of a model in evaluation mode that cannot be exported."""
    with ExitStack() as stack:
        for module in model.modules():
            for kind, replaced in REPLACEMENTS.items():
                if isinstance(module, kind):
                    stack.enter_context(calling_instead(module, replaced(module)))
        yield


def fourier_basis(window: Tensor, n_fft: int) -> Tensor:
    """Return the real and imaginary parts of the transform of a window, ``(2 (n_fft // 2 + 1), 1, len(window))``."""
    places = torch.arange(len(window), dtype=torch.float64)
    angles = torch.outer(torch.arange(n_fft // 2 + 1, dtype=torch.float64), places).remainder(n_fft)
    angles = angles * (2 * math.pi / n_fft)
    return (torch.cat([angles.cos(), angles.sin()]) * window.double()).float().unsqueeze(1)


def band_power(waveforms: Tensor, basis: Tensor, hop: int, filters: Tensor) -> Tensor:
    """Return the power in each band, ``(B, F, M)``, of the windows of ``waveforms (B, T)``.

    The filters ``(n_fft // 2 + 1, M)`` are a convolution too. So they are not changed when matrix products are quantised.
    """
    real, imaginary = functional.conv1d(waveforms.unsqueeze(1), basis, stride=hop).chunk(2, dim=1)
    power = real.square() + imaginary.square()
    return functional.conv1d(power, filters.T.unsqueeze(-1).contiguous()).transpose(1, 2)


def _log_mel(mel: Any) -> Callable[..., Any]:
    """Return a function that does the same as `LogMel`, for as many frames as the padded batch has."""
    basis = fourier_basis(mel.window_values, mel.n_fft)

    def forward(waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        waveforms = functional.pad(waveforms, (0, mel.window))  # so that even the shortest clip has a frame
        power = band_power(waveforms, basis, mel.hop, mel.filters)
        mask = valid_positions(mel.frame_counts(lengths), power.shape[1])
        return power.add(1e-6).log() * mask.unsqueeze(-1), mask

    return forward


def _whisper_front_end(front_end: Any) -> Callable[..., Any]:
    """Return a function that does the same as `WhisperFrontEnd`, for clips of at most 30 s."""
    # They are made here, so that they are constants in the graph.
    basis = fourier_basis(torch.hann_window(WINDOW), WINDOW)
    filters = mel_filters(front_end.config.num_mel_bins, torch.device("cpu"))
    whole = CHUNK_SECONDS * SAMPLE_RATE

    def forward(waveforms: Tensor) -> Tensor:
        samples = front_end.lengths.samples.clamp(min=FRAME)
        waveforms = functional.pad(waveforms, (0, FRAME))
        if front_end.config.padded:
            samples = torch.full_like(samples, whole)
            waveforms = functional.pad(waveforms, (0, whole))[:, :whole]
        mask = valid_positions(samples // HOP, waveforms.shape[1] // HOP)
        power = band_power(extended(waveforms, samples, mask.shape[1]), basis, HOP, filters)
        return front_end.convolve(finished_levels(power, mask), mask)

    return forward


def _filter_bank(bank: Any) -> Callable[..., Any]:
    """Return a function that does the same as w2v-BERT's `FilterBank`, in double precision as there.

    All steps before the square are linear, so they are one matrix product.
    """
    size, device = w2v_bert.WINDOW, torch.device("cpu")
    whole = torch.eye(size, dtype=torch.float64)
    before = torch.diag(whole.diagonal()[1:], -1)
    before[0, 0] = 1.0  # the first sample of a window has none before it
    window = w2v_bert.povey_window(device, torch.float64).unsqueeze(1)
    prepared = w2v_bert.FULL_SCALE * window * ((whole - w2v_bert.PREEMPHASIS * before) @ (whole - 1 / size))
    spectrum = torch.fft.rfft(prepared, w2v_bert.FFT, dim=0)
    real, imaginary = spectrum.real.T.contiguous(), spectrum.imag.T.contiguous()
    filters = w2v_bert.mel_filters(device, torch.float64)

    def forward(waveforms: Tensor) -> Tensor:
        waveforms = functional.pad(waveforms, (0, w2v_bert.WINDOW + w2v_bert.HOP)).double()
        frames = (waveforms.shape[1] - w2v_bert.WINDOW) // w2v_bert.HOP + 1
        places = torch.arange(frames).unsqueeze(1) * w2v_bert.HOP + torch.arange(size)
        windows = waveforms[:, places]
        power = (windows @ real).square() + (windows @ imaginary).square()
        return w2v_bert.finished(power @ filters, bank.lengths.samples)[0].transpose(1, 2)

    return forward


def _batch_norm(norm: Any) -> Callable[..., Any]:
    """Return a function that does the same as `MaskedBatchNorm` in evaluation mode."""
    scale = (norm.running_var + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight)
    shift = (0.0 if norm.bias is None else norm.bias) - norm.running_mean * scale

    def forward(hidden: Tensor, mask: Tensor) -> Tensor:
        channels = (-1, *[1] * (hidden.ndim - 2))
        return (hidden * scale.view(channels) + shift.view(channels)) * mask

    return forward


REPLACEMENTS: dict[type[nn.Module], Callable[[Any], Callable[..., Any]]] = {
    LogMel: _log_mel,
    WhisperFrontEnd: _whisper_front_end,
    w2v_bert.FilterBank: _filter_bank,
    MaskedBatchNorm: _batch_norm,
}
"""Class -> function that takes a module of this class and returns what is called in place of its `forward`."""
