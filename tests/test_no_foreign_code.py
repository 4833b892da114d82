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
from gemoclap.labels import get_vocabulary
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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model of ours, whose speech encoder is one of the hub's families."""
    speech, text = save_speech_encoder(tmp_path / "speech"), save_text_encoder(tmp_path / "text")
    vocabulary = get_vocabulary("iemocap4")
    GEmoClapModel.from_audio_text_pretrained(str(speech), str(text), vocabulary).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_of_ours_runs_none_either(model: Path) -> None:
    files = ("config.json", "tokenizer_config.json", "preprocessor_config.json")
    planted = [plant(model, file) for file in files]
    inner = json.loads((model / "config.json").read_text())
    inner["audio_config"]["auto_map"] = inner["text_config"]["auto_map"] = inner["auto_map"]
    (model / "config.json").write_text(json.dumps(inner))
    load_emotion_model(model)
    assert not any(path.exists() for path in planted)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_of_ours_with_a_class_of_its_own_is_refused(file: str, model: Path) -> None:
    planted = plant(model, file, model_type="strange", tokenizer_class="StrangeTokenizer")
    with pytest.raises(GemoclapError, match="code of its own, which is never run"):
        load_emotion_model(model)
    assert not planted.exists()


@pytest.mark.parametrize("named", ["someone/their-encoder", "/etc", "../text", "", 3, None, ["minilm"]])
def test_no_model_folder_says_what_is_fetched(named: object, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**described, "text_weights": named}))
    looked_up: list[str] = []
    monkeypatch.setattr(TextEncoder, "from_pretrained", lambda name, *_: looked_up.append(name))
    with pytest.raises(
        GemoclapError, match=rf"{model}: in its config\.json text_weights is .*, not 'saved' or 'minilm'"
    ):
        load_emotion_model(model)
    assert looked_up == []


def test_an_index_names_files_beside_it(tmp_path: Path) -> None:
    folder = save_speech_encoder(tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    for outside in ("../elsewhere.safetensors", str(tmp_path / "elsewhere.safetensors"), 3):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": outside}}))
        with pytest.raises(GemoclapError, match="is not the name of a file beside it"):
            SpeechEncoder.from_pretrained(str(folder))
