"""NPC: a convolutional encoder that predicts each frame from those around it (Liu et al., arXiv 2011.00406).

The representation of a frame does not depend on the frame itself or on its nearest neighbours. The network ensures this, since
the middle taps of its convolutions are zero; nothing is hidden in its input. Structure and sizes are those of the authors'
implementation and of S3PRL [S]. Quantisation and prediction, which pre-training needs, are in `gemoclap.ems`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput

from gemoclap.encoders.compact import MaskedBatchNorm
from gemoclap.encoders.dropout import FastDropout
from gemoclap.encoders.mel import MelEncoder, MelFeatures, refuse_impossible_sizes

REACH = 1
"""Number of frames on either side that the convolution of a block reads. The masks of each block are wider by this."""


class NPCConfig(PreTrainedConfig):
    """Sizes of NPC. The defaults are those of the authors [S].

    Attributes
    ----------
    n_mels, window, hop, n_fft : sizes of the log-mel input. The last three are in samples at 16 kHz (25 ms every 10 ms).
    hidden_size, num_hidden_layers : width and number of blocks.
    kernel_size : size of the masked convolutions.
    mask_size : number of input frames that the representation of a frame does not depend on. The frame is in their middle.
    wide_mask_size : the same for frames with a wide mask (EMS) [C].
    dropout : dropout before the residual connection of each block.
    """

    model_type = "gemoclap-npc"

    n_mels: int = 80
    window: int = 400
    hop: int = 160
    n_fft: int = 512
    hidden_size: int = 512
    num_hidden_layers: int = 4
    kernel_size: int = 15
    mask_size: int = 5
    wide_mask_size: int = 7
    dropout: float = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        """Raise a ValueError for values from which no network can be built."""
        super().__post_init__(**kwargs)
        sizes = ("kernel_size", "mask_size", "wide_mask_size")
        refuse_impossible_sizes(self, "hidden_size", "num_hidden_layers", *sizes)
        for name in sizes:
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} must be odd, not {getattr(self, name)}")
        if self.wide_mask_size < self.mask_size:
            raise ValueError(f"wide_mask_size ({self.wide_mask_size}) must not be below mask_size ({self.mask_size})")
        if self.wide_mask_size + 2 * REACH >= self.kernel_size:
            raise ValueError(
                f"kernel_size ({self.kernel_size}) must be above wide_mask_size + {2 * REACH} "
                f"({self.wide_mask_size + 2 * REACH}), or nothing is left to predict from"
            )


class MaskedConvolution(nn.Conv1d):
    """Convolution over time ``(B, D, F)``. As many of its middle taps are zero as the mask is wide.

    If the mask is at least as wide as the kernel, only the bias is left. With the default sizes and a mask size of 7, this
    happens in the last of the four blocks, where the mask is 15 wide.
    """

    def __init__(self, size: int, kernel_size: int, mask_size: int, wide_mask_size: int) -> None:
        super().__init__(size, size, kernel_size)
        # taps that remain at either end of the kernel
        self.taps = max(0, kernel_size - mask_size) // 2
        self.wide_taps = max(0, kernel_size - wide_mask_size) // 2

    def forward(self, hidden: Tensor, wide: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Return the convolution of `hidden`. The wide mask is used where ``wide (B, 1, F)`` is True."""
        output = self._outer(hidden, 0, self.taps if wide is None else self.wide_taps)
        if wide is not None:
            output = output + self._outer(hidden, self.wide_taps, self.taps).masked_fill(wide, 0.0)
        return output + self.bias.view(-1, 1)  # type: ignore[union-attr]

    def _outer(self, hidden: Tensor, first: int, last: int) -> Tensor:
        """Convolve with the taps `first` to `last`, counted from either end. The zeros between them are skipped."""
        if first == last:
            return torch.zeros_like(hidden)
        width, frames = self.kernel_size[0], hidden.shape[-1]
        padded = nn.functional.pad(hidden, (width // 2, width // 2))
        behind = nn.functional.conv1d(padded[..., first : frames + last - 1], self.weight[..., first:last])
        padded, weight = padded[..., width - last :], self.weight[..., width - last : width - first]
        return behind + nn.functional.conv1d(padded[..., : frames + last - first - 1], weight)


class NPCLayer(nn.Module):
    """A block of convolutions, and a masked convolution over its output: ``(B, C, F)`` to two tensors ``(B, D, F)``.

    The first is the output of the block, with zeros in the padding. It is the input of the next block. The second is the output
    of the masked convolution, which is a part of the representation.
    """

    def __init__(self, config: NPCConfig, number: int) -> None:
        super().__init__()
        size = config.hidden_size
        self.is_first = number == 0
        inputs = config.n_mels if self.is_first else size
        self.over_time = nn.Conv1d(inputs, size, 2 * REACH + 1, padding=REACH, bias=False)
        self.norm_time = MaskedBatchNorm(size)
        self.over_channels = nn.Conv1d(size, size, 1, bias=False)
        self.norm_channels = MaskedBatchNorm(size)
        self.dropout = FastDropout(config.dropout)
        growth = 2 * REACH * (number + 1)
        self.masked = MaskedConvolution(
            size, config.kernel_size, config.mask_size + growth, config.wide_mask_size + growth
        )

    def forward(self, hidden: Tensor, mask: Tensor, wide: Tensor | None) -> tuple[Tensor, Tensor]:
        """``mask`` and ``wide`` are (B, 1, F)."""
        inner = nn.functional.relu(self.norm_time(self.over_time(hidden), mask))
        inner = self.dropout(self.norm_channels(self.over_channels(inner), mask))
        output = nn.functional.relu(inner if self.is_first else hidden + inner)
        return output, self.masked(output, wide).tanh()


class NPCModel(MelEncoder):
    """NPC: raw waveforms to frames every 10 ms (with the default sizes).

    ``last_hidden_state`` is the sum of the outputs of the masked convolutions. The ``hidden_states`` are the output of the
    first block, which depends on the frame itself, and the sum after each masked convolution. The padding is zero.
    """

    config_class = NPCConfig
    config: NPCConfig

    def __init__(self, config: NPCConfig) -> None:
        super().__init__(config)
        self.mel = MelFeatures(config.n_mels, config.window, config.hop, config.n_fft)
        self.layers = nn.ModuleList(NPCLayer(config, number) for number in range(config.num_hidden_layers))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing, so that the modules keep PyTorch's initialisation."""

    def encode(
        self, frames: Tensor, mask: Tensor, output_hidden_states: bool = False, wide: Tensor | None = None
    ) -> BaseModelOutput:
        """Return the representation of each frame, computed from the frames around it.

        Parameters
        ----------
        frames, mask : the result of `features`.
        wide : bool ``(B, F)``, frames whose mask is `wide_mask_size` wide. The weights are the same for both masks [C].
        """
        valid = mask.unsqueeze(1)
        hidden = frames.transpose(1, 2).masked_fill(~valid, 0.0)
        states: list[Tensor] = []
        for layer in self.layers:
            hidden, seen = layer(hidden, valid, None if wide is None else wide.unsqueeze(1))
            seen = seen.masked_fill(~valid, 0.0)
            states += [states[-1] + seen] if states else [hidden, seen]
        states = [state.transpose(1, 2) for state in states]
        return BaseModelOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if output_hidden_states else None
        )


AutoConfig.register(NPCConfig.model_type, NPCConfig)
AutoModel.register(NPCConfig, NPCModel)
