"""The models that come with the package load without a hub, in float32; heads on their frozen encoder are saved alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small import complaint, run
from sound import noise, write

from gemoclap import Predictor
from gemoclap.corpora.manifest import read_manifest
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.embedded import EMBEDDED, FOLDER, WEIGHTS, embedded_weights
from gemoclap.inference.model_folder import EMBEDDED_MODELS, model_source
from gemoclap.models import load_emotion_model

CLASSES = {
    "small": ("neutral", "happy", "sad", "angry", "fearful", "disgusted"),
    "default": ("neutral", "happy", "sad", "angry", "fearful", "disgusted"),
    "research": ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised"),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clip") / "a.wav", noise(1.5, seed=4))


def test_all_weights_together_are_small_and_safetensors_alone() -> None:
    files = [path for path in FOLDER.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ""}
    for path in FOLDER.parent.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert "__metadata__" not in list(file.keys())


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_an_embedded_model_predicts(name: str, clip: Path) -> None:
    predictor = Predictor.from_pretrained(name, device="cpu")
    assert predictor.labels == CLASSES[name]
    model = predictor.model
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    assert model.config.calibration is not None and model.config.trained_speakers
    prediction = predictor(clip)
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
    # The whole model, text encoder included, says the same as the saved prompts.
    whole = load_emotion_model(model_source(name))
    saved = model.embed_prompts(model.emotion_prompts)
    torch.testing.assert_close(whole.embed_prompts(whole.emotion_prompts), saved, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_its_config_names_no_path_and_its_card_its_licence(name: str) -> None:
    folder = Path(model_source(name))
    text = (folder / "config.json").read_text()
    assert not re.search(r'"(/|[A-Z]:)', text)
    card = (folder / "README.md").read_text()
    assert ("CC BY-NC-SA 4.0" in card.split("Licence of these weights:")[1].splitlines()[0]) == (name == "research")
    corpora = {speaker.split("/")[0] for speaker in json.loads(text)["trained_speakers"]}
    assert corpora == ({"cremad", "emodb", "ravdess", "nemo"} if name == "research" else {"cremad", "emodb"})


def test_predict_needs_no_model_of_your_own(small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    clip = read_manifest(small_manifest)[0].path
    assert run("predict", clip, "--json", "--speech", "all") == 0
    row = json.loads(capsys.readouterr().out)
    prediction = Predictor.from_pretrained(device="cpu")(clip)
    assert row["emotion"] == prediction.emotion
    assert row["angry"] == pytest.approx(prediction.probabilities["angry"], abs=2e-6)


def test_a_folder_called_like_an_embedded_model_is_named_with_its_path(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    assert run("predict", clip, "--model", "default") == 0
    assert "no model in it" in complaint(capsys, "predict", clip, "--model", "./default")


def test_the_encoder_alone(clip: Path) -> None:
    encoder = load_audio_encoder(EMBEDDED, 3)
    stored = embedded_weights()
    state = encoder.model.state_dict()
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], state[name]) for name in stored)
    with safe_open(FOLDER / WEIGHTS, "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in list(file.keys())} == {"F16"}
    assert encoder.output_dim == 512 and len(stored) > 40


@pytest.mark.parametrize("method", ["emo_clap", "ce"])
def test_a_head_on_the_frozen_encoder_is_saved_without_it(
    method: str, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = [
        *("--model.projection_dim", "16", "--train.epochs", "1", "--model.audio_encoder", "default"),
        *("--model.layers", "2", "--model.freeze", "all", "--method", method, "-o", str(tmp_path / "run")),
    ]
    assert run("train", small_manifest, *options) == 0
    folder = tmp_path / "run" / "model"
    assert (folder / WEIGHTS).stat().st_size < 2e6
    with safe_open(folder / WEIGHTS, "pt") as file:
        assert not [name for name in list(file.keys()) if name.startswith("audio_encoder.model.")]
    model = load_emotion_model(folder)
    clip = read_manifest(small_manifest)[0].path
    encoder = load_audio_encoder(EMBEDDED, 2)
    waveform = torch.from_numpy(Predictor(model).load(clip)).unsqueeze(0)
    lengths = torch.tensor([waveform.shape[1]])
    with torch.no_grad():
        wanted = model.standardizer(model.pooling(*encoder(waveform, lengths)))
        found = model.get_audio_features(waveform, lengths)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-4)


def test_the_small_model_is_small_and_takes_its_convolutions_from_the_encoder() -> None:
    folder = Path(model_source("small"))
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 5e6
    with safe_open(folder / WEIGHTS, "pt") as file:
        assert not [name for name in list(file.keys()) if "convolutions" in name]
    model = load_emotion_model(folder)
    for name, weight in model.audio_encoder.model.convolutions.named_parameters():
        assert torch.equal(weight, embedded_weights()[f"feature_extractor.{name}"]) and not weight.requires_grad


@pytest.mark.parametrize("frozen", [True, False])
def test_a_small_encoder_is_saved_with_what_was_trained_of_it(
    frozen: bool, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = [
        *("--model.projection_dim", "16", "--train.epochs", "1", "--model.audio_encoder", "small"),
        *("--model.audio_options", '{"block_size": 8, "num_hidden_layers": 1}', "--model.standardize", "running"),
        *("--model.freeze", "front_end" if frozen else "none", "--method", "emo_clap", "-o", str(tmp_path / "run")),
    ]
    assert run("train", small_manifest, *options) == 0
    folder = tmp_path / "run" / "model"
    with safe_open(folder / WEIGHTS, "pt") as file:
        saved = [name for name in list(file.keys()) if "convolutions" in name]
    assert bool(saved) == (not frozen)
    model = load_emotion_model(folder)
    found = model.audio_encoder.model.convolutions.conv1.weight
    assert torch.equal(found, embedded_weights()["feature_extractor.conv1.weight"]) == frozen
    clip = Predictor(model)(read_manifest(small_manifest)[0].path)
    assert clip.probabilities == Predictor.from_pretrained(folder)(read_manifest(small_manifest)[0].path).probabilities
    assert model.standardizer.num_batches_tracked > 0
