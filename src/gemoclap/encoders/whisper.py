"""Whisper's encoder (Radford et al. 2022, arXiv 2212.04356): raw waveforms to frames every 20 ms, without the decoder.

The layers are those of transformers. The rest is ours. Log-mel features are computed in torch. A clip keeps its length, and
is not padded to 30 seconds. Longer clips are cut into windows. With a mask, a clip has the same frames alone and in a batch.

The structure is that of wav2vec 2.0 in transformers: a convolutional `feature_extractor`, then an `encoder` of numbered layers.
So freezing, caches and hidden frames work as in any other family.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, WhisperConfig, initialization
from transformers.audio_utils import mel_filter_bank
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import (
    WhisperEncoder,
    WhisperEncoderLayer,
    WhisperPreTrainedModel,
    _compute_mask_indices,
)

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders.padding import BatchLengths, valid_positions

WINDOW, HOP = 400, 160
"""Samples in a mel frame, and from one frame to the next."""
FRAME = 2 * HOP
"""Samples from one frame of the encoder to the next. A shorter clip is padded with zeros to this length."""
CHUNK_SECONDS = 30
"""Length of the audio that Whisper was trained on, in seconds. The positions of every checkpoint are for this length."""


class WhisperSpeechConfig(PreTrainedConfig):
    """Sizes of Whisper's encoder, with the names of transformers' WhisperConfig, and its augmentation and padding.

    Attributes
    ----------
    num_mel_bins, d_model, encoder_layers, encoder_attention_heads, encoder_ffn_dim, activation_function,
    max_source_positions, init_std : sizes.
    dropout, attention_dropout, activation_dropout, encoder_layerdrop : used in training. They are 0 in OpenAI's checkpoints.
    apply_spec_augment, mask_time_prob, mask_time_length, mask_time_min_masks, mask_feature_prob, mask_feature_length,
    mask_feature_min_masks : SpecAugment of the mel frames in training, as in transformers. It is off in OpenAI's checkpoints.
    padded : whether every clip is padded with silence to a multiple of 30 s, as OpenAI does. The silence has frames too.
    """

    model_type = "gemoclap-whisper"
    attribute_map = {
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_attention_heads",
        "layerdrop": "encoder_layerdrop",
    }

    num_mel_bins: int = 80
    d_model: int = 512
    encoder_layers: int = 6
    encoder_attention_heads: int = 8
    encoder_ffn_dim: int = 2048
    activation_function: str = "gelu"
    max_source_positions: int = 1500
    init_std: float = 0.02
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.0
    apply_spec_augment: bool = False
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0
    padded: bool = False

    @classmethod
    def from_whisper(cls, config: WhisperConfig) -> WhisperSpeechConfig:
        """Return the config of the encoder from the config of a Whisper checkpoint."""
        own = [name for name in cls.__annotations__ if name != "model_type" and hasattr(config, name)]
        found = cls(**{name: getattr(config, name) for name in own})
        found.name_or_path = config.name_or_path
        return found


class WhisperCheckpoint(WhisperPreTrainedModel):
    """The encoder of any checkpoint of WhisperModel, with or without a head. The weights of the decoder are not read."""

    base_model_prefix = "model"
    main_input_name = "input_features"

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.post_init()


@cache
def mel_filters(bands: int, device: torch.device) -> Tensor:
    """Return the filters of `WhisperFeatureExtractor`, ``(WINDOW // 2 + 1, bands)``."""
    filters = mel_filter_bank(WINDOW // 2 + 1, bands, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters).to(device, torch.float32)


def log_mel(waveforms: Tensor, lengths: Tensor, bands: int) -> tuple[Tensor, Tensor]:
    """Return the output of `WhisperFeatureExtractor` for each clip alone, without padding to 30 s.

    Frames are centred. A clip is extended at both ends by its mirror image. Before scaling, a value that is more than 8 below
    the largest of the clip is raised to this bound.

    Parameters
    ----------
    waveforms, lengths : ``(B, T)`` zero-padded, and the number of samples of each clip, ``(B,)``, which is above WINDOW / 2.

    Returns
    -------
    frames : ``(B, bands, M)``. M is the number of frames of T samples. The padding is zero.
    mask : bool ``(B, M)``.
    """
    mask = valid_positions(lengths // HOP, waveforms.shape[1] // HOP)
    windows = extended(waveforms.float(), lengths, mask.shape[1]).unfold(1, WINDOW, HOP)
    spectrum = torch.fft.rfft(windows * torch.hann_window(WINDOW, device=waveforms.device))
    power = spectrum.real.square() + spectrum.imag.square()
    return finished_levels(power @ mel_filters(bands, waveforms.device), mask), mask


def extended(waveforms: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """Return clips with their mirror images at both ends. They are as long as `frames` windows."""
    needed = (frames - 1) * HOP + WINDOW
    place = (torch.arange(needed, device=waveforms.device) - WINDOW // 2).abs().unsqueeze(0)
    last = lengths.unsqueeze(1) - 1
    # everything behind the mirror image is padding
    place = torch.where(place > last, 2 * last - place, place).clamp(min=0)
    return waveforms.gather(1, place)


def finished_levels(power: Tensor, mask: Tensor) -> Tensor:
    """Power in each band ``(B, M, bands)`` -> Whisper's levels ``(B, bands, M)``, which are zero in the padding."""
    levels = power.clamp(min=1e-10).log10().masked_fill(~mask.unsqueeze(-1), -torch.inf)
    levels = torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8.0)
    return ((levels + 4.0) / 4.0).masked_fill(~mask.unsqueeze(-1), 0.0).transpose(1, 2)


class WhisperFrontEnd(nn.Module):
    """Raw waveforms ``(B, T)`` -> output of the two convolutions ``(B, D, F)``, which is zero in the padding.

    The numbers of samples are read from `lengths`, as in the convolutions of the other families (`padding.py`).
    """

    def __init__(self, config: WhisperSpeechConfig, lengths: BatchLengths) -> None:
        super().__init__()
        self.config, self.lengths = config, lengths
        self.conv1 = nn.Conv1d(config.num_mel_bins, config.d_model, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, kernel_size=3, stride=2, padding=1)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.convolve(*self._mel(waveforms, self.lengths.samples_of(waveforms)))

    def convolve(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Mel frames ``(B, bands, M)`` with ``mask (B, M)`` -> ``(B, D, F)``, which is zero in the padding."""
        hidden = functional.gelu(self.conv1(frames)).masked_fill(~mask.unsqueeze(1), 0.0)
        hidden = functional.gelu(self.conv2(hidden))
        valid = valid_positions((mask.sum(1) + 1) // 2, hidden.shape[2])
        return hidden.masked_fill(~valid.unsqueeze(1), 0.0)

    def _mel(self, waveforms: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        samples = used_samples(samples, self.config)
        waveforms = functional.pad(waveforms, (0, max(0, int(samples.max()) - waveforms.shape[1])))
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            frames, mask = log_mel(waveforms, samples, self.config.num_mel_bins)
            if self.training and self.config.apply_spec_augment:
                frames = spec_augment(frames, mask, self.config)
        return frames, mask


def used_samples(samples: Tensor, config: WhisperSpeechConfig) -> Tensor:
    """Number of samples of each clip -> the same after padding to at least one frame, or to a multiple of 30 s."""
    if not config.padded:
        return samples.clamp(min=FRAME)
    chunk = CHUNK_SECONDS * SAMPLE_RATE
    return (samples.clamp(min=1) + chunk - 1) // chunk * chunk


def spec_augment(frames: Tensor, mask: Tensor, config: WhisperSpeechConfig) -> Tensor:
    """Hide spans of frames and of bands of ``(B, bands, M)`` as WhisperModel of transformers does, with NumPy's generator."""
    batch, bands, width = frames.shape
    if config.mask_time_prob > 0:
        hidden = _compute_mask_indices(
            (batch, width),
            config.mask_time_prob,
            config.mask_time_length,
            attention_mask=mask.long(),  # type: ignore[arg-type]  # named after a class of tensors
            min_masks=config.mask_time_min_masks,
        )
        frames = frames.masked_fill(torch.from_numpy(hidden).to(frames.device).unsqueeze(1), 0.0)
    if config.mask_feature_prob > 0:
        hidden = _compute_mask_indices(
            (batch, bands),
            config.mask_feature_prob,
            config.mask_feature_length,
            min_masks=config.mask_feature_min_masks,
        )
        frames = frames.masked_fill(torch.from_numpy(hidden).to(frames.device).unsqueeze(2), 0.0)
    return frames


@dataclass(frozen=True)
class Windows:
    """Clips of ``(B, F)`` frames that are cut into windows ``(R, W)``. Short clips are not cut.

    A longer clip is cut into as few windows as possible. They have the same length, except for the last one. The last one is
    shorter by less than the number of windows [C]. The cuts depend only on the length of the clip.

    Attributes
    ----------
    mask : bool ``(R, W)``, True at the frames of each window.
    source : ``(R, W)``, the position of each frame in the flattened ``(B * F)``. None if nothing was cut.
    """

    mask: Tensor
    source: Tensor | None

    @classmethod
    def of(cls, mask: Tensor, most: int) -> Windows:
        """Cut clips with ``mask (B, F)`` into windows of at most `most` frames."""
        if mask.shape[1] <= most:
            return cls(mask, None)
        counts = mask.sum(1)
        number = ((counts + most - 1) // most).clamp(min=1)
        size = (counts + number - 1) // number
        clip = torch.repeat_interleave(torch.arange(len(counts), device=mask.device), number)
        nth = torch.arange(len(clip), device=mask.device) - (number.cumsum(0) - number)[clip]
        start = nth * size[clip]
        length = torch.minimum(size[clip], counts[clip] - start)
        cut = valid_positions(length, int(length.max()))
        source = (clip * mask.shape[1] + start).unsqueeze(1) + torch.arange(cut.shape[1], device=mask.device)
        return cls(cut, source.masked_fill(~cut, 0))

    def cut(self, frames: Tensor) -> Tensor:
        """``(B, F, D)`` -> ``(R, W, D)``."""
        return frames if self.source is None else frames.flatten(0, 1)[self.source]

    def join(self, rows: Tensor, like: Tensor) -> Tensor:
        """``(R, W, D)`` -> the shape of `like`, ``(B, F, D)``, zero in the padding."""
        if self.source is None:
            return rows
        joined = torch.zeros_like(like, dtype=rows.dtype).flatten(0, 1)
        return joined.index_copy(0, self.source[self.mask], rows[self.mask]).view_as(like)


class WhisperStack(nn.Module):
    """Adds positions, and applies Whisper's layers and the norm after them: ``(B, F, D)`` to the same shape."""

    norm_is_last = True

    def __init__(self, config: WhisperSpeechConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_positions = nn.Embedding(config.max_source_positions, config.d_model)
        self.embed_positions.requires_grad_(False)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(WhisperEncoderLayer(config) for _ in range(config.encoder_layers))  # type: ignore[arg-type]
        self.layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, frames: Tensor, mask: Tensor, output_hidden_states: bool = False) -> BaseModelOutput:
        windows = Windows.of(mask, self.config.max_source_positions)
        rows = windows.cut(frames)
        positions = self.embed_positions(torch.arange(rows.shape[1], device=rows.device))
        rows = self.dropout(rows + positions)
        attention_mask = create_bidirectional_mask(self.config, rows, windows.mask)
        states = [windows.join(rows, frames)] if output_hidden_states else []
        for layer in self.layers:
            if not self._is_dropped():
                rows = layer(rows, attention_mask)
            if output_hidden_states:
                states.append(windows.join(rows, frames))
        last = windows.join(self.layer_norm(rows), frames)
        return BaseModelOutput(last_hidden_state=last, hidden_states=tuple(states) if output_hidden_states else None)

    def _is_dropped(self) -> bool:
        """Draw at random whether a layer is skipped in this step (layer drop)."""
        share = self.config.encoder_layerdrop
        return self.training and share > 0 and bool(torch.rand([]) < share)


class WhisperSpeechModel(PreTrainedModel):
    """Whisper's encoder: ``model(input_values (B, T) raw audio, attention_mask (B, T))`` to frames every 20 ms.

    The ``hidden_states`` are the input of the first layer and the output of each. Where ``mask_time_indices (B, F)``
    (transformers' name) is True, the output of the convolutions is replaced by the learned vector `masked_spec_embed` [C].
    """

    config_class = WhisperSpeechConfig
    main_input_name = "input_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    spec_augments_input = True
    """SpecAugment hides mel frames and does not use `masked_spec_embed`."""
    config: WhisperSpeechConfig

    def __init__(self, config: WhisperSpeechConfig) -> None:
        super().__init__(config)
        self.batch_lengths = BatchLengths()
        self.feature_extractor = WhisperFrontEnd(config, self.batch_lengths)
        self.encoder = WhisperStack(config)
        self.masked_spec_embed = nn.Parameter(torch.zeros(config.d_model))
        self.post_init()

    @classmethod
    def from_checkpoint(cls, checkpoint: WhisperCheckpoint, config: WhisperSpeechConfig) -> WhisperSpeechModel:
        """Load the weights of a checkpoint into a model with the number of layers in `config`."""
        model = cls(config)
        state = checkpoint.encoder.state_dict()
        convolutions = {name: tensor for name, tensor in state.items() if name.startswith("conv")}
        model.feature_extractor.load_state_dict(convolutions)
        model.encoder.load_state_dict({name: state[name] for name in state.keys() - convolutions.keys()})
        return model

    def _get_feat_extract_output_lengths(self, samples: Tensor) -> Tensor:
        """Number of samples -> number of frames; transformers calls it so. It is 0 below one frame, unless clips are padded."""
        if self.config.padded:
            samples = used_samples(samples, self.config)
        return torch.where(samples < FRAME, 0, (samples // HOP + 1) // 2)

    def _get_feature_vector_attention_mask(self, frames: int, attention_mask: Tensor) -> Tensor:
        """Mask of samples ``(B, T)`` -> mask of frames; transformers calls it so."""
        samples = used_samples(attention_mask.sum(1), self.config)
        return valid_positions(self._get_feat_extract_output_lengths(samples), frames)

    def freeze_feature_encoder(self) -> None:
        """Freeze the convolutions; transformers calls it so."""
        self.feature_extractor.requires_grad_(False)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        mask_time_indices: Tensor | None = None,
        **kwargs: object,
    ) -> BaseModelOutput:
        if attention_mask is None:
            attention_mask = torch.ones(input_values.shape[:2], dtype=torch.long, device=input_values.device)
        with self.batch_lengths.of(attention_mask.sum(1), None):
            frames = self.feature_extractor(input_values).transpose(1, 2)
        mask = self._get_feature_vector_attention_mask(frames.shape[1], attention_mask)
        if mask_time_indices is not None:
            frames = torch.where(mask_time_indices.unsqueeze(-1), self.masked_spec_embed.to(frames.dtype), frames)
        return self.encoder(frames, mask, output_hidden_states)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise weights as Whisper in transformers does. Positions are sinusoids."""
        if isinstance(module, nn.Linear | nn.Conv1d):
            initialization.normal_(module.weight, std=self.config.init_std)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            initialization.ones_(module.weight)
            initialization.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            initialization.copy_(module.weight, sinusoids(*module.weight.shape))
        elif isinstance(module, WhisperSpeechModel):
            initialization.zeros_(module.masked_spec_embed)


def sinusoids(positions: int, size: int) -> Tensor:
    """Return Whisper's positions ``(positions, size)``: sines in the first half, cosines in the second."""
    rate = torch.exp(-torch.arange(size // 2) * (torch.tensor(10000.0).log() / (size // 2 - 1)))
    angle = torch.arange(positions).unsqueeze(1) * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)


AutoConfig.register(WhisperSpeechConfig.model_type, WhisperSpeechConfig)
AutoModel.register(WhisperSpeechConfig, WhisperSpeechModel)
