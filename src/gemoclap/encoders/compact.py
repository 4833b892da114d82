"""`compact`: our own small audio encoder, trained from scratch, for machines without a pre-trained one [C].

Log-mel frames go through two strided 2-D convolutions, which see local shapes in time and frequency, and a stack of
residual 1-D convolutions over time. It is a transformers model like any other (`AutoModel`), so the rest of the project
needs no special case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from gemoclap.encoders.mel import LogMel, normalize_frames
from gemoclap.encoders.padding import valid_positions
from gemoclap.encoders.sizes import refuse_even_kernel, refuse_impossible
from gemoclap.encoders.spec_augment import draw_factors, hide_stripes, warp


class CompactConfig(PreTrainedConfig):
    """Sizes of the compact encoder, and the augmentation of its input in training.

    Attributes
    ----------
    n_mels, window, hop, n_fft : sizes of the log-mel input. The last three are in samples at 16 kHz (40 ms every 20 ms).
    stem_channels, hidden_size, num_hidden_layers, kernel_size : widths and depth.
    dropout : dropout inside each residual block.
    speed_range : range r of the random factor for the tempo, ``[1 - r, 1 + r]``.
    vocal_tract_range : the same for a factor on the mel axis, which makes vocal tracts longer and shorter.
    time_masks, time_mask_share, frequency_masks, frequency_mask_share : settings of SpecAugment.
    apply_spec_augment : whether there is any augmentation in training.
    """

    model_type = "gemoclap-compact"

    n_mels: int = 64
    window: int = 640
    hop: int = 320
    n_fft: int = 1024
    stem_channels: int = 32
    hidden_size: int = 192
    num_hidden_layers: int = 4
    kernel_size: int = 3
    dropout: float = 0.2
    speed_range: float = 0.15
    vocal_tract_range: float = 0.1
    time_masks: int = 2
    time_mask_share: float = 0.15
    frequency_masks: int = 2
    frequency_mask_share: float = 0.15
    apply_spec_augment: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        """Raise a ValueError for values from which no network can be built."""
        super().__post_init__(**kwargs)
        refuse_impossible(self, "n_mels", "window", "hop", "n_fft", "stem_channels", "hidden_size", "num_hidden_layers")
        refuse_even_kernel(self)
        if self.window > self.n_fft:
            raise ValueError(f"n_fft ({self.n_fft}) must hold the window ({self.window})")
        for name in ("speed_range", "vocal_tract_range"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")


@dataclass
class CompactOutput(BaseModelOutput):
    """`BaseModelOutput` and the number of valid frames of each clip, ``frame_counts (B,)``."""

    frame_counts: Tensor | None = None


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm of ``(B, C, F, ...)`` over the valid frames only. It equals PyTorch's batch norm of these frames.

    Layer norm would need no mask, but with a thousand clips it learned far more slowly (docs/results_older.md).
    """

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Normalise where ``mask`` is True. The padding becomes zero.

        ``mask`` is (B, 1, F), followed by dimensions of size 1 until it has as many dimensions as `hidden`.
        """
        valid = mask.flatten().nonzero().squeeze(1)
        channels_last = hidden.movedim(1, -1)
        frames = channels_last.reshape(mask.numel(), -1)
        packed = super().forward(frames.index_select(0, valid).reshape(-1, hidden.shape[1]))
        normalized = torch.zeros_like(frames).index_copy(0, valid, packed.reshape(len(valid), -1).to(frames.dtype))
        return normalized.view(channels_last.shape).movedim(-1, 1)


class StridedConvolution(nn.Module):
    """Halves the time axis and the mel axis of ``(B, C, F, M)``. The padding stays zero, so a clip ends as if it were alone."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel_size, stride=2, padding=kernel_size // 2, bias=False)
        self.norm = MaskedBatchNorm(outputs)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return nn.functional.relu(self.norm(self.convolution(hidden), mask[:, None, :, None]))


class ResidualBlock(nn.Module):
    """Convolution over time, then over channels, with a residual connection: ``(B, C, F)`` to the same. The padding is zero."""

    def __init__(self, size: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(size, size, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm_time = MaskedBatchNorm(size)
        self.dropout = nn.Dropout(dropout)
        self.over_channels = nn.Conv1d(size, size, 1, bias=False)
        self.norm_channels = MaskedBatchNorm(size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        inner = nn.functional.relu(self.norm_time(self.over_time(hidden), mask))
        inner = self.norm_channels(self.over_channels(self.dropout(inner)), mask)
        return nn.functional.relu(hidden + inner)


class CompactModel(PreTrainedModel):
    """The compact encoder: raw waveforms to frames every 80 ms (with the default sizes).

    ``model(input_values (B, T), attention_mask (B, T))`` returns ``last_hidden_state (B, F, D)``. On request it also returns
    the ``hidden_states`` before and after each residual block. In training mode, the tempo and the vocal tract of each clip
    are changed at random, and stripes are hidden. The number of frames, ``frame_counts (B,)``, depends on the tempo. For each
    frame that ``mask_time_indices`` (B, F) marks (transformers' name), the first four mel frames are set to zero.
    """

    config_class = CompactConfig
    main_input_name = "input_values"
    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        self.mel = LogMel(config.n_mels, n_fft=config.n_fft, window=config.window, hop=config.hop)
        channels = config.stem_channels
        self.stem = nn.ModuleList([StridedConvolution(1, channels, 5), StridedConvolution(channels, channels, 3)])
        self.projection = nn.Linear(channels * halved(halved(config.n_mels)), config.hidden_size, bias=False)
        self.norm = MaskedBatchNorm(config.hidden_size)
        self.layers = nn.ModuleList(
            ResidualBlock(config.hidden_size, config.kernel_size, config.dropout)
            for _ in range(config.num_hidden_layers)
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Do nothing, so that the modules keep PyTorch's initialisation."""

    def _get_feat_extract_output_lengths(self, lengths: Tensor) -> Tensor:
        """Number of samples -> number of frames; transformers calls it so."""
        return halved(halved(self.mel.frame_counts(lengths)))

    def freeze_feature_encoder(self) -> None:
        """Freeze the strided convolutions; transformers calls it so."""
        self.stem.requires_grad_(False)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        mask_time_indices: Tensor | None = None,
        **kwargs: object,
    ) -> CompactOutput:
        lengths = input_values.new_full(input_values.shape[:1], input_values.shape[1], dtype=torch.long)
        if attention_mask is not None:
            lengths = attention_mask.sum(1)
        frames, mask = self._log_mel(input_values, lengths)
        if mask_time_indices is not None:
            spread = mask_time_indices.repeat_interleave(4, dim=1)[:, : frames.shape[1]]
            frames = frames.masked_fill(spread.unsqueeze(-1), 0.0)
        hidden, mask = self._front_end(frames, mask)
        states = [hidden]
        for layer in self.layers:
            states.append(layer(states[-1], mask.unsqueeze(1)))
        states = [state.transpose(1, 2) for state in states]
        return CompactOutput(
            last_hidden_state=states[-1],
            hidden_states=tuple(states) if output_hidden_states else None,
            frame_counts=mask.sum(1),
        )

    def _log_mel(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised log-mel frames ``(B, F, M)`` and their mask. In training they are also augmented."""
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            frames, mask = self.mel(waveforms, lengths)
            if self.training and self.config.apply_spec_augment:
                return self._vary(frames, mask)
            return normalize_frames(frames, mask), mask

    def _vary(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames with another tempo and vocal tract, normalised and with hidden stripes, and their mask."""
        config, batch = self.config, len(frames)
        speed = draw_factors(batch, config.speed_range, frames.device)
        tract = draw_factors(batch, config.vocal_tract_range, frames.device)
        frames, counts = warp(frames, mask.sum(1), speed, tract)
        mask = valid_positions(counts, frames.shape[1])
        frames = normalize_frames(frames, mask)
        frames = hide_stripes(frames, counts, 1, config.time_masks, config.time_mask_share)
        mels = torch.full_like(counts, config.n_mels)
        return hide_stripes(frames, mels, 2, config.frequency_masks, config.frequency_mask_share), mask

    def _front_end(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, F, M)`` -> ``(B, D, F / 4)`` and its mask."""
        hidden = frames.unsqueeze(1).to(memory_format=torch.channels_last)
        counts = mask.sum(1)
        for convolution in self.stem:
            counts = halved(counts)
            mask = valid_positions(counts, halved(hidden.shape[2]))
            hidden = convolution(hidden, mask)
        hidden = self.projection(hidden.permute(0, 2, 1, 3).flatten(2)).transpose(1, 2)
        return nn.functional.relu(self.norm(hidden, mask.unsqueeze(1))), mask


def halved(size: Any) -> Any:
    """Return half of a length, rounded up: the length after a convolution of stride 2 that pads half of its kernel."""
    return (size + 1) // 2


AutoConfig.register(CompactConfig.model_type, CompactConfig)
AutoModel.register(CompactConfig, CompactModel)
