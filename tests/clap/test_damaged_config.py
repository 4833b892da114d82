"""A config.json with values that no training writes: the message names the folder, the field and the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import ModelSettings
from gemoclap.errors import GemoclapError
from gemoclap.heads.classifier import SpeechClassifier
from gemoclap.labels import Vocabulary
from gemoclap.models import load_emotion_model

VOCABULARY = Vocabulary("two", ("happy", "sad"))
SETTINGS = ModelSettings(
    audio_options={"n_mels": 16, "stem_channels": 4, "hidden_size": 12, "num_hidden_layers": 2}, projection_dim=8
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    clap = GEmoClapModel.from_audio_text_pretrained("compact", "minilm", VOCABULARY, SETTINGS)
    clap.save_pretrained(folder / "clap")
    head = SpeechClassifier.from_audio_pretrained("compact", VOCABULARY, SETTINGS, method="ce", head="linear")
    head.save_pretrained(folder / "head")
    return folder


OF_BOTH = [
    ("audio_layers", [2, 1]), ("audio_layers", [1, 1]), ("audio_layers", []), ("audio_layers", 3), ("audio_layers", -1),
    ("audio_layers", "second"), ("audio_layers", ["a"]), ("audio_pooling", "median"),
]  # fmt: skip
OF_CLAP = [
    *OF_BOTH, ("projection_dim", "wide"), ("max_temperature", "hot"), ("initial_temperature", None),
    ("emotion_prompt", "The emotion"), ("gender_prompt", "{} {}"), ("text_weights", "other/place"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [*(("clap", *one) for one in OF_CLAP), *(("head", *one) for one in OF_BOTH)],
)
def test_the_file_is_named_and_not_an_option(saved: Path, tmp_path: Path, kind: str, field: str, value: Any) -> None:
    for path in (saved / kind).iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((saved / kind / "config.json").read_text())
    assert field in config
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(GemoclapError) as caught:
        load_emotion_model(tmp_path)
    message = str(caught.value)
    assert (
        message.startswith(f"{tmp_path}: in its config.json {field} is {value!r}") and "copy the model again" in message
    )
    assert "model.layers" not in message and "\n" not in message


def test_weights_of_another_size_are_named(saved: Path, tmp_path: Path) -> None:
    for path in (saved / "clap").iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"projection_dim": 9}))
    with pytest.raises(GemoclapError, match="its weights have other sizes than its config.json says; copy the model"):
        load_emotion_model(tmp_path)
