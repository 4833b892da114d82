"""GMP-TL one step at a time, features taken from another run, and the cached front end."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import complaint, contents, log_of, run
from tiny import save_speech_encoder

from gemoclap.config import (
    AudioSettings,
    CacheSettings,
    DataSettings,
    GmpSettings,
    ModelSettings,
    Settings,
    TrainSettings,
)
from gemoclap.errors import GemoclapError
from gemoclap.recipes.crossval import cross_validate
from gemoclap.recipes.train import train

STEPS = ("features", "cluster", "pretrain", "finetune")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech_encoder(tmp_path_factory.mktemp("hubert") / "encoder", "hubert")


@pytest.fixture
def settings(small_manifest: Path, encoder: Path) -> Settings:
    return Settings(
        data=DataSettings(
            manifest=str(small_manifest), folds="kfold", n_folds=2, audio=AudioSettings(max_seconds=0.25)
        ),
        model=ModelSettings(audio_encoder=str(encoder), pooling="mean"),
        gmp=GmpSettings(scales=[3, 8], frame_epochs=1, passes=4),
        train=TrainSettings(epochs=1, batch_size=8, warmup_epochs=0.2),
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_steps_one_by_one_come_to_the_whole(
    small_manifest: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [
        "--data.manifest", small_manifest, "--model.audio_encoder", encoder, "--gmp.scales", "3,8", "--train.epochs", "1",
        "--gmp.frame_epochs", "1", "--data.audio.max_seconds", "0.25",
    ]  # fmt: skip
    assert run("train", "--method", "gmp_tl", *given, "-o", tmp_path / "whole") == 0
    steps = tmp_path / "steps"
    for step, before in (("cluster", "features"), ("pretrain", "features"), ("finetune", "pretrain")):
        assert f"run 'gemoclap gmp {before}'" in complaint(capsys, "gmp", step, *given, "-o", steps)
        assert not steps.exists()
    there: set[str] = set()
    for step, new in zip(STEPS, ({"features"}, {"clusters"}, {"frames"}, {"model", "log.jsonl"}), strict=True):
        assert run("gmp", step, *given, "-o", steps) == 0
        there |= new
        assert {path.name for path in steps.iterdir()} == there | {"config.yaml"}
        if step == "features":
            assert "run 'gemoclap gmp cluster'" in complaint(capsys, "gmp", "pretrain", *given, "-o", steps)
    shown = capsys.readouterr().out
    assert "gemoclap predict" in shown
    for name in ("features/model", "frames/model", "model"):
        assert same(steps / name, tmp_path / "whole" / name), name
    before = contents(steps)
    for step in STEPS:  # what is done stays as it is; the settings may come from the run itself
        assert run("gmp", step, "--config", steps / "config.yaml", "-o", steps) == 0
    assert contents(steps) == before


def test_the_quality_of_the_clusters_is_shown(
    small_manifest: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [
        "--data.manifest", small_manifest, "--model.audio_encoder", encoder, "--gmp.scales", "3,8", "--train.epochs", "1",
        "--data.audio.max_seconds", "0.25", "-o", tmp_path / "run",
    ]  # fmt: skip
    assert run("gmp", "features", *given) == 0 and run("gmp", "cluster", *given) == 0
    shown = capsys.readouterr().out
    assert "emotion, purity % / NMI" in shown and "| 3 |" in shown and "| 8 |" in shown


def test_without_the_first_stage_there_is_no_such_step(settings: Settings, tmp_path: Path) -> None:
    none = replace(settings, gmp=replace(settings.gmp, frame_epochs=0))
    with pytest.raises(GemoclapError, match="leaves this step out"):
        train(none, "gmp_tl", tmp_path / "run", "pretrain")
    assert train(none, "gmp_tl", tmp_path / "run", "finetune") == tmp_path / "run" / "model"
    with pytest.raises(GemoclapError, match="run 'gemoclap gmp features'"):
        train(replace(none, gmp=replace(none.gmp, start="features")), "gmp_tl", tmp_path / "other", "finetune")


def test_features_are_taken_from_another_run_of_the_same_folds(settings: Settings, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    cross_validate(settings, ["gmp_tl"], first)
    other = replace(settings, gmp=replace(settings.gmp, features=str(first), scales=[5], layer=1))
    cross_validate(other, ["gmp_tl"], second)
    for fold in ("fold_1", "fold_2"):
        assert same(first / "gmp_tl" / fold / "features" / "model", second / "gmp_tl" / fold / "features" / "model")
        assert not (second / "gmp_tl" / fold / "features" / "log.jsonl").exists()
    # A third may take them from the second.
    cross_validate(
        replace(other, gmp=replace(other.gmp, features=str(second), head="ce")), ["gmp_tl"], tmp_path / "third"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": TrainSettings(epochs=2, batch_size=8, warmup_epochs=0.2)}, "other data, settings or folds"),
        ({"gender": False}, "other data, settings or folds"),
        ({"n_folds": 4}, "other data, settings or folds"),
        ({"features": "nowhere"}, "holds no features for fold_1"),
    ],
)
def test_features_of_other_folds_or_settings_are_refused(
    settings: Settings, tmp_path: Path, changes: dict, message: str
) -> None:
    cross_validate(settings, ["gmp_tl"], tmp_path / "first")
    gmp = replace(settings.gmp, features=str(tmp_path / "first"))
    if "gender" in changes or "features" in changes:
        changes = {"gmp": replace(gmp, **changes)}
    elif "n_folds" in changes:
        changes = {"gmp": gmp, "data": replace(settings.data, **changes)}
    with pytest.raises(GemoclapError, match=message):
        cross_validate(replace(settings, **{"gmp": gmp, **changes}), ["gmp_tl"], tmp_path / "second")


def test_a_frozen_front_end_is_computed_once_and_changes_no_loss(settings: Settings, tmp_path: Path) -> None:
    frozen = replace(settings, model=replace(settings.model, freeze="front_end"))
    train(frozen, "gmp_tl", tmp_path / "cached")
    train(replace(frozen, cache=CacheSettings(front_end="never")), "gmp_tl", tmp_path / "plain")
    cached, plain = (log_of(tmp_path / name / "frames")[0] for name in ("cached", "plain"))
    assert cached["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    front_end = [name for name in weights(tmp_path / "cached" / "frames" / "model") if "feature_extractor" in name]
    start, after = weights(Path(settings.model.audio_encoder)), weights(tmp_path / "cached" / "frames" / "model")
    assert front_end and all(torch.equal(start[name], after[name]) for name in front_end)


def test_a_stopped_copy_of_features_is_not_taken_for_them(settings: Settings, tmp_path: Path, monkeypatch) -> None:
    cross_validate(settings, ["gmp_tl"], tmp_path / "first")
    other = replace(settings, gmp=replace(settings.gmp, features=str(tmp_path / "first"), scales=[5]))
    copytree = shutil.copytree

    def stop(source: Path, target: Path, **options: bool) -> None:
        copytree(source, target, **options)  # type: ignore[call-overload]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "copytree", stop)
        cross_validate(other, ["gmp_tl"], tmp_path / "second")
    assert not (tmp_path / "second" / "gmp_tl" / "fold_1" / "features" / "model").exists()
    cross_validate(other, ["gmp_tl"], tmp_path / "second")
