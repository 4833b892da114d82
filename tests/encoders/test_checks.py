"""A model whose weights are no numbers, or whose config.json says what no training has written, is not loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import save_speech_encoder, save_text_encoder

from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import ModelSettings
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.text import TextEncoder
from gemoclap.errors import GemoclapError
from gemoclap.heads.classifier import SpeechClassifier
from gemoclap.labels import get_vocabulary
from gemoclap.models import load_emotion_model

SETTINGS = ModelSettings(audio_options={"n_mels": 16, "stem_channels": 4, "hidden_size": 12}, projection_dim=8)


def save_contrastive(folder: Path) -> Path:
    text = str(save_text_encoder(folder.parent / "text"))
    vocabulary = get_vocabulary("iemocap4")
    GEmoClapModel.from_audio_text_pretrained("compact", text, vocabulary, SETTINGS).save_pretrained(folder)
    return folder


def save_by_reference(folder: Path) -> Path:
    vocabulary = get_vocabulary("iemocap4")
    GEmoClapModel.from_audio_text_pretrained("compact", "minilm", vocabulary, SETTINGS).save_pretrained(folder)
    return folder


def save_plain(folder: Path) -> Path:
    SpeechClassifier.from_audio_pretrained("compact", get_vocabulary("iemocap4"), SETTINGS).save_pretrained(folder)
    return folder


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Any], Any]]] = {
    "contrastive": (save_contrastive, load_emotion_model),
    "minilm": (save_by_reference, load_emotion_model),
    "plain": (save_plain, load_emotion_model),
    "speech": (save_speech_encoder, lambda folder: SpeechEncoder.from_pretrained(str(folder))),
    "text": (save_text_encoder, lambda folder: TextEncoder.from_pretrained(str(folder))),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_no_numbers(kind: str, value: float, tmp_path: Path) -> None:
    save, load = KINDS[kind]
    folder = save(tmp_path / "model")
    load(folder)
    weights = load_file(folder / "model.safetensors")
    key = max(name for name in weights if "pooler" not in name)  # which a text encoder leaves out
    weights[key].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GemoclapError) as caught:
        load(folder)
    assert str(caught.value).startswith(f"{folder}: its weights are damaged (") and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_floats_that_are_called_whole_numbers(kind: str, tmp_path: Path) -> None:
    save, load = KINDS[kind]
    folder = save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights = {name: one.view(torch.int32) if one.dtype == torch.float32 else one for name, one in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GemoclapError, match="its weights are damaged .* is of type I32"):
        load(folder)


SHAPES = [
    {"vocabulary": ["angry", "happy"]}, {"vocabulary": {}}, {"vocabulary": {"name": "x", "emotions": [1, 2], "merges": {}}},
    {"preparation": {"max_seconds": "14"}}, {"preparation": {"louder": 2}}, {"trained_speakers": [3]}, {"trained_speakers": 3},
    {"audio_config": None}, {"audio_config": "wavlm"}, {"audio_pooling": "max"}, {"audio_standardize": 1}, {"model_type": []},
    {"id2label": 3}, {"dtype": "x"},
]  # fmt: skip


@pytest.mark.parametrize("change", [*SHAPES, {"scale": None}, {"head": "round"}], ids=str)
def test_a_config_of_another_shape(change: dict[str, Any], tmp_path: Path) -> None:
    folder = save_plain(tmp_path / "model")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, **change}))
    with pytest.raises(GemoclapError) as caught:
        load_emotion_model(folder)
    assert str(caught.value).startswith(f"{folder}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"\xff\xfe{", b"[]", b"3", b"{", b"[" * 10_000])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_file_that_is_no_json_object(file: str, raw: bytes, tmp_path: Path) -> None:
    folder = save_contrastive(tmp_path / "model")
    (folder / file).write_bytes(raw)
    with pytest.raises(GemoclapError) as caught:
        load_emotion_model(folder)
    assert str(caught.value).startswith(f"{folder}: ") and "\n" not in str(caught.value)
