"""Models whose weights are pickled alone, on the hub and in folders, against the same models in safetensors."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fakehub import offline_hub, pickle_weights, snapshot
from safetensors.torch import load_file
from tiny import PROMPTS, save_speech_encoder, save_text_encoder
from transformers import AutoModel, AutoTokenizer

from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.encoders.text import TextEncoder
from gemoclap.encoders.unpickled import unpickled_folder
from gemoclap.encoders.weights import find_weights
from gemoclap.errors import GemoclapError


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return offline_hub(tmp_path / "hub", monkeypatch)


def forbid_torch_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: Any, **options: Any) -> None:
        raise AssertionError("unpickled again")

    monkeypatch.setattr(torch, "load", load)


@pytest.mark.parametrize("where", ["hub", "folder"])
@pytest.mark.parametrize(("family", "norm"), [("hubert", "group"), ("wavlm", "layer")])
def test_a_speech_encoder_is_that_of_transformers(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, family: str, norm: str
) -> None:
    save_speech_encoder(tmp_path / "plain", family, norm)
    folder = snapshot(hub, "org/speech") if where == "hub" else tmp_path / "pickled"
    shutil.copytree(tmp_path / "plain", folder, dirs_exist_ok=True)
    pickle_weights(folder)
    name = "org/speech" if where == "hub" else str(folder)
    expected = AutoModel.from_pretrained(tmp_path / "plain").state_dict()
    for _ in range(2):
        model = SpeechEncoder.from_pretrained(name).model
        assert model.config.name_or_path == model.name_or_path == name
        torch.testing.assert_close(dict(model.state_dict()), dict(expected), atol=0, rtol=0)
        forbid_torch_load(monkeypatch)  # the second time it comes from safetensors


def test_a_text_encoder_is_that_of_transformers(hub: Path, tmp_path: Path) -> None:
    save_text_encoder(tmp_path / "plain")
    shutil.copytree(tmp_path / "plain", snapshot(hub, "org/text"), dirs_exist_ok=True)
    pickle_weights(snapshot(hub, "org/text"))
    encoder = TextEncoder.from_pretrained("org/text").eval()
    plain = AutoModel.from_pretrained(tmp_path / "plain").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "plain")(list(PROMPTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(encoder(PROMPTS), plain(**tokens).last_hidden_state[:, 0], atol=1e-5, rtol=0)


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    folder = save_speech_encoder(tmp_path / "encoder")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    half = len(tensors) // 2
    parts = {"1.bin": dict(list(tensors.items())[:half]), "2.bin": dict(list(tensors.items())[half:])}
    for name, part in parts.items():
        torch.save(part, folder / name)
    places = {tensor: name for name, part in parts.items() for tensor in part}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    model = SpeechEncoder.from_pretrained(str(folder)).model
    torch.testing.assert_close(dict(model.state_dict()), tensors, atol=0, rtol=0)


@pytest.mark.parametrize("zipped", [True, False])
def test_tied_and_turned_tensors(tmp_path: Path, zipped: bool) -> None:
    weight = torch.randn(4, 3, dtype=torch.float16)
    tensors = {
        "embedding": weight, "tied": weight, "part": weight[1:], "turned": weight.T, "trained": torch.nn.Parameter(weight),
        "counter": torch.tensor(3),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    found = load_file(unpickled_folder(find_weights(str(tmp_path))) / "model.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_other_weights_have_another_folder(tmp_path: Path) -> None:
    folders = []
    for value in (1.0, 2.0):
        torch.save({"weight": torch.tensor(value)}, tmp_path / "pytorch_model.bin")
        folders.append(unpickled_folder(find_weights(str(tmp_path))))
    assert [load_file(folder / "model.safetensors")["weight"].item() for folder in folders] == [1.0, 2.0]


class Planted:
    """Unpickled as a pickle may be, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content", ["code", "cut", "nested", "a tensor", "a plain pickle", "nothing"])
def test_what_is_more_than_tensors_is_refused_unrun(tmp_path: Path, content: str, zipped: bool) -> None:
    folder = save_speech_encoder(tmp_path / "encoder")
    path, planted = pickle_weights(folder), tmp_path / "planted"
    contents: dict[str, Any] = {
        "code": {"weight": torch.zeros(2), "more": Planted(planted)},
        "nested": {"state_dict": {"weight": torch.zeros(2)}, "epoch": 3},
        "a tensor": torch.zeros(2),
        "cut": torch.load(path),
    }
    if content in contents:
        torch.save(contents[content], path, _use_new_zipfile_serialization=zipped)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    if content == "a plain pickle":
        path.write_bytes(pickle.dumps({"weight": Planted(planted)}, protocol=2))
    if content == "nothing":
        path.write_bytes(b"")
    with pytest.raises(GemoclapError, match=r"give the model with model\.safetensors") as caught:
        SpeechEncoder.from_pretrained(str(folder))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not planted.exists() and not list((tmp_path / "cache").rglob("model.safetensors"))


def test_a_cache_folder_that_cannot_be_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pickle_weights(save_speech_encoder(tmp_path / "encoder"))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GEMOCLAP_CACHE", str(tmp_path / "file"))
    with pytest.raises(GemoclapError, match=r"another folder in \$GEMOCLAP_CACHE"):
        SpeechEncoder.from_pretrained(str(tmp_path / "encoder"))
