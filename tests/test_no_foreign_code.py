"""A model's folder may name code of its own: none of it runs, and nobody is asked whether it may."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import save_speech_encoder, save_text_encoder

from gemoclap.clap.model import GEmoClapModel
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.text import TextEncoder
from gemoclap.errors import GemoclapError
from gemoclap.models import load_emotion_model

AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoFeatureExtractor")


def plant(folder: Path, file: str, **changes: Any) -> Path:
    """Let a JSON file of `folder` name code that makes a file when it is imported; return that file's path."""
    planted = folder.parent / "planted"
    (folder / "code.py").write_text(f"from pathlib import Path\nPath({str(planted)!r}).touch()\n")
    described = json.loads((folder / file).read_text())
    named = {name: ["code.A", "code.B"] if name == "AutoTokenizer" else "code.A" for name in AUTO_CLASSES}
    (folder / file).write_text(json.dumps({**described, "auto_map": named, **changes}))
    return planted


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(prompt: str = "") -> str:
        raise AssertionError(f"asked: {prompt}")

    monkeypatch.setattr("builtins.input", ask)


@pytest.mark.parametrize(
    "load",
    [SpeechEncoder.from_pretrained, TextEncoder.from_pretrained, GEmoClapModel.from_pretrained, load_emotion_model],
)
def test_a_model_of_a_type_of_its_own_is_refused(load: Callable[[str], Any], tmp_path: Path) -> None:
    folder = save_speech_encoder(tmp_path / "model")
    planted = plant(folder, "config.json", model_type="strange")
    with pytest.raises(GemoclapError, match="code of its own, which is never run") as caught:
        load(str(folder))
    assert "\n" not in str(caught.value) and not planted.exists()


def test_known_types_are_loaded_by_known_code(tmp_path: Path) -> None:
    speech, text = save_speech_encoder(tmp_path / "speech"), save_text_encoder(tmp_path / "text")
    planted = [plant(speech, "config.json"), plant(speech, "preprocessor_config.json"), plant(text, "config.json")]
    planted.append(plant(text, "tokenizer_config.json"))
    SpeechEncoder.from_pretrained(str(speech))
    TextEncoder.from_pretrained(str(text))
    assert not any(path.exists() for path in planted)
