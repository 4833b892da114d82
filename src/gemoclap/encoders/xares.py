"""Audio encoders of this package in X-ARES, a benchmark of audio encoders (Zhang et al. 2025, arXiv 2505.16369).

X-ARES imports a file that has one class whose name ends in "Encoder", and makes an object of it::

    # whisper_third_layer.py
    from gemoclap.encoders import xares

    class WhisperThirdLayerEncoder(xares.Frames):
        audio_encoder = "openai/whisper-base"
        layers = 3

X-ARES itself is not needed to import this module.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.embedded import EMBEDDED
from gemoclap.encoders.layers import Layers
from gemoclap.encoders.pooling import masked_mean


class Frames(nn.Module):
    """The frames of an audio encoder, as X-ARES asks for them. A subclass says of which.

    X-ARES pads the clips of a batch with zeros, does not say how long they are, and averages over all frames, those of the
    padding included. Here the length is read from the zeros at the end, so that the padding changes no frame. The frames of
    the padding are the mean over the clip's own, so that the average over all is that of the clip alone.

    Attributes
    ----------
    audio_encoder, layers, options : as in `load_audio_encoder`; a subclass sets them.
    sampling_rate : Hz.
    output_dim : D, the size of a frame.
    hop_size_in_ms : from one frame to the next.

    Raises
    ------
    GemoclapError : as `load_audio_encoder`.
    """

    audio_encoder: ClassVar[str] = EMBEDDED
    layers: ClassVar[Layers] = "last"
    options: ClassVar[dict[str, Any]] = {}
    sampling_rate: ClassVar[int] = SAMPLE_RATE

    def __init__(self) -> None:
        super().__init__()
        self.encoder = load_audio_encoder(self.audio_encoder, self.layers, self.options).eval()
        self.output_dim = self.encoder.output_dim
        self.hop_size_in_ms = 1000 * self.encoder.frame_seconds

    @torch.inference_mode()
    def forward(self, audio: Tensor) -> Tensor:
        """Clips ``(B, T)`` at 16 kHz with zeros behind them -> frames ``(B, F, D)``, float32."""
        frames, mask = self.encoder(audio.float(), samples_before_padding(audio))
        return torch.where(mask.unsqueeze(-1), frames, masked_mean(frames, mask).unsqueeze(1))

    def train(self, mode: bool = True) -> Frames:
        """Stay as in evaluation: the encoder is not trained, and must not augment."""
        return super().train(False)


def samples_before_padding(audio: Tensor) -> Tensor:
    """Return the number of samples before the zeros at the end of each clip ``(B, T)``, at least 1, ``(B,)``."""
    places = torch.arange(1, audio.shape[1] + 1, device=audio.device)
    return (places * (audio != 0)).amax(1).clamp(min=1)
