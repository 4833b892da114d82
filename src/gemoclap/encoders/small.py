"""`small`: the two convolutions of Whisper base, followed by convolutions of our own. It is fast [C].

Whisper's convolutions come with this package (`embedded.py`). They were trained on much speech. The layers that follow are
trained from random weights, or to give the answers of a larger model (`scripts/build_small.py`). There is a frame every 80 ms.
It is a transformers model like any other (`AutoModel`), so the rest of the project needs no special case.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from gemoclap.encoders.compact import CompactOutput, MaskedBatchNorm, ResidualBlock, halved
from gemoclap.encoders.embedded import embedded_convolutions
from gemoclap.encoders.padding import BatchLengths, valid_positions
from gemoclap.encoders.sizes import refuse_even_kernel, refuse_impossible
from gemoclap.encoders.whisper import HOP, WhisperFrontEnd, WhisperSpeechConfig, used_samples


class SmallConfig(PreTrainedConfig):
    """Sizes of the small encoder, and the augmentation of its input in training.

    Attributes
    ----------
    block_size, num_hidden_layers, kernel_size : width and depth of the layers behind Whisper's convolutions.
    dropout : dropout inside each residual block.
    apply_spec_augment, mask_time_prob, mask_time_length, mask_feature_prob, mask_feature_length : SpecAugment of the mel frames
        in training, as in Whisper of transformers.
    """

    model_type = "gemoclap-small"

    block_size: int = 192
    num_hidden_layers: int = 4
    kernel_size: int = 3
    dropout: float = 0.1
    apply_spec_augment: bool = True
    mask_time_prob: float = 0.1
    mask_time_length: int = 20
    mask_feature_prob: float = 0.1
    mask_feature_length: int = 8

    def __post_init__(self, **kwargs: Any) -> None:
        """Raise a ValueError for values from which no network can be built."""
        super().__post_init__(**kwargs)
        refuse_impossible(self, "block_size", "num_hidden_layers")
        refuse_even_kernel(self)

    @property
    def hidden_size(self) -> int:
        """Size of the frames that the encoder returns."""
        return self.front_end().d_model + self.block_size

    def front_end(self) -> WhisperSpeechConfig:
        """Return the config of Whisper base's convolutions, with this augmentation."""
        masks = ("mask_time_prob", "mask_time_length", "mask_feature_prob", "mask_feature_length")
        return WhisperSpeechConfig(
            apply_spec_augment=self.apply_spec_augment,
            mask_time_min_masks=0,
            **{name: getattr(self, name) for name in masks},
        )


def halve_frames(frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of every two frames of ``(B, C, F)``, and the number of means, ``(B,)``. An odd last frame stays."""
    # Slices are used, because a trace for ONNX would keep the number of pairs that its example has.
    sums = frames[..., 0::2] + nn.functional.pad(frames, (0, 1))[..., 1::2]
    first = 2 * torch.arange(sums.shape[2], device=counts.device)
    present = (counts.unsqueeze(1) - first).clamp(1, 2)
    return sums / present.unsqueeze(1), halved(counts)


class SmallModel(PreTrainedModel):
    """The small encoder: raw waveforms to frames every 80 ms.

    ``model(input_values (B, T), attention_mask (B, T))`` returns ``last_hidden_state (B, F, D)``. A frame is the output of
    Whisper's convolutions, standardised and averaged over 80 ms, followed by the output of the last residual block. On request
    there are ``hidden_states`` of the same size: the convolutions followed by what is before and after each block.
    ``frame_counts (B,)`` is the number of valid frames.
    """

    config_class = SmallConfig
    main_input_name = "input_values"
    spec_augments_input = True
    config: SmallConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.batch_lengths = BatchLengths()
        front_end = config.front_end()
        self.convolutions = WhisperFrontEnd(front_end, self.batch_lengths)
        self.norm = MaskedBatchNorm(front_end.d_model, affine=False)
        size, kernel = config.block_size, config.kernel_size
        self.stride = nn.Conv1d(front_end.d_model, size, kernel, stride=2, padding=kernel // 2, bias=False)
        self.stride_norm = MaskedBatchNorm(size)
        self.layers = nn.ModuleList(
            ResidualBlock(size, kernel, config.dropout) for _ in range(config.num_hidden_layers)
        )
        self.post_init()
        if not self.stride.weight.is_meta:  # otherwise a checkpoint is read next, which has these weights
            self.load_state_dict(embedded_convolutions(), strict=False)

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing, so that the modules keep PyTorch's initialisation."""

    def _get_feat_extract_output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of samples -> number of frames; transformers calls it so."""
        return halved(self.frames_of_convolutions(lengths))

    def freeze_feature_encoder(self) -> None:
        """Freeze Whisper's convolutions; transformers calls it so."""
        self.convolutions.requires_grad_(False)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        **kwargs: object,
    ) -> CompactOutput:
        lengths = input_values.new_full((len(input_values),), input_values.shape[1]).long()
        if attention_mask is not None:
            lengths = attention_mask.sum(1)
        return self.of_frames(*self.convolved(input_values, lengths), output_hidden_states)

    def convolved(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the convolutions every 40 ms, ``(B, C, F)``. It is zero behind the ``(B,)`` frames of a clip."""
        with self.batch_lengths.of(lengths, None):
            frames = self.convolutions(waveforms)
        return halve_frames(frames, self._frames_before_halving(lengths))

    def frames_of_convolutions(self, lengths: Tensor) -> Tensor:
        """Number of samples -> number of frames of `convolved`."""
        return halved(self._frames_before_halving(lengths))

    def _frames_before_halving(self, lengths: Tensor) -> Tensor:
        """Number of samples -> number of frames of Whisper's convolutions, every 20 ms."""
        return halved(used_samples(lengths, self.convolutions.config) // HOP)

    def of_frames(self, frames: Tensor, counts: Tensor, output_hidden_states: bool = False) -> CompactOutput:
        """Return the output of the model for frames of the convolutions.

        These are ``(B, C, F)``, every 40 ms, and zero behind the first `counts` ``(B,)`` of a clip.
        """
        frames = self.norm(frames, valid_positions(counts, frames.shape[2]).unsqueeze(1))
        wide, counts = halve_frames(frames, counts)
        mask = valid_positions(counts, wide.shape[2]).unsqueeze(1)
        states = [nn.functional.relu(self.stride_norm(self.stride(frames), mask))]
        for layer in self.layers:
            states.append(layer(states[-1], mask))

        def framed(state: Tensor) -> Tensor:
            return torch.cat([wide, state], dim=1).transpose(1, 2)

        return CompactOutput(
            last_hidden_state=framed(states[-1]),
            hidden_states=tuple(map(framed, states)) if output_hidden_states else None,
            frame_counts=counts,
        )


AutoConfig.register(SmallConfig.model_type, SmallConfig)
AutoModel.register(SmallConfig, SmallModel)
