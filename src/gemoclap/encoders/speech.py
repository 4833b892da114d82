"""Speech encoders: a padded batch of raw waveforms -> frames and their mask, for every family that AutoModel loads.

wav2vec 2.0, HuBERT, WavLM and data2vec-audio come from transformers. Whisper's encoder (`whisper.py`) and our own encoders are
registered with AutoModel, and are loaded in the same way. A clip has the same frames alone and in any batch (`padding.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders.dropout import make_dropout_fast
from gemoclap.encoders.framing import frame_counts_of, normalize_clips, receptive_field
from gemoclap.encoders.layers import (
    Layers,
    ending_with,
    going_on_from,
    hidden_states,
    numbered_layers,
    pass_final_norm,
    used_layers,
)
from gemoclap.encoders.loading import load_speech_model, refuse_unfit
from gemoclap.encoders.lora import merged_state
from gemoclap.encoders.overriding import front_end_given, hiding
from gemoclap.encoders.padding import make_padding_exact, valid_positions
from gemoclap.encoders.pretrained import model_class, readable_errors
from gemoclap.encoders.trainable import TrainableModel
from gemoclap.encoders.wavlm import make_wavlm_attention_fast
from gemoclap.errors import GemoclapError

COMPILATIONS = 64
"""Largest number of variants of a layer that torch.compile may make."""


class SpeechEncoder(TrainableModel):
    """A transformers speech encoder with normalisation, masks, freezing and exact padding.

    Parameters
    ----------
    model : a model that takes ``input_values`` (B, T) and ``attention_mask``, and has `_get_feat_extract_output_lengths`.
    do_normalize : whether each clip is scaled to zero mean and unit variance over its own samples, as the
        preprocessor_config.json of the checkpoint says.
    layers : which output is used. ``"last"`` is that of the last layer. N is that of layer N, ``hidden_states[N]`` in
        transformers; 0 is the input of the first layer. Several numbers put the frames of those layers side by side.
        ``"weighted"`` is a learned sum of the input of the first layer and the output of each. Its weights are a softmax, and
        are equal at the start.

    Attributes
    ----------
    model : the transformers model. Its `save_pretrained` writes a checkpoint that transformers alone can load.
    used_layers : the numbers of the layers whose output is used.
    output_dim : D, the size of a frame: that of a layer, times the number of layers that are side by side.
    frame_seconds : time from the start of one frame to the start of the next.

    Notes
    -----
    In training mode, the model uses the dropout, layer drop and SpecAugment of its own config. SpecAugment uses the generator
    of NumPy. With layer drop, some parameters have no gradient in a step, and distributed training must allow for this.
    Layer drop is off where another layer than the last is used, and above frozen layers, because both need every layer.

    Raises
    ------
    GemoclapError : the model does not take waveforms, or joins frames after its front end (an adapter, SEW).
    """

    def __init__(self, model: PreTrainedModel, do_normalize: bool, layers: Layers = "last") -> None:
        used = used_layers(layers, model.config.num_hidden_layers)
        refuse_unfit(model.config.name_or_path or model.config.model_type, type(model), model.config)
        # The output of the last layer alone needs no hidden states. A layer that is dropped is not among these, so the others
        # would have other numbers.
        wants_all_layers = used != [model.config.num_hidden_layers]
        super().__init__(model, needs_every_layer=wants_all_layers)
        self._wants_all_layers = wants_all_layers
        self.do_normalize = do_normalize
        self.layers, self.used_layers = layers, used
        joined = 1 if layers == "weighted" else len(self.used_layers)
        self.output_dim: int = joined * model.config.hidden_size
        self.layer_weights = (
            nn.Parameter(torch.zeros(model.config.num_hidden_layers + 1)) if layers == "weighted" else None
        )
        self.min_samples, self.hop_samples, self.frame_samples = receptive_field(model)
        self.frame_seconds = self.hop_samples / SAMPLE_RATE
        self._lengths = make_padding_exact(model)
        make_dropout_fast(model)
        make_wavlm_attention_fast(model)
        pass_final_norm(model)
        self.freeze("none")

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        layers: Layers = "last",
        keep_layers: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> SpeechEncoder:
        """Load from a hub id, or from a folder with the same files. Only tensors are read.

        Parameters
        ----------
        keep_layers : only so many of the first layers are built. Layers above the one in `layers` are not built either. If the
            last layer is not built, the norm after it is left out too.
        options : fields of the config to change. They must have no effect on the shape of weights: those of SpecAugment, such
            as ``mask_time_prob``, dropouts, and ``padded`` of a Whisper.

        Raises
        ------
        GemoclapError : there is no such encoder; the hub cannot be reached; the encoder is not for audio at 16 kHz; it has no
            preprocessor_config.json; it has fewer layers; or an option is wrong.
        """
        model, do_normalize = load_speech_model(str(name), layers, keep_layers, options or {})
        return cls(model, do_normalize, layers)

    @classmethod
    def from_config(cls, config: PreTrainedConfig, do_normalize: bool, layers: Layers = "last") -> SpeechEncoder:
        """Build with random weights, drawn from torch's generator."""
        refuse_unfit(config.model_type, model_class(config.model_type, config), config)
        return cls(AutoModel.from_config(config, trust_remote_code=False), do_normalize, layers)

    @property
    def feature_extractor(self) -> Wav2Vec2FeatureExtractor:
        """The contents of the preprocessor_config.json of this encoder. Its `save_pretrained` writes the file."""
        return Wav2Vec2FeatureExtractor(
            sampling_rate=SAMPLE_RATE, do_normalize=self.do_normalize, return_attention_mask=True
        )

    def forward(self, waveforms: Tensor, lengths: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Parameters
        ----------
        waveforms : float32 ``(B, T)``, raw audio at 16 kHz, padded at the end.
        lengths : number of samples of each clip, ``(B,)``. A clip that is shorter than the receptive field of a frame is padded
            with zeros to this length, so that every clip has a frame.
        hidden : bool ``(B, F)``, frames that are hidden from the layers. No others are hidden then. This needs
            `expect_hidden_frames`.

        Returns
        -------
        frames : ``(B, F, D)``, zero where there is no frame.
        mask : bool ``(B, F)``, True at the frames of each clip.
        """
        output, counts = self._from_waveforms(waveforms, lengths, self._wants_all_layers, hidden)
        return self._frames(output, counts)

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Number of samples -> number of frames of a clip, at least one."""
        return frame_counts_of(self.model, lengths.clamp(min=self.min_samples))

    def layer_frames(self, waveforms: Tensor, lengths: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return the frames of one layer and their mask, as `forward` does.

        Parameters
        ----------
        layer : 0 is the input of the first layer, 1 is its output. Negative numbers count from the last layer, -1.

        Raises
        ------
        GemoclapError : there is no such layer.
        """
        output, counts = self._from_waveforms(waveforms, lengths, all_layers=True)
        states = hidden_states(output)
        if not -len(states) <= layer < len(states):
            last = len(states) - 1
            raise GemoclapError(
                f"layer: there is no layer {layer}; give 0 to {last}, or -1 for the last to {-1 - last}"
            )
        mask = valid_positions(counts, states[layer].shape[1])
        return states[layer].masked_fill(~mask.unsqueeze(-1), 0.0), mask

    @property
    def constant_until(self) -> Literal["output"] | int | None:
        """The last output that never changes for a clip. So `frozen_frames` can be computed once for all epochs.

        ``"output"`` is that of the encoder. n above 0 is that of layer n. 0 is that of the front end. None means that there is
        no such output, or that a call cannot continue from it. In training on pseudo-labels, frames are hidden behind the
        front end.
        """
        if self.is_frozen("all") and self.layers != "weighted" and not self._hides_frames:
            return "output"
        if not self.has_front_end or not self.is_frozen("front_end"):
            return None
        if self._hides_frames:
            return 0
        return min(self._frozen_layers or 0, *self.used_layers)

    def frozen_frames(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output at `constant_until`, ``(B, F, C)``, and the numbers of valid frames, ``(B,)``.

        The arguments are those of `forward`.
        """
        until = self.constant_until
        if until == "output":
            frames, mask = self(waveforms, lengths)
            return frames, mask.sum(1)
        if not until:
            return self.front_end(waveforms, lengths)
        with ending_with(self.model, until):
            output, counts = self._from_waveforms(waveforms, lengths, all_layers=False)
        return output.last_hidden_state, counts

    def from_frozen_frames(
        self, features: Tensor, counts: Tensor, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the result of `forward`, given that of `frozen_frames`: ``(B, F, C)`` of any precision, and ``(B,)``."""
        until = self.constant_until
        if not until:
            return self.from_front_end(features, counts, hidden)
        features, mask = features.float(), valid_positions(counts, features.shape[1])
        if until != "output":
            with going_on_from(self.model, features, mask, until):
                return self._frames(self._call(features, mask, self._wants_all_layers), counts)
        return features.masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the convolutions, ``(B, F, C)``, and the numbers of frames, ``(B,)``.

        The arguments are those of `forward`.
        """
        model: Any = self.model
        waveforms, samples, counts = self._prepare(waveforms, lengths)
        with self._lengths.of(samples, counts):
            return model.feature_extractor(waveforms).transpose(1, 2), counts

    def from_front_end(self, features: Tensor, counts: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the result of `forward`, given that of `front_end`: ``(B, F, C)`` of any precision, and ``(B,)``."""
        least = self._least_frames()
        features = functional.pad(features.float(), (0, 0, 0, max(0, least - features.shape[1])))
        samples = self.min_samples + (counts - 1) * self.hop_samples
        mask = valid_positions(counts, features.shape[1])
        with self._lengths.of(samples, counts), front_end_given(self.model, features, mask):
            if hidden is not None:
                hidden = functional.pad(hidden, (0, features.shape[1] - hidden.shape[1]))
            return self._frames(self._call(features, mask, self._wants_all_layers, hidden), counts)

    def layer_features(self, waveforms: Tensor, lengths: Tensor, pool: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return the pooled frames of the input of the first layer and of the output of each, ``(B, L + 1, P)``.

        Parameters
        ----------
        pool : frames (B, F, D) and mask (B, F) -> (B, P).
        """
        output, counts = self._from_waveforms(waveforms, lengths, all_layers=True)
        mask = valid_positions(counts, output.last_hidden_state.shape[1])
        return torch.stack([pool(states, mask) for states in hidden_states(output)], dim=1)

    def _prepare(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised clips, each long enough for a frame, and their numbers of samples and frames."""
        waveforms = normalize_clips(waveforms, lengths, self.do_normalize)
        least_width = self.min_samples + (self._least_frames() - 1) * self.hop_samples
        waveforms = functional.pad(waveforms, (0, max(0, least_width - waveforms.shape[1])))
        samples = lengths.clamp(min=self.min_samples)
        return waveforms, samples, frame_counts_of(self.model, samples)

    def _from_waveforms(
        self, waveforms: Tensor, lengths: Tensor, all_layers: bool, hidden: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        waveforms, samples, counts = self._prepare(waveforms, lengths)
        mask = valid_positions(samples, waveforms.shape[1]).long()
        if hidden is not None:  # short clips were padded, so that there are more frames than they have
            frames = int(frame_counts_of(self.model, torch.tensor(waveforms.shape[1])))
            hidden = functional.pad(hidden, (0, frames - hidden.shape[1]))
        with self._lengths.of(samples, counts):
            return self._call(waveforms, mask, all_layers, hidden), counts

    def _call(self, inputs: Tensor, attention_mask: Tensor, all_layers: bool, hidden: Tensor | None = None) -> Any:
        needs_grad = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.model.parameters())
        options = {} if hidden is None else {"mask_time_indices": hidden}
        with (
            torch.set_grad_enabled(needs_grad),
            hiding(self.model.config, hidden is not None and self._augmentation.fills_hidden_frames),
        ):
            return self.model(inputs, attention_mask=attention_mask, output_hidden_states=all_layers, **options)

    def _frames(self, output: Any, counts: Tensor) -> tuple[Tensor, Tensor]:
        frames = output.last_hidden_state
        if self._wants_all_layers:
            states = hidden_states(output)
            frames = self.join([states[number] for number in self.used_layers])
        # In training, the augmentation of our own encoders can change the number of frames.
        counts = output.get("frame_counts", counts)
        mask = valid_positions(counts, frames.shape[1])
        return frames.masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Write the model and preprocessor_config.json in the format of the hub, with the original settings of augmentation."""
        with readable_errors(str(folder)), self._augmentation.as_loaded():
            self.model.save_pretrained(folder, state_dict=merged_state(self.model))
        self.feature_extractor.save_pretrained(folder)

    def checkpoint_gradients(self) -> None:
        """Compute the inside of each transformer layer again in the backward pass. This takes less memory and more time.

        Raises
        ------
        GemoclapError : the model cannot do this.
        """
        if not self.model.supports_gradient_checkpointing:
            raise GemoclapError(f"train.gradient_checkpointing: a {self.model.config.model_type} encoder has none")
        options = {"use_reentrant": False, "context_fn": self._lengths.for_checkpointing}
        self.model.activation_checkpointing_enable(options)

    def compile_layers(self) -> None:
        """Compile each transformer layer with torch.compile. All layers of one form share a compilation, for all lengths.

        There is one for each mode (training, evaluation, chunks), each form of layer, and for batches of a single clip. These
        are up to a dozen.

        Raises
        ------
        GemoclapError : the model has no numbered layers.
        """
        layers = numbered_layers(self.model, "train.compile")
        dynamo = torch._dynamo.config  # with the default of 8, later variants would not be compiled
        dynamo.recompile_limit = max(dynamo.recompile_limit, COMPILATIONS)
        for layer in layers[self._frozen_layers or 0 :]:  # frozen layers run only once, so they are not compiled
            layer.compile(dynamic=True)

    def join(self, states: Sequence[Tensor]) -> Tensor:
        """Return one output from those of `used_layers`: their learned sum, or all of them side by side, as ``layers`` says.

        Parameters
        ----------
        states : the frames of each layer, ``(B, F, D)``; or what was pooled from them, ``(B, n D)``, where the n statistics of
            all dimensions follow one another. Then the result is that of pooling the joined frames. For the learned sum, only
            the mean can be pooled before.
        """
        if self.layer_weights is None:
            if len(states) == 1:
                return states[0]
            statistics = zip(*(state.split(self.model.config.hidden_size, dim=-1) for state in states), strict=True)
            return torch.cat([part for one in statistics for part in one], dim=-1)
        combined = torch.zeros_like(states[-1])
        for weight, state in zip(self.layer_weights.softmax(0), states, strict=True):
            combined = combined + weight * state
        return combined

    def _least_frames(self) -> int:
        """Smallest number of frames in a batch: one, or in training as many as SpecAugment hides in one span."""
        config = self.model.config
        augments = self.training and getattr(config, "apply_spec_augment", True)
        return config.mask_time_length if augments and getattr(config, "mask_time_prob", 0.0) > 0 else 1
