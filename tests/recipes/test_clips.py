"""Runs that compute once what is frozen, against runs that compute it at every step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import save_speech_encoder

from gemoclap.config import AudioSettings, CacheSettings, DataSettings, ModelSettings, Settings, TrainSettings
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.predictions import read_predictions
from gemoclap.recipes.clips import cache_folder
from gemoclap.recipes.crossval import cross_validate

NO_DROPOUT = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
}


def settings_of(manifest: Path, encoder: Path, freeze: str = "front_end", seed: int = 0, **options: Any) -> Settings:
    """Return settings of a short run; `options` are of the cache, or of the model or the training by name."""
    model = {name: options.pop(name) for name in ("layers",) if name in options}
    train = {name: options.pop(name) for name in ("gradient_checkpointing", "compile") if name in options}
    cache = {"layers" if name == "table" else name: value for name, value in options.items()}
    return Settings(
        data=DataSettings(str(manifest), folds="kfold", n_folds=2, audio=AudioSettings(max_seconds=0.3)),
        model=ModelSettings(
            audio_encoder=str(encoder), freeze=freeze, augment=False, pooling="mean", projection_dim=16, **model
        ),
        train=TrainSettings(epochs=2, lr=1e-4 if freeze == "front_end" else 1e-3, seed=seed, **train),
        cache=CacheSettings(**cache),
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the clips that go through the front end and through the whole encoder for its layers."""
    counts = {"front_end": 0, "layer_features": 0}

    def counting(name: str) -> None:
        plain = getattr(SpeechEncoder, name)

        def method(self, waveforms, *rest):
            counts[name] += len(waveforms)
            return plain(self, waveforms, *rest)

        monkeypatch.setattr(SpeechEncoder, name, method)

    for name in counts:
        counting(name)
    return counts


def crossval(settings: Settings, folder: Path) -> dict[str, np.ndarray]:
    """Return by id what was said of the test clips."""
    cross_validate(settings, ["emo_clap"], folder, keep_models=False)
    tables = [read_predictions(path) for path in sorted(folder.glob("emo_clap/*/predictions.csv"))]
    found = {name: row for table in tables for name, row in zip(table.ids, table.probabilities, strict=True)}
    assert len(found) == 32
    return found


def assert_close(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, scores in one.items():
        np.testing.assert_allclose(other[name], scores, rtol=0, atol=tolerance)


@pytest.mark.parametrize("layers", ["last", "weighted"])
def test_a_frozen_encoder_hears_each_clip_once_in_all_runs(
    tmp_path: Path, small_manifest: Path, counted: dict[str, int], layers: str
) -> None:
    encoder = save_speech_encoder(tmp_path / "wavlm", "wavlm")
    make = partial(settings_of, small_manifest, encoder, "all", layers=layers)
    cached = crossval(make(), tmp_path / "cached")
    assert counted == {"front_end": 0, "layer_features": 32}
    seeded = crossval(make(seed=1), tmp_path / "seed")
    assert counted["layer_features"] == 32
    plain = crossval(make(table="never"), tmp_path / "plain")
    assert counted["layer_features"] == 32
    assert_close(cached, plain, 1e-5)
    with pytest.raises(AssertionError):
        assert_close(cached, seeded, 1e-5)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_frozen_front_end_runs_once_a_run(
    tmp_path: Path, small_manifest: Path, counted: dict[str, int], place: str
) -> None:
    encoder = save_speech_encoder(tmp_path / "hubert", "hubert", **NO_DROPOUT)
    cached = crossval(settings_of(small_manifest, encoder, front_end=place), tmp_path / "cached")
    assert counted["front_end"] == 32
    plain = crossval(settings_of(small_manifest, encoder, front_end="never"), tmp_path / "plain")
    assert counted["front_end"] == 32
    assert_close(cached, plain, 1e-3)


def test_nothing_is_cached_where_nothing_is_frozen(
    tmp_path: Path, small_manifest: Path, counted: dict[str, int]
) -> None:
    encoder = save_speech_encoder(tmp_path / "wavlm", "wavlm")
    crossval(settings_of(small_manifest, encoder, "none"), tmp_path / "run")
    assert counted == {"front_end": 0, "layer_features": 0}


def test_a_run_goes_on_with_another_cache_but_not_with_another_precision(tmp_path: Path, small_manifest: Path) -> None:
    make = partial(settings_of, small_manifest, save_speech_encoder(tmp_path / "wavlm", "wavlm"))
    crossval(make(), tmp_path / "run")
    crossval(make(front_end="disk", audio="disk"), tmp_path / "run")
    for other in ({"front_end_dtype": "bf16"}, {"front_end": "never"}):
        with pytest.raises(GemoclapError, match="cache.front_end.* differs"):
            crossval(make(**other), tmp_path / "run")


def test_audio_on_disk_gives_the_same_run(tmp_path: Path, small_manifest: Path) -> None:
    make = partial(settings_of, small_manifest, save_speech_encoder(tmp_path / "wavlm", "wavlm"), "all")
    memory = crossval(make(folder=str(tmp_path / "here")), tmp_path / "memory")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["layers"]
    disk = crossval(make(folder=str(tmp_path / "here"), audio="disk"), tmp_path / "disk")
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["audio", "layers"]
    assert_close(memory, disk, 0)


@pytest.mark.parametrize("setting", ["gradient_checkpointing", "compile"])
def test_what_only_saves_time_or_memory_changes_no_number(
    tmp_path: Path, small_manifest: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_compile = torch.nn.Module.compile
    # Traced as for a GPU, but run by PyTorch itself: a C++ compiler is not what is tested here.
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **o: plain_compile(module, backend="eager", **o))
    make = partial(settings_of, small_manifest, save_speech_encoder(tmp_path / "wavlm", "wavlm", **NO_DROPOUT))
    plain = crossval(make(), tmp_path / "plain")
    assert_close(plain, crossval(make(**{setting: True}), tmp_path / setting), 1e-3)


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMOCLAP_CACHE", "/somewhere")
    assert cache_folder(CacheSettings(folder="/here")) == Path("/here")
    assert cache_folder(CacheSettings()) == Path("/somewhere")
    monkeypatch.delenv("GEMOCLAP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder(CacheSettings()) == Path("/caches/gemoclap")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(CacheSettings()) == Path.home() / ".cache" / "gemoclap"
