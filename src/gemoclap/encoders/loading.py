"""Loads the model of a speech encoder from a hub id or a folder: checks it, builds the used layers, sets options."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedConfig, PreTrainedModel, Wav2Vec2FeatureExtractor, WhisperConfig

from gemoclap.audio import SAMPLE_RATE
from gemoclap.encoders.layers import Layers, leave_out_unused
from gemoclap.encoders.pretrained import load_config, load_model, model_class, readable_errors
from gemoclap.encoders.whisper import (
    HOP,
    WINDOW,
    WhisperCheckpoint,
    WhisperSpeechConfig,
    WhisperSpeechModel,
)
from gemoclap.errors import GemoclapError, did_you_mean

W2V_BERT = "wav2vec2-bert"
"""The type of a w2v-BERT in transformers."""
FREE_FIELDS = ("apply_spec_augment", "layerdrop", "padded")


def load_speech_model(
    name: str, layers: Layers, keep_layers: int | None, options: dict[str, Any]
) -> tuple[PreTrainedModel, bool]:
    """Return the model of a hub id or a folder, and whether its input must have zero mean and unit variance.

    Parameters
    ----------
    layers, keep_layers, options : as in `SpeechEncoder.from_pretrained`.

    Raises
    ------
    GemoclapError : as `SpeechEncoder.from_pretrained`.
    """
    config = load_config(name)
    if isinstance(config, WhisperConfig):
        return _load_whisper(name, config, layers, keep_layers, options), False
    if config.model_type == W2V_BERT:
        return _load_w2v_bert(name, config, layers, keep_layers, options), False
    refuse_unfit(name, model_class(name, config), config)
    do_normalize = read_do_normalize(name)
    leave_out_unused(config, layers, keep_layers)
    set_options(config, options)
    return load_model(name, config), do_normalize


def _load_w2v_bert(
    name: str, config: PreTrainedConfig, layers: Layers, keep_layers: int | None, options: dict[str, Any]
) -> PreTrainedModel:
    """Build a w2v-BERT with the log-mel features that it takes."""
    # Imported here, because its classes in transformers take a while, and few runs need them.
    from gemoclap.encoders.w2v_bert import BANDS, STACKED, W2VBertSpeechConfig, W2VBertSpeechModel

    wanted = {"num_mel_bins": BANDS, "stride": STACKED, "sampling_rate": SAMPLE_RATE}
    _check_features(name, wanted)
    own = W2VBertSpeechConfig.from_w2v_bert(config)
    refuse_unfit(name, W2VBertSpeechModel, own)
    leave_out_unused(own, layers, keep_layers)
    set_options(own, options)
    return load_model(name, own, W2VBertSpeechModel)


def _load_whisper(
    name: str, config: WhisperConfig, layers: Layers, keep_layers: int | None, options: dict[str, Any]
) -> WhisperSpeechModel:
    """Build the encoder of a Whisper checkpoint. The decoder is neither built nor read."""
    bands = config.num_mel_bins
    _check_features(name, {"feature_size": bands, "sampling_rate": SAMPLE_RATE, "hop_length": HOP, "n_fft": WINDOW})
    own = WhisperSpeechConfig.from_whisper(config)
    leave_out_unused(own, layers, keep_layers)
    set_options(own, options)
    config.encoder_layers = own.encoder_layers
    checkpoint = cast(WhisperCheckpoint, load_model(name, config, WhisperCheckpoint))
    return WhisperSpeechModel.from_checkpoint(checkpoint, own)


def _check_features(name: str, wanted: dict[str, int]) -> None:
    """Refuse a checkpoint whose preprocessor_config.json needs other log-mel features than ours."""
    if Path(name).is_dir() and not any(Path(name).glob("*processor_config.json")):
        return  # without this file, the usual input of the family is assumed
    with readable_errors(name):
        asked, _ = PreTrainedConfig.get_config_dict(name, _configuration_file="preprocessor_config.json")
    for field, value in wanted.items():
        if asked.get(field, value) != value:
            raise GemoclapError(
                f"{name}: its preprocessor_config.json says {field} {asked[field]}, and its model takes {value}; "
                "give a checkpoint whose two files agree"
            )


def set_options(config: PreTrainedConfig, options: dict[str, Any]) -> None:
    """Change fields of a config that have no effect on the shape of weights.

    Raises
    ------
    GemoclapError : there is no such field; it has an effect on the shape of weights; or the value has another type.
    """
    known = [field for field in config.to_dict() if _is_free(field)]
    for option, value in options.items():
        if option not in known:
            raise GemoclapError(
                f"model.audio_options: a pre-trained {config.model_type} encoder has no {option!r} to change"
                f"{did_you_mean(option, known)}; it has {', '.join(known)}"
            )
        present = getattr(config, option)
        is_alike = isinstance(value, bool) == isinstance(present, bool) and isinstance(value, int | float | bool)
        if not is_alike:
            kind = "true or false" if isinstance(present, bool) else "a number"
            raise GemoclapError(f"model.audio_options: {option} is {kind} (here {present}), not {value!r}")
        setattr(config, option, value)


def _is_free(field: str) -> bool:
    return field in FREE_FIELDS or field.startswith("mask_") or field.endswith(("dropout", "layerdrop"))


def refuse_unfit(name: str, model_type: type[PreTrainedModel], config: PreTrainedConfig) -> None:
    """Raise a GemoclapError for a model that is no encoder of waveforms, or that joins frames after its front end."""
    if getattr(config, "is_encoder_decoder", False):
        raise GemoclapError(f"{name}: is an encoder-decoder ({config.model_type}); give a speech encoder such as WavLM")
    if model_type.main_input_name != "input_values" or not hasattr(model_type, "_get_feat_extract_output_lengths"):
        raise GemoclapError(
            f"{name}: a {config.model_type} model does not take waveforms; give a wav2vec2, HuBERT, WavLM, data2vec-audio, "
            "w2v-BERT or Whisper encoder, or one of this project's (compact, small, mockingjay, npc)"
        )
    # Both join frames inside the encoder. So the last frames of a clip would depend on the padding behind them.
    if getattr(config, "add_adapter", False):
        raise GemoclapError(f"{name}: has a convolutional adapter; set add_adapter to false in its config.json")
    if getattr(config, "squeeze_factor", 1) > 1:
        raise GemoclapError(
            f"{name}: a {config.model_type} model joins frames inside; give one that does not, as WavLM"
        )


def read_do_normalize(name: str) -> bool:
    """Return ``do_normalize`` of preprocessor_config.json. Raise a GemoclapError for another sampling rate than ours."""
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("*processor_config.json")):
        raise GemoclapError(
            f"{name}: has no preprocessor_config.json, which says whether the encoder needs normalised clips; "
            'add one with {"do_normalize": true} or false'
        )
    with readable_errors(name):
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(name)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise GemoclapError(
            f"{name}: is for audio at {extractor.sampling_rate} Hz; give an encoder for {SAMPLE_RATE} Hz"
        )
    return extractor.do_normalize
