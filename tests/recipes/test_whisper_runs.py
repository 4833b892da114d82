"""A pre-trained Whisper through whole runs: frozen, fine-tuned in part, with adapters, and under GMP-TL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import changed, crossval, run
from tiny import save_whisper

from gemoclap import Predictor
from gemoclap.config import DataSettings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.data.audio_store import AudioStore, pad_waveforms
from gemoclap.data.folds import make_folds
from gemoclap.data.reading import read_data
from gemoclap.encoders import load_audio_encoder
from gemoclap.models import load_emotion_model
from gemoclap.predictions import read_predictions

ROOT = Path(__file__).parents[2]
WHISPER = ("--config", "whisper")


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    return save_whisper(tmp_path / "whisper")


def cross_validated(manifest: Path, whisper: Path, output: Path, methods: str, *options: str) -> Path:
    """Run two folds, one epoch, and return the folder of the first."""
    command = crossval(manifest, methods, output)
    small = command.index("--model.audio_options")
    command = [command[0], *WHISPER, *command[1:small], *command[small + 2 :]]
    assert run(*command, "--model.audio_encoder", whisper, "--model.layers", "2", *options) == 0
    return output / methods / "fold_1"


def assert_the_saved_model_predicts_the_same(fold: Path, manifest: Path) -> None:
    table = read_predictions(fold / "predictions.csv")
    rows = {row.id: row for row in read_manifest(manifest)}
    predictor = Predictor.from_pretrained(fold / "model", device="cpu")
    predictor.model.config.clip_seconds = None  # a run takes longer clips than those of training whole, too
    for name, expected in zip(table.ids, table.probabilities, strict=True):
        found = predictor(rows[name]).probabilities
        np.testing.assert_allclose([found[label] for label in table.classes], expected, atol=1e-4)


@pytest.mark.parametrize("method", ["emo_clap", "ce"])
def test_frozen(small_manifest: Path, tmp_path: Path, whisper: Path, method: str) -> None:
    fold = cross_validated(small_manifest, whisper, tmp_path / "run", method)
    assert_the_saved_model_predicts_the_same(fold, small_manifest)
    model = load_emotion_model(fold / "model")
    rows, vocabulary, data = read_data(DataSettings(manifest=str(small_manifest), folds="kfold", n_folds=2))
    train = make_folds(rows, data, vocabulary)[0].train
    store, encoder = AudioStore(data.audio), load_audio_encoder(str(whisper)).eval()
    features = []
    for row in train:
        frames, _ = encoder.layer_frames(*pad_waveforms([store(row)]), 2)
        features.append(torch.cat([frames[0].mean(0), (frames[0].var(0, correction=0) + 1e-5).sqrt()]))
    torch.testing.assert_close(model.standardizer.mean, torch.stack(features).mean(0), atol=1e-4, rtol=1e-4)
    deviation = torch.stack(features).std(0, correction=0)
    torch.testing.assert_close(model.standardizer.deviation, deviation, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_fine_tuned_above_what_is_frozen(
    small_manifest: Path, tmp_path: Path, whisper: Path, adapters: bool, precision: str
) -> None:
    options = ["--model.freeze", "1", "--model.pooling", "attention", "--cache.frames_dtype", precision]
    options += ["--model.lora_rank", "2"] if adapters else []
    fold = cross_validated(small_manifest, whisper, tmp_path / "run", "ce", *options)
    assert_the_saved_model_predicts_the_same(fold, small_manifest)
    before = load_file(whisper / "model.safetensors")
    after = load_file(fold / "model" / "model.safetensors")
    assert not any("lora" in name or "base_layer" in name or "layers.2" in name for name in after)
    weights = {
        name.removeprefix("audio_encoder.model."): one
        for name, one in after.items()
        if name.startswith("audio_encoder.model.encoder.layers")
    }
    moved = {name for name, one in weights.items() if not torch.equal(one, before[name])}
    above = {name for name in weights if ".layers.1." in name}
    adapted = {name for name in above if name.endswith(("q_proj.weight", "v_proj.weight"))}
    assert len(weights) == 2 * len(above) and moved == (adapted if adapters else above)


def test_gmp_tl(small_manifest: Path, tmp_path: Path, whisper: Path) -> None:
    manifest = changed(small_manifest, tmp_path / "m.jsonl", gender="female")
    steps = ["--gmp.scales", "2,4", "--gmp.layer", "-1", "--gmp.frame_epochs", "1", "--model.freeze", "1"]
    fold = cross_validated(manifest, whisper, tmp_path / "run", "gmp_tl", *steps)
    assert_the_saved_model_predicts_the_same(fold, manifest)
    assert load_audio_encoder(str(fold / "frames" / "model")).model.config.num_hidden_layers == 2
