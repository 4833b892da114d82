"""w2v-BERT 2.0 (Barrault et al. 2023, arXiv 2312.05187) as a speech encoder: raw waveforms to frames every 20 ms.

The layers are those of transformers' Wav2Vec2BertModel, which takes log-mel features. Here these are computed in torch from the
waveform, as `SeamlessM4TFeatureExtractor` does. With that in place of the convolutions, the model has the structure of wav2vec
2.0 in transformers, so freezing, caches and hidden frames work as in any other family.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, Wav2Vec2BertConfig, Wav2Vec2BertModel
from transformers.audio_utils import mel_filter_bank, window_function

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders.padding import BatchLengths, valid_positions

WINDOW, HOP, FFT = 400, 160, 512
"""Samples in a mel frame, from one to the next, and in its Fourier transform."""
BANDS, STACKED = 80, 2
"""Mel bands, and mel frames that are joined to one frame of the encoder."""
PREEMPHASIS, FLOOR, FULL_SCALE = 0.97, 1.192092955078125e-07, 2.0**15
"""Kaldi's pre-emphasis, its smallest energy, and its full scale."""


class W2VBertSpeechConfig(Wav2Vec2BertConfig):
    """The config of a w2v-BERT that takes waveforms. The fields are those of transformers' Wav2Vec2BertConfig."""

    model_type = "gemoclap-w2v-bert"

    @classmethod
    def from_w2v_bert(cls, config: PreTrainedConfig) -> W2VBertSpeechConfig:
        """Return the config from that of a checkpoint."""
        fields = {
            name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")
        }
        found = cls(**fields)
        found.name_or_path = config.name_or_path
        return found


@cache
def mel_filters(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return Kaldi's filters, ``(FFT // 2 + 1, BANDS)``."""
    filters = mel_filter_bank(
        FFT // 2 + 1, BANDS, 20.0, SAMPLE_RATE / 2, SAMPLE_RATE, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    return torch.from_numpy(filters).to(device, dtype)


@cache
def povey_window(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return Kaldi's window, ``(WINDOW,)``."""
    return torch.from_numpy(window_function(WINDOW, "povey", periodic=False)).to(device, dtype)


def log_mel(waveforms: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-mel features of `SeamlessM4TFeatureExtractor` for each clip alone.

    Parameters
    ----------
    waveforms, samples : ``(B, T)`` with full scale at 1, and the number of samples of each clip, ``(B,)``.

    Returns
    -------
    features : ``(B, F, STACKED * BANDS)`` float32, zero in the padding.
    mask : bool ``(B, F)``.
    """
    # Energies of the bands differ by many orders of magnitude, and the logarithm shows the rounding of the smallest ones.
    waveforms = waveforms.float() if waveforms.device.type == "mps" else waveforms.double()
    windows = FULL_SCALE * waveforms.unfold(1, WINDOW, HOP)
    windows = windows - windows.mean(-1, keepdim=True)
    windows = windows - PREEMPHASIS * torch.cat([windows[..., :1], windows[..., :-1]], -1)
    spectrum = torch.fft.rfft(windows * povey_window(windows.device, windows.dtype), FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    return finished(power @ mel_filters(windows.device, windows.dtype), samples)


def finished(energies: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of the bands ``(B, M, BANDS)`` -> what `log_mel` returns.

    Each band gets zero mean and unit variance over the clip, and two mel frames become one. A last mel frame without a second
    one counts in the mean and the variance, and is left out then, as transformers masks it.
    """
    counts = mel_frames(samples)
    levels = standardised(energies.clamp(min=FLOOR).log(), counts).float()
    frames = levels.shape[1] // STACKED
    mask = valid_positions(counts // STACKED, frames)
    features = levels[:, : STACKED * frames].reshape(levels.shape[0], frames, STACKED * BANDS)
    return features.masked_fill(~mask.unsqueeze(-1), 0.0), mask


def mel_frames(samples: Tensor) -> Tensor:
    """Number of samples -> number of mel frames, each within the clip."""
    return torch.where(samples < WINDOW, 0, (samples - WINDOW) // HOP + 1)


def standardised(levels: Tensor, counts: Tensor) -> Tensor:
    """Scale each band of ``levels (B, M, bands)`` to zero mean and unit variance over the first `counts` ``(B,)`` frames."""
    valid = valid_positions(counts, levels.shape[1]).unsqueeze(-1)
    number = counts.view(-1, 1, 1)
    mean = levels.masked_fill(~valid, 0.0).sum(1, keepdim=True) / number.clamp(min=1)
    centred = (levels - mean).masked_fill(~valid, 0.0)
    variance = centred.square().sum(1, keepdim=True) / (number - 1).clamp(min=1)
    return centred / (variance + 1e-7).sqrt()


class FilterBank(nn.Module):
    """Raw waveforms ``(B, T)`` -> log-mel features ``(B, C, F)``, which have no weights.

    The numbers of samples are read from `lengths`, as in the convolutions of the other families (`padding.py`).
    """

    def __init__(self, lengths: BatchLengths) -> None:
        super().__init__()
        self.lengths = lengths

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        samples = self.lengths.samples_of(waveforms)
        waveforms = functional.pad(waveforms, (0, max(0, WINDOW + HOP - waveforms.shape[1])))
        with torch.autocast(waveforms.device.type, enabled=False):
            return log_mel(waveforms, samples)[0].transpose(1, 2)


class W2VBertSpeechModel(Wav2Vec2BertModel):
    """Wav2Vec2BertModel for raw audio: ``model(input_values (B, T), attention_mask (B, T))`` to frames every 20 ms.

    The ``hidden_states`` are the input of the first layer and the output of each. Where ``mask_time_indices (B, F)``
    (transformers' name) is True, the input of the layers is replaced by the learned vector `masked_spec_embed`.
    """

    config_class = W2VBertSpeechConfig
    main_input_name = "input_values"

    def __init__(self, config: W2VBertSpeechConfig) -> None:
        super().__init__(config)
        self.batch_lengths = BatchLengths()
        self.feature_extractor = FilterBank(self.batch_lengths)
        if not hasattr(self, "masked_spec_embed"):  # transformers has it only where SpecAugment is on
            self.masked_spec_embed = nn.Parameter(torch.zeros(config.hidden_size))

    def _get_feat_extract_output_lengths(self, samples: Tensor) -> Tensor:  # type: ignore[override]
        """Number of samples -> number of frames; transformers calls it so."""
        return mel_frames(samples) // STACKED

    def _get_feature_vector_attention_mask(self, frames: int, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        """Mask of samples ``(B, T)`` -> mask of frames; transformers calls it so."""
        return valid_positions(self._get_feat_extract_output_lengths(attention_mask.sum(1)), frames)

    def freeze_feature_encoder(self) -> None:
        """Do nothing: the log-mel features have no weights. transformers calls it so."""

    def forward(  # type: ignore[override]
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
        mask_time_indices: Tensor | None = None,
        **kwargs: object,
    ) -> Any:
        if attention_mask is None:
            attention_mask = torch.ones(input_values.shape[:2], dtype=torch.long, device=input_values.device)
        with self.batch_lengths.of(attention_mask.sum(1), None):
            features = self.feature_extractor(input_values).transpose(1, 2)
        mask = self._get_feature_vector_attention_mask(features.shape[1], attention_mask)
        return super().forward(
            features,
            attention_mask=mask,
            mask_time_indices=mask_time_indices,
            output_hidden_states=output_hidden_states,
        )


AutoConfig.register(W2VBertSpeechConfig.model_type, W2VBertSpeechConfig)
AutoModel.register(W2VBertSpeechConfig, W2VBertSpeechModel)
