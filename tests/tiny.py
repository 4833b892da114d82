"""Tiny random encoders in the hub's layout: real classes of transformers, no weights from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedConfig,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

SPEECH_FORMS = (
    ("wav2vec2", "group"), ("wav2vec2", "layer"), ("hubert", "group"), ("hubert", "layer"), ("wavlm", "group"),
    ("wavlm", "layer"), ("data2vec-audio", "layer"),
)  # fmt: skip
"""Families, and the norm of their first convolution: "group" is the base form, "layer" the large one. data2vec-audio
has one form alone."""

RECEPTIVE_FIELD, HOP = 10 + 4 * 5 + 2 * 5 * 4, 5 * 4 * 2
"""Of the three convolutions below, in samples."""

PROMPTS = ("The emotion is angry", "The emotion is happy", "The emotion is sad", "The gender is female")

_FRONT_END = {"conv_dim": (8, 8, 8), "conv_kernel": (10, 5, 3), "conv_stride": (5, 4, 2)}
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "mask_time_length": 2,
    "layerdrop": 0.0,
}
_NORM_FORMS: dict[str, dict[str, Any]] = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
_FAMILIES: dict[str, dict[str, Any]] = {
    "hubert": {"num_feat_extract_layers": 3},
    "wavlm": {"num_buckets": 16, "max_bucket_distance": 32},
    "data2vec-audio": {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 7},
}


def speech_config(family: str = "wav2vec2", norm: str = "group", **changes: Any) -> PreTrainedConfig:
    """Return the config of a tiny encoder: 3 layers of 16, a frame of 70 samples every 40.

    Parameters
    ----------
    family, norm : see `SPEECH_FORMS`; any family of transformers with wav2vec 2.0's config will do.
    changes : over the tiny sizes.
    """
    forms = {} if family == "data2vec-audio" else _NORM_FORMS[norm]
    return AutoConfig.for_model(family, **{**_SIZES, **_FRONT_END, **forms, **_FAMILIES.get(family, {}), **changes})


def save_speech_encoder(
    folder: Path,
    family: str = "wav2vec2",
    norm: str = "group",
    do_normalize: bool = True,
    seed: int = 0,
    auto_class: Any = AutoModel,
    **changes: Any,
) -> Path:
    """Save a tiny random speech encoder as the hub has it: config, safetensors, preprocessor_config.json.

    Parameters
    ----------
    auto_class : AutoModel, or a class with a head, as checkpoints come from pre-training or from a task.
    """
    torch.manual_seed(seed)
    model = auto_class.from_config(speech_config(family, norm, **changes))
    with torch.no_grad():  # biases start at zero and norms at one, which would hide a mistake in them
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=norm == "layer").save_pretrained(folder)
    return folder


def whisper_config(**changes: Any) -> WhisperConfig:
    """Return the config of a tiny Whisper: 3 layers of 16 on either side, 80 mel bands, positions for 30 s."""
    layers = {f"{side}_{what}": size for side in ("encoder", "decoder")
              for what, size in (("layers", 3), ("attention_heads", 2), ("ffn_dim", 24))}  # fmt: skip
    tokens = {name: 1 for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")}
    return WhisperConfig(**{"d_model": 16, "vocab_size": 20, "max_target_positions": 8, **layers, **tokens, **changes})


def save_whisper(folder: Path, seed: int = 0, model_class: Any = WhisperModel, **changes: Any) -> Path:
    """Save a tiny random Whisper, decoder and all, as the hub has it."""
    torch.manual_seed(seed)
    config = whisper_config(**changes)
    model = model_class(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    return folder


def save_w2v_bert(folder: Path, seed: int = 0, model_class: Any = Wav2Vec2BertModel, **changes: Any) -> Path:
    """Save a tiny random w2v-BERT as the hub has it: 3 layers of 16, and the sizes of its input."""
    torch.manual_seed(seed)
    sizes = {
        name: _SIZES[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    own = {"conv_depthwise_kernel_size": 5, "left_max_position_embeddings": 6, "right_max_position_embeddings": 3}
    model = model_class(Wav2Vec2BertConfig(**{**sizes, **own, "layerdrop": 0.0, "mask_time_length": 2, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(folder)
    return folder


def together(*clips: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return clips side by side, what follows each being loud noise, and their lengths."""
    width = max(len(one) for one in clips)
    rows = [np.concatenate([one, np.full(width - len(one), 0.9, np.float32)]) for one in clips]
    return torch.from_numpy(np.stack(rows)), torch.tensor([len(one) for one in clips])


def save_family(folder: Path, family: str, norm: str = "layer", **options: Any) -> Path:
    """Save a tiny random encoder of a family of `SPEECH_FORMS`, a Whisper or a w2v-BERT."""
    if family == "whisper":
        return save_whisper(folder)
    if family == "w2v-bert":
        return save_w2v_bert(folder)
    return save_speech_encoder(folder, family, norm, **options)


def text_tokenizer() -> RobertaTokenizer:
    """Return RoBERTa's byte-level tokenizer with a vocabulary learnt from `PROMPTS`."""
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(PROMPTS, vocab_size=320, min_frequency=1, special_tokens=special, show_progress=False)
    vocabulary = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in vocabulary["merges"]]
    return RobertaTokenizer(vocab=vocabulary["vocab"], merges=merges, model_max_length=60)


def text_config() -> RobertaConfig:
    """Return the config of a tiny RoBERTa: 2 layers of 16."""
    return RobertaConfig(
        vocab_size=len(text_tokenizer()),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=62,
        type_vocab_size=1,
        pad_token_id=1,
    )


def save_text_encoder(folder: Path, seed: int = 0) -> Path:
    """Save a tiny random RoBERTa with its tokenizer as the hub has it."""
    torch.manual_seed(seed)
    RobertaModel(text_config()).save_pretrained(folder)
    text_tokenizer().save_pretrained(folder)
    return folder
