"""Runs that compute once what is frozen, against runs that compute it at every step."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import save_speech_encoder
from training_standins import finish, start

from gemoclap.config import AudioSettings, CacheSettings, DataSettings, ModelSettings, Settings, TrainSettings
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary
from gemoclap.predictions import read_predictions
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.inputs import InputSources, cache_folder, load_audio_store
from gemoclap.recipes.supervised import build_model

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


@pytest.mark.parametrize("layers", ["last", "weighted", [1, 3]])
def test_a_frozen_encoder_hears_each_clip_once_in_all_runs(
    tmp_path: Path, small_manifest: Path, counted: dict[str, int], layers: Any
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
    cached = crossval(settings_of(small_manifest, encoder, frames=place), tmp_path / "cached")
    assert counted["front_end"] == 32
    plain = crossval(settings_of(small_manifest, encoder, frames="never"), tmp_path / "plain")
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
    crossval(make(frames="disk", audio="disk"), tmp_path / "run")
    for other in ({"frames_dtype": "bf16"}, {"frames": "never"}):
        with pytest.raises(GemoclapError, match="cache.frames.* differs"):
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
    plain_compile, compiled = torch.nn.Module.compile, []

    def traced(module, **options):
        compiled.append(module)
        # Traced as for a GPU, but run by PyTorch itself: a C++ compiler is not what is tested here.
        plain_compile(module, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    make = partial(settings_of, small_manifest, save_speech_encoder(tmp_path / "wavlm", "wavlm", **NO_DROPOUT))
    plain = crossval(make(), tmp_path / "plain")
    assert_close(plain, crossval(make(**{setting: True}), tmp_path / setting), 1e-4)
    assert len(compiled) == (2 * 3 if setting == "compile" else 0)
    with pytest.raises(AssertionError):  # what the encoder learns can be seen at this tolerance
        assert_close(plain, crossval(make("all"), tmp_path / "frozen"), 1e-4)


def test_both_at_once_are_refused(small_manifest: Path) -> None:
    with pytest.raises(GemoclapError, match="do not go together"):
        settings_of(small_manifest, Path("any"), gradient_checkpointing=True, compile=True)


@pytest.mark.parametrize(("freeze", "place"), [("front_end", "disk"), ("front_end", "memory"), ("all", "disk")])
def test_two_processes_have_all_that_they_need(tmp_path: Path, small_manifest: Path, freeze: str, place: str) -> None:
    encoder = save_speech_encoder(tmp_path / "wavlm", "wavlm")
    options = {"manifest": str(small_manifest), "encoder": str(encoder), "freeze": freeze, "place": place}
    finish(start(make_ready, tmp_path / "run", 2, **options))
    one, two = (load_file(tmp_path / "run" / f"inputs-{process}.safetensors") for process in (0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one) and len(next(iter(one.values()))) == 32


def make_ready(
    output: Path, process: int, processes: int, manifest: str, encoder: str, freeze: str, place: str
) -> None:
    """Write the inputs of all clips, as this process has them."""
    os.environ["GEMOCLAP_CACHE"] = str(output / "cache")
    settings = settings_of(Path(manifest), Path(encoder), freeze, frames=place, table=place, audio=place)
    rows = read_manifest(manifest)
    store = load_audio_store(settings.cache, settings.data.audio, rows)
    model = build_model(settings, "emo_clap", get_vocabulary("iemocap4"))
    save_file(
        InputSources(store, settings).for_model(model, rows).inputs(rows), output / f"inputs-{process}.safetensors"
    )


def test_two_processes_fail_together(tmp_path: Path, small_manifest: Path) -> None:
    rows = read_manifest(small_manifest)
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    write_manifest([*rows[:3], replace(rows[3], path=str(bad)), *rows[4:]], tmp_path / "bad.jsonl")
    finish(start(meet_a_bad_file, tmp_path / "run", 2, manifest=str(tmp_path / "bad.jsonl")))


def meet_a_bad_file(output: Path, process: int, processes: int, manifest: str) -> None:
    cache = CacheSettings(folder=str(output), audio="disk")
    with pytest.raises(GemoclapError, match="bad.wav"):
        load_audio_store(cache, AudioSettings(), read_manifest(manifest))


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMOCLAP_CACHE", "/somewhere")
    assert cache_folder(CacheSettings(folder="/here")) == Path("/here")
    assert cache_folder(CacheSettings()) == Path("/somewhere")
    monkeypatch.delenv("GEMOCLAP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder(CacheSettings()) == Path("/caches/gemoclap")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(CacheSettings()) == Path.home() / ".cache" / "gemoclap"
