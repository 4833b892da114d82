"""A misspelt name of a model or encoder that comes with the package: one line names those that exist, and no hub is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakehub import offline_hub
from huggingface_hub import constants
from small import changed, complaint
from sound import noise, write

from gemoclap.encoders import UNTRAINED, hub
from gemoclap.errors import GemoclapError
from gemoclap.inference.model_folder import WEIGHTS, require_model
from gemoclap.inference.onnx_predictor import OnnxPredictor
from gemoclap.inference.predictor import Predictor


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if the hub is asked for anything."""
    offline_hub(tmp_path / "hub", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_session", lambda: pytest.fail("the hub was asked"))
    hub._answers.cache_clear()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write(tmp_path / "a.wav", noise(0.5))


@pytest.mark.parametrize(("name", "near"), [("smal", "small"), ("Default", "default"), ("reserch", "research")])
@pytest.mark.parametrize("command", ["predict", "timeline", "serve", "export", "evaluate"])
def test_a_misspelt_model(
    command: str, name: str, near: str, clip: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = {
        "predict": [clip],
        "timeline": [clip],
        "serve": ["--port", "0"],
        "export": ["-o", tmp_path / "x.onnx"],
        "evaluate": [small_manifest],
    }[command]
    line = complaint(capsys, command, *given, "--model", name)
    assert line.startswith(f"gemoclap: {name}: no model has this name (did you mean '{near}'?)")
    shipped = sorted(path.parent.name for path in WEIGHTS.glob("*/config.json") if path.parent.name != "encoder")
    assert len(shipped) == 3 and all(one in line.partition("gemoclap are ")[2] for one in shipped)


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(GemoclapError, match="^whisper: no model has this name; the models that come with") as error:
        Predictor.from_pretrained("whisper")
    assert "did you mean" not in str(error.value)


def test_folders_and_hub_ids_pass(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_model.parent)
    for name in ("model", "./model", small_model, "owner/model"):
        require_model(name)


@pytest.mark.parametrize(
    ("command", "name", "near"),
    [
        ("train", "smal", "small"),
        ("crossval", "defualt", "default"),
        ("table1", "compakt", "compact"),
        ("crosscorpus", "mockingjai", "mockingjay"),
        ("probe", "Small", "small"),
        ("gmp", "defalt", "default"),
    ],
)
def test_a_misspelt_encoder(
    command: str, name: str, near: str, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["gmp", "features"] if command == "gmp" else [command]
    other = changed(small_manifest, tmp_path / "other.jsonl", corpus="other")
    corpora = [small_manifest, other] if command == "crosscorpus" else [small_manifest]
    option = "--encoders" if command in ("table1", "probe") else "--model.audio_encoder"
    folds = [] if command in ("train", "crosscorpus") else ["--data.folds", "kfold", "--data.n_folds", "2"]
    line = complaint(capsys, *words, *corpora, option, name, *folds, "-o", tmp_path / "run")
    assert line.startswith(f"gemoclap: {name}: no speech encoder has this name (did you mean '{near}'?); known: ")
    assert all(one in line for one in (*UNTRAINED, "default")) and not (tmp_path / "run").exists()


def test_the_probe_also_names_its_baseline(small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folds = ["--data.folds", "kfold", "--data.n_folds", "2"]
    line = complaint(capsys, "probe", small_manifest, "--encoders", "logmel", *folds, "-o", tmp_path / "run")
    assert "(did you mean 'log_mel'?)" in line


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("small", "export --model small -o small.onnx"),
        ("none.onnx", "export -o none.onnx"),
        ("none", "export -o none.onnx"),
    ],
)
def test_a_model_is_no_onnx_file(name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GemoclapError, match=f"^{name}: no such file; 'gemoclap {command}' writes one$"):
        OnnxPredictor(name)
