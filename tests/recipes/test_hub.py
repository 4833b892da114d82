"""Runs on encoders of the hub, out of reach but in its cache: what they say they began with, and when they are others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from fakehub import COMMIT, offline_hub, pickle_weights, snapshot
from small import SMALL, complaint, contents, run
from tiny import save_speech_encoder, save_text_encoder

from gemoclap.config import DataSettings, ModelSettings, Settings
from gemoclap.config.files import find
from gemoclap.encoders.text import MINILM_SHA256
from gemoclap.encoders.weights import find_weights
from gemoclap.errors import GemoclapError
from gemoclap.files import file_hash
from gemoclap.recipes.run_folder import claim, refuse_other_run, run_config
from gemoclap.recipes.train import train

PAPER = find("paper")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = offline_hub(tmp_path / "hub", monkeypatch)
    save_speech_encoder(snapshot(cache, "org/speech"), "wavlm", "layer")
    save_text_encoder(snapshot(cache, "org/text"))
    return cache


@pytest.fixture
def settings(small_manifest: Path) -> Settings:
    return Settings(
        data=DataSettings(manifest=str(small_manifest)),
        model=ModelSettings(audio_encoder="org/speech", text_encoder="org/text"),
    )


def moved_on(cache: Path, name: str, commit: str, seed: int | None) -> None:
    """Let a repository's branch main go on to a commit with the weights of another seed, or the same."""
    before, after = snapshot(cache, name), snapshot(cache, name, commit)
    shutil.copytree(before, after, dirs_exist_ok=True)
    if seed is not None:
        (save_text_encoder if name == "org/text" else save_speech_encoder)(after, seed=seed)


def said(config: dict) -> list[str | None]:
    names = ("encoder_weights", "encoder_commit", "text_encoder_weights", "text_encoder_commit")
    return [config[name] for name in names]


def test_a_run_says_which_weights_of_which_commit_it_begins_with(hub: Path, settings: Settings, tmp_path: Path) -> None:
    audio, text = (file_hash(snapshot(hub, f"org/{name}") / "model.safetensors") for name in ("speech", "text"))
    assert said(run_config(settings, ["emo_clap"])) == [audio, COMMIT, text, COMMIT]
    assert said(run_config(settings, ["ce", "gmp_tl"])) == [audio, COMMIT, None, None]
    assert said(run_config(settings, ["egemaps_svm"])) == [None] * 4
    settings.model.audio_encoder, settings.model.text_encoder = "compact", "minilm"
    assert said(run_config(settings, ["emo_clap"])) == [None, None, MINILM_SHA256[:16], None]
    settings.model.audio_encoder = str(save_speech_encoder(tmp_path / "folder"))
    pickled = pickle_weights(tmp_path / "folder")
    settings.model.text_encoder = "org/not-there"
    assert said(run_config(settings, ["emo_clap"])) == [file_hash(pickled), None, None, None]


@pytest.mark.parametrize(("name", "differs"), [("speech", "encoder_weights"), ("text", "text_encoder_weights")])
def test_other_weights_of_the_same_name_are_another_run(
    hub: Path, settings: Settings, tmp_path: Path, name: str, differs: str
) -> None:
    claim(tmp_path / "run", run_config(settings, ["emo_clap"]), ["emo_clap"])
    (tmp_path / "run" / "emo_clap").mkdir()
    moved_on(hub, f"org/{name}", "b" * 40, seed=None)  # a commit that changed something else
    refuse_other_run(tmp_path / "run", run_config(settings, ["emo_clap"]))
    moved_on(hub, f"org/{name}", "c" * 40, seed=7)
    with pytest.raises(GemoclapError, match=f"its {differs} differs"):
        refuse_other_run(tmp_path / "run", run_config(settings, ["emo_clap"]))


def test_what_one_of_two_calls_does_not_tell_is_not_compared(hub: Path, settings: Settings, tmp_path: Path) -> None:
    """A baseline uses no weights, a plain head no text; an earlier version told nothing of the hub."""
    folder = tmp_path / "run"
    told = run_config(settings, ["emo_clap"])
    older = {name: value for name, value in told.items() if "commit" not in name and name != "text_encoder_weights"}
    claim(folder, {**older, "encoder_weights": None}, ["egemaps_svm"])
    (folder / "egemaps_svm").mkdir()
    for methods in (["ce"], ["emo_clap"], ["ce"], ["egemaps_svm"]):
        claim(folder, run_config(settings, methods), methods)
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert said(written) == said(told) and written["methods"] == ["egemaps_svm", "ce", "emo_clap"]


def test_features_of_gmp_tl_are_of_the_weights_they_began_with(hub: Path, settings: Settings, tmp_path: Path) -> None:
    settings.data.audio.max_seconds, settings.train.epochs, settings.gmp.scales = 0.25, 1, [4]
    first = train(settings, "gmp_tl", tmp_path / "first", "features").parent
    other = replace(settings, gmp=replace(settings.gmp, features=str(first)))
    train(other, "gmp_tl", tmp_path / "second", "features")
    moved_on(hub, "org/speech", "b" * 40, seed=7)
    with pytest.raises(GemoclapError, match="its encoder_weights differs"):
        train(other, "gmp_tl", tmp_path / "third", "features")
    origin = json.loads((first / "features" / "origin.json").read_text())
    del origin["encoder_weights"]  # as an earlier version wrote it, which knew no weights of the hub
    (first / "features" / "origin.json").write_text(json.dumps(origin))
    train(other, "gmp_tl", tmp_path / "fourth", "features")


def test_the_papers_settings_without_a_hub(
    hub: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Audio and text encoder come pickled from the hub's cache; the run goes on as itself, until the weights are others."""
    for name in ("org/speech", "org/text"):
        pickle_weights(snapshot(hub, name))
    given = [
        "crossval", "--config", PAPER, "--data.manifest", small_manifest, *SMALL[2:], "--data.vocabulary", "null",
        "--data.audio.max_seconds", "0.25", "--model.audio_encoder", "org/speech", "--model.text_encoder", "org/text",
        "--methods", "emo_clap", "-o", tmp_path / "run",
    ]  # fmt: skip
    assert run(*given) == 0
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert said(written) == [*[find_weights("org/speech").hash(), COMMIT], *[find_weights("org/text").hash(), COMMIT]]
    assert written["train"]["batching"] == "shuffled"
    before = contents(tmp_path / "run" / "emo_clap")
    assert run(*given) == 0 and contents(tmp_path / "run" / "emo_clap") == before
    assert run("crossval", "--config", tmp_path / "run" / "config.yaml", "-o", tmp_path / "run") == 0
    torch.save({"other": torch.zeros(1)}, snapshot(hub, "org/text") / "pytorch_model.bin")
    assert "its text_encoder_weights differs" in complaint(capsys, *given)
