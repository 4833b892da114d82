"""Intensity of emotion over time: a network like StrengthNet (Liu et al., arXiv 2110.03156).

It is trained with one strength per utterance (`ranking.py`), and predicts one score per frame. The mean of the scores is
trained to equal the strength. A second task, predicting the emotion, makes the features depend on emotion. Structure and
losses follow StrengthNet's public code [S], except where padding, initialisation and PyTorch need changes [C].
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from gemoclap.audio import SAMPLE_RATE
from gemoclap.data.audio_store import pad_waveforms
from gemoclap.data.targets import Losses, Targets
from gemoclap.encoders.hub import expect_hub
from gemoclap.encoders.mel import MelFrames, mel_filterbank, refuse_impossible_sizes
from gemoclap.encoders.pooling import masked_mean
from gemoclap.encoders.pretrained import readable_errors
from gemoclap.encoders.speech_model import LabelledConfig, check_config, check_loaded
from gemoclap.errors import GemoclapError

SIZES: dict[str, dict[str, Any]] = {
    "strengthnet": {},
    "small": {
        "log_mel": True,
        "input_size": 81,
        "channels": [8, 16, 16, 32],
        "lstm_size": 64,
        "head_size": 64,
    },
}
"""Sizes by name: StrengthNet's [S], and a small one that trains in minutes on a CPU, with the logarithm of its input [C]."""

LOG_FLOOR = 0.01
"""Scale of magnitudes before the logarithm [C]; speech at a usual level has about 0.01 to 10. Silence stays zero."""


class IntensityConfig(LabelledConfig):
    """Sizes of the intensity model; the defaults are StrengthNet's [S].

    Attributes
    ----------
    n_mels, window, hop, n_fft : of the mel magnitudes, the last three in samples at 16 kHz (32 ms every 16 ms).
    log_mel : whether the input is the logarithm of the magnitudes [C] or the magnitudes themselves [S].
    input_size : size that the mel bins are projected to before the convolutions.
    channels : of four groups of three 3x3 convolutions; any number of groups is possible.
    mel_stride : of the last convolution of each group, along the mel axis.
    lstm_size : units of each direction of both recurrent layers.
    head_size : units between a frame's state and its score.
    dropout : before both recurrent layers and both heads.
    """

    model_type = "gemoclap-intensity"

    n_mels: int = 80
    window: int = 512
    hop: int = 256
    n_fft: int = 512
    log_mel: bool = False
    input_size: int = 257
    channels: list[int] | tuple[int, ...] = (16, 32, 64, 128)
    mel_stride: int = 3
    lstm_size: int = 128
    head_size: int = 128
    dropout: float = 0.3

    def __post_init__(self, **kwargs: Any) -> None:
        """Raise a ValueError for values from which no network can be built."""
        super().__post_init__(**kwargs)
        refuse_impossible_sizes(self, "input_size", "mel_stride", "lstm_size", "head_size")
        if not self.channels or any(not isinstance(size, int) or size < 1 for size in self.channels):
            raise ValueError(f"channels must be whole numbers above 0, one or more, not {self.channels!r}")


class MelMagnitudes(MelFrames):
    """Raw audio -> mel frames, without logarithm or normalisation [S], because loudness is a part of intensity.

    A bin is the mean magnitude over its triangle.
    """

    def __init__(self, config: IntensityConfig) -> None:
        filters = mel_filterbank(config.n_mels, config.n_fft, SAMPLE_RATE, 0.0, SAMPLE_RATE / 2)
        filters = filters / filters.sum(0).clamp(min=1e-6)
        super().__init__(filters, torch.hamming_window(config.window), config.hop, config.n_fft)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(magnitudes (B, F, n_mels), mask (B, F) bool)`` of zero-padded ``waveforms (B, T)``; padding is 0."""
        spectrum, mask = self.spectra(waveforms, lengths)
        return spectrum.abs() @ self.filters * mask.unsqueeze(-1), mask


class BidirectionalLSTM(nn.Module):
    """A bidirectional LSTM over the valid frames of each clip only.

    One LSTM runs over the frames, the other over each clip reversed within its own length, so that both read padding only
    after the end of the clip. PyTorch's packed sequences give the same result, but train eight times slower on a CPU.
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(inputs, units, batch_first=True)
        self.back = nn.LSTM(inputs, units, batch_first=True)

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states ``(B, F, 2 U)``, undefined in the padding, and each direction's last state, ``(B, 2 U)``."""
        ahead, back = self.ahead(frames)[0], self.back(_turned(frames, mask))[0]
        rows, ends = torch.arange(len(frames), device=frames.device), mask.sum(1) - 1
        last = torch.cat([ahead[rows, ends], back[rows, ends]], dim=-1)
        return torch.cat([ahead, _turned(back, mask)], dim=-1), last


def _turned(frames: Tensor, mask: Tensor) -> Tensor:
    """Return ``frames (B, F, D)`` with the valid ones of each row, which come first, in reverse order."""
    positions = torch.arange(frames.shape[1], device=frames.device).expand(mask.shape)
    turned = torch.where(mask, mask.sum(1, keepdim=True) - 1 - positions, positions)
    return frames.gather(1, turned.unsqueeze(-1).expand_as(frames))


class IntensityModel(PreTrainedModel):
    """Predicts a score of emotion intensity every 16 ms, their mean, and the emotion.

    ``model(waveforms (B, T) float32 at 16 kHz, zero-padded, lengths (B,))`` returns a dict: ``frame_scores (B, F)``, zero in
    the padding, their ``mask (B, F)``, ``score (B,)``, the mean over the valid frames, and ``logits (B, C)`` of the
    emotions. Scores are linear and not limited to [0, 1] [S], although the strengths in training are. If ``strength (B,)`` is
    given, it is passed through, for the loss.
    """

    config_class = IntensityConfig
    main_input_name = "waveforms"
    config: IntensityConfig

    def __init__(self, config: IntensityConfig) -> None:
        super().__init__(config)
        self.mel = MelMagnitudes(config)
        self.projection = nn.Linear(config.n_mels, config.input_size)
        self.convolutions = nn.ModuleList()
        inputs, width = 1, config.input_size
        for outputs in config.channels:
            for stride in (1, 1, config.mel_stride):
                self.convolutions.append(_convolution(inputs, outputs, stride))
                inputs = outputs
            width = (width + config.mel_stride - 1) // config.mel_stride
        self.dropout = nn.Dropout(config.dropout)
        self.frame_lstm = BidirectionalLSTM(inputs * width, config.lstm_size)
        self.frame_head = nn.Sequential(
            nn.Linear(2 * config.lstm_size, config.head_size),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.head_size, 1),
        )
        self.emotion_lstm = BidirectionalLSTM(inputs * width, config.lstm_size)
        self.emotion_head = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(2 * config.lstm_size, len(config.id2label or ()))
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing, so that the modules keep their own initialisation."""

    def forward(self, waveforms: Tensor, lengths: Tensor, strength: Tensor | None = None) -> dict[str, Tensor]:
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            magnitudes, mask = self.mel(waveforms, lengths)
            if self.config.log_mel:
                magnitudes = (magnitudes / LOG_FLOOR).log1p()
        hidden = self._convolve(magnitudes, mask)
        states, _ = self.frame_lstm(self.dropout(hidden), mask)
        _, last = self.emotion_lstm(self.dropout(hidden), mask)
        frame_scores = self.frame_head(states).squeeze(-1).float() * mask
        outputs = {
            "frame_scores": frame_scores,
            "mask": mask,
            "score": masked_mean(frame_scores.unsqueeze(-1), mask).squeeze(-1),
            "logits": self.emotion_head(last),
        }
        return outputs if strength is None else {**outputs, "strength": strength}

    def _convolve(self, magnitudes: Tensor, mask: Tensor) -> Tensor:
        """``(B, F, n_mels)`` -> ``(B, F, C M)``; the padding is zero before each convolution, as beyond a clip's end."""
        padding = ~mask[:, None, :, None]
        hidden = self.projection(magnitudes).unsqueeze(1).masked_fill(padding, 0.0)
        for convolution in self.convolutions:
            hidden = convolution(hidden).relu().masked_fill(padding, 0.0)
        return hidden.permute(0, 2, 1, 3).flatten(2)

    def frame_times(self, count: int) -> np.ndarray:
        """Return the middle of each of `count` frames in seconds, (F,) float64."""
        return (np.arange(count) * self.config.hop + self.config.window / 2) / SAMPLE_RATE

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Self:
        """Load a folder that `save_pretrained` wrote, in evaluation mode; only safetensors are read.

        Raises
        ------
        GemoclapError : there is no model, it is of another kind, or weights are missing.
        """
        name = str(pretrained_model_name_or_path)
        expect_hub(name)
        with readable_errors(name):
            config = kwargs.get("config") or AutoConfig.from_pretrained(name, trust_remote_code=False)
            if not isinstance(config, IntensityConfig):
                raise GemoclapError(
                    f"{name}: holds a {config.model_type} model, not one of emotion intensity; give a folder that "
                    "'gemoclap pretrain intensity' wrote"
                )
            check_config(name, config)
            loaded: Any = super().from_pretrained(
                name, *model_args, use_safetensors=True, output_loading_info=True, **kwargs
            )
        model, report = loaded
        check_loaded(name, model, list(report["missing_keys"]))
        return model.eval()


def _convolution(inputs: int, outputs: int, mel_stride: int) -> nn.Conv2d:
    """Return a 3x3 convolution over frames and mels that keeps the number of frames.

    With PyTorch's default initialisation the signal would vanish over twelve of them, because there is no norm between [C].
    """
    convolution = nn.Conv2d(inputs, outputs, 3, stride=(1, mel_stride), padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


class IntensityObjective:
    """``L = |s - y| + mean_f |s_f - y| + CE(emotion)`` [S], y the utterance's strength, means over the utterances.

    The second mean is first over each utterance's valid frames, so that short utterances have the same weight [C].
    StrengthNet's code includes the padding.
    """

    row_outputs: tuple[str, ...] = ()

    def __call__(self, outputs: dict[str, Tensor], targets: Targets) -> Losses:
        strength = outputs["strength"]
        score_error = (outputs["score"] - strength).abs().mean()
        errors = (outputs["frame_scores"] - strength.unsqueeze(1)).abs()
        frame_error = masked_mean(errors.unsqueeze(-1), outputs["mask"]).mean()
        logits = outputs["logits"]
        if targets.classes is not None:
            logits = logits.masked_fill(~targets.classes, -torch.inf)
        emotion = nn.functional.cross_entropy(logits, targets.emotions)
        return {
            "loss": score_error + frame_error + emotion,
            "score_error": score_error,
            "frame_error": frame_error,
            "emotion_cross_entropy": emotion,
        }


def intensity_curve(model: IntensityModel, waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (F,) in seconds and the scores (F,) of a clip's frames; see `intensity_curves`."""
    return intensity_curves(model, [waveform])[0]


def intensity_curves(model: IntensityModel, waveforms: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the curve of each clip, the same alone and in any batch; the model is left in evaluation mode.

    Parameters
    ----------
    waveforms : float32 (T_i,) each at 16 kHz, prepared as the model's ``config.audio_settings`` say.

    Returns
    -------
    For each clip the middle of its frames in seconds, (F_i,) float64, and their scores, (F_i,) float32: about 0 where
    speech is neutral, about 1 where it is as emotional as in any training utterance. A clip shorter than a frame has
    one frame. In a silent clip (all samples zero) all frames get the mean of the scores, because differences would only
    come from the start and end of the network's recursion [C].
    """
    model.eval()
    padded, lengths = pad_waveforms(waveforms)
    with torch.inference_mode():
        outputs = model(padded.to(model.device), lengths.to(model.device))
    scores, counts = outputs["frame_scores"].cpu().numpy(), outputs["mask"].sum(1).tolist()
    curves = [row[:count].copy() for row, count in zip(scores, counts, strict=True)]
    for waveform, curve in zip(waveforms, curves, strict=True):
        if not waveform.any():
            curve[:] = curve.mean()
    return [(model.frame_times(len(curve)), curve) for curve in curves]


AutoConfig.register(IntensityConfig.model_type, IntensityConfig)
AutoModel.register(IntensityConfig, IntensityModel)
