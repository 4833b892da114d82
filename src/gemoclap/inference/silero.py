"""Silero's voice activity detector: the probability of speech in every 32 ms of sound.

The weights come from the package silero-vad. Its own code is not imported, because it would limit the whole process to one
thread. Its main models are not used either: TorchScript contains a pickle, and ONNX needs another runtime. The package also
has weights as safetensors, for a network that is small enough to be written here. They were trained separately from the main
models. On noisy, band-limited and quiet speech of CREMA-D they were as good or better.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gemoclap.errors import GemoclapError

PACKAGE = "silero_vad"
WEIGHTS = "silero_vad_16k.safetensors"
SHA256 = "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1"
"""Hash of the weights in silero-vad 6.2.3. Other weights may belong to another network."""
REMEDY = "pip install silero-vad==6.2.3"

FRAME = 512
"""Number of samples per frame; each frame gets one probability."""
CONTEXT = 64
"""Number of samples before a frame that the network gets too."""
SIZE = 128
"""Size of the state of the LSTM."""


class SpeechNet(nn.Module):
    """The 16 kHz network of Silero VAD: ``net(frames (N, CONTEXT + FRAME), hidden, cell)``.

    Parameters
    ----------
    weights : the tensors of the package, by name.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(SIZE, SIZE)  # one call for all frames, instead of one call of a cell per frame
        self.final_conv = nn.Conv1d(SIZE, 1, 1)
        names = {f"lstm_cell.{name}": f"lstm.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        self.load_state_dict({names.get(name, name): weight for name, weight in weights.items()})
        self.eval()

    def forward(self, frames: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities ``(N,)`` of frames in order, and the state ``(SIZE,)``, ``(SIZE,)`` after them."""
        padded = nn.functional.pad(frames, (0, CONTEXT), "reflect").unsqueeze(1)
        real, imaginary = self.stft_conv(padded).chunk(2, dim=1)
        features = (real**2 + imaginary**2).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = layer(features).relu()
        states, (hidden, cell) = self.lstm(features.squeeze(-1), (hidden[None], cell[None]))
        return self.final_conv(states.relu().unsqueeze(-1)).sigmoid().flatten(), hidden[0], cell[0]


def speech_probabilities(
    net: SpeechNet, samples: np.ndarray, context: np.ndarray, hidden: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the probability of speech in each frame, and the state for the next call.

    Parameters
    ----------
    samples : float32 ``(N * FRAME,)`` at 16 kHz.
    context : float32 ``(CONTEXT,)``, the samples before these; zeros at the beginning.
    hidden, cell : float32 ``(SIZE,)``, the state of the LSTM; zeros at the beginning.

    Returns
    -------
    probabilities ``(N,)``, and the next `context`, `hidden` and `cell`.
    """
    joined = np.concatenate([context, samples])
    frames = np.lib.stride_tricks.sliding_window_view(joined, CONTEXT + FRAME)[::FRAME]
    with torch.inference_mode():
        found = net(torch.from_numpy(frames.copy()), torch.from_numpy(hidden), torch.from_numpy(cell))
    probabilities, hidden, cell = (one.numpy() for one in found)
    return probabilities, joined[-CONTEXT:], hidden, cell


@lru_cache(maxsize=1)
def load_speech_net() -> SpeechNet:
    """Return the network with the weights of the package silero-vad.

    Raises
    ------
    GemoclapError : the package is not installed, or is another version.
    """
    spec = find_spec(PACKAGE)  # looks for the package without running it
    if spec is None or not spec.submodule_search_locations:
        raise GemoclapError(f"to find speech, the package silero-vad is needed; {REMEDY}")
    path = Path(spec.submodule_search_locations[0], "data", WEIGHTS)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise GemoclapError(f"{path}: not the weights of silero-vad 6.2.3; {REMEDY}")
    return SpeechNet(load_file(path))
