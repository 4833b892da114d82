"""GMP-TL one step at a time, features taken from another run, and the cached front end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import changed, complaint, contents, log_of, run
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
from gemoclap.data.folds import Fold, make_folds
from gemoclap.data.shards import Shards
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.gmp.clustering import load_kmeans
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
    assert f"give --config {steps / 'config.yaml'}" in complaint(capsys, "gmp", "cluster", "-o", steps)
    before, labels = contents(steps), Shards(steps / "clusters" / "labels")
    (steps / "clusters" / "kmeans_3.safetensors").unlink()
    for step in STEPS:  # what is done stays as it is; the settings may come from the run itself
        assert run("gmp", step, "--config", steps / "config.yaml", "-o", steps) == 0
    after = contents(steps)
    for name, (digest, _) in before.items():
        assert "labels" in name or after[name][0] == digest, name
    again = Shards(steps / "clusters" / "labels")
    assert len(again) == len(labels) and all(torch.equal(again[key], labels[key]) for key in labels._places)


def test_the_quality_of_the_clusters_is_shown(
    small_manifest: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [
        "--data.manifest", small_manifest, "--model.audio_encoder", encoder, "--gmp.scales", "3,8", "--train.epochs", "1",
        "--data.audio.max_seconds", "0.25", "-o", tmp_path / "run",
    ]  # fmt: skip
    assert run("gmp", "features", *given) == 0 and run("gmp", "cluster", *given) == 0
    shown, log = capsys.readouterr()
    assert {"emotion:", "gender:", "speaker:", "purity,", "NMI"} <= {*shown.split()}  # headings have several lines
    assert "beware" not in shown
    quality = json.loads((tmp_path / "run" / "clusters" / "quality.json").read_text())
    for k in ("3", "8"):
        row = next(line for line in shown.splitlines() if line.split()[:1] == [k])
        assert f"{100 * quality[k]['emotion']['purity']:.1f}, {quality[k]['emotion']['nmi']:.3f}" in row
        figures = load_kmeans(tmp_path / "run" / "clusters" / f"kmeans_{k}.safetensors")
        assert (quality[k]["inertia"], quality[k]["passes"]) == (figures.inertia, len(figures.history))
        assert f"gmp_tl clusters all: {k} clusters of " in log and f"inertia {figures.inertia:.6g}" in log


def test_clusters_of_few_frames_are_warned_of(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def with_scale(k: int) -> Settings:
        return replace(settings, gmp=replace(settings.gmp, scales=[3, k]))

    with pytest.raises(GemoclapError, match="training frames, fewer than") as caught:
        train(with_scale(90000), "gmp_tl", tmp_path / "run", "features")
    frames = int(str(caught.value).split(" has ")[1].split()[0])
    train(with_scale(frames // 4), "gmp_tl", tmp_path / "run", "features")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("beware")]
    assert f"all has only {frames / (frames // 4):.1f} training frames for each of {frames // 4} clusters" in line


def test_a_step_names_the_one_that_follows(
    small_manifest: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [
        "--data.manifest", small_manifest, "--model.audio_encoder", encoder, "--gmp.scales", "3", "--train.epochs", "1",
        "--data.audio.max_seconds", "0.25", "--gmp.frame_epochs", "0", "--gmp.start", "features", "-o", tmp_path / "run",
    ]  # fmt: skip
    for step, following in (
        ("features", "gmp finetune"),
        ("cluster", f"frames {tmp_path / 'run'} clip"),
        ("finetune", "predict"),
    ):
        assert run("gmp", step, *given) == 0
        assert f"gemoclap {following}" in capsys.readouterr().out.splitlines()[-1]


def test_without_the_first_stage_there_is_no_such_step(settings: Settings, tmp_path: Path) -> None:
    none = replace(settings, gmp=replace(settings.gmp, frame_epochs=0))
    with pytest.raises(GemoclapError, match="leaves this step out"):
        train(none, "gmp_tl", tmp_path / "run", "pretrain")
    assert train(none, "gmp_tl", tmp_path / "run", "finetune") == tmp_path / "run" / "model"
    with pytest.raises(GemoclapError, match="run 'gemoclap gmp features'"):
        train(replace(none, gmp=replace(none.gmp, start="features")), "gmp_tl", tmp_path / "other", "finetune")


def test_clusters_without_a_first_stage_are_checked_before_frames_are_made(settings: Settings, tmp_path: Path) -> None:
    none = replace(settings, gmp=replace(settings.gmp, frame_epochs=0, start="features"))
    for name, wrong, says in (
        ("layer", {"layer": 9}, "no layer 9"),
        ("scales", {"scales": [90000]}, "fewer than 90000"),
    ):
        folder, asked = tmp_path / name, replace(none, gmp=replace(none.gmp, **wrong))
        train(asked, "gmp_tl", folder, "features")
        with pytest.raises(GemoclapError, match=says):
            train(asked, "gmp_tl", folder, "cluster")
        assert not (folder / "clusters").exists()


def test_features_are_taken_from_another_run_of_the_same_folds(settings: Settings, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    cross_validate(settings, ["gmp_tl"], first)
    other = replace(settings, gmp=replace(settings.gmp, features=str(first), scales=[5], layer=1))
    # None of these has a part in the features.
    other = replace(
        other,
        objective=replace(other.objective, margin=0.1),
        train=replace(other.train, checkpoint_steps=7),
        model=replace(other.model, emotion_prompt="I am {}"),
    )
    cross_validate(other, ["gmp_tl"], second)
    for fold in ("fold_1", "fold_2"):
        assert same(first / "gmp_tl" / fold / "features" / "model", second / "gmp_tl" / fold / "features" / "model")
        assert not (second / "gmp_tl" / fold / "features" / "log.jsonl").exists()
    # A third may take them from the second.
    cross_validate(
        replace(other, gmp=replace(other.gmp, features=str(second), head="ce")), ["gmp_tl"], tmp_path / "third"
    )


def other_labels(manifest: Path, target: Path) -> Path:
    """Write a copy of a manifest whose emotions have gone round, and those of each fold with them."""
    following = {"angry": "happy", "happy": "neutral", "neutral": "sad", "sad": "angry"}
    return changed(manifest, target, emotion=lambda row: following[row.emotion])


def turned_round(*arguments: Any) -> list[Fold]:
    first, second = make_folds(*arguments)
    return [replace(second, name=first.name), replace(first, name=second.name)]


@pytest.mark.parametrize("what", ["epochs", "gender", "folds", "a fold", "labels", "nowhere", "one fold lost"])
def test_features_of_other_data_or_settings_are_refused_before_anything_is_trained(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first, manifest = tmp_path / "first", tmp_path / "m.jsonl"
    changed(Path(str(settings.data.manifest)), manifest)
    settings = replace(settings, data=replace(settings.data, manifest=str(manifest)))
    cross_validate(settings, ["gmp_tl"], first)
    other = replace(settings, gmp=replace(settings.gmp, features=str(first)))
    message = {
        "epochs": r"other data, settings or folds \(its train.epochs differs\)",
        "gender": r"other data, settings or folds \(its gmp.gender differs\)",
        "folds": r"other data, settings or folds \(its utterances differs\)",
        "labels": r"other data, settings or folds \(its data.manifest differs\)",
    }.get(what, "")
    if what == "epochs":
        other = replace(other, train=replace(settings.train, epochs=2))
    elif what == "gender":
        other = replace(other, gmp=replace(other.gmp, gender=False))
    elif what == "folds":  # of the same names and settings, the second half of the speakers first
        monkeypatch.setattr("gemoclap.recipes.crossval.make_folds", turned_round)
    elif what == "a fold":
        other = replace(other, gmp=replace(other.gmp, features=str(first / "gmp_tl" / "fold_1")))
        message = "is of fold_1, not of fold_2; name the run's folder"
    elif what == "labels":
        other_labels(manifest, manifest)
    elif what == "nowhere":
        other, message = replace(other, gmp=replace(other.gmp, features="nowhere")), "no finished features of fold_1"
    else:
        shutil.rmtree(first / "gmp_tl" / "fold_2" / "features" / "model")
        message = "no finished features of fold_2"
    with pytest.raises(GemoclapError, match=message):
        cross_validate(other, ["gmp_tl"], tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_features_may_be_taken_wherever_the_same_data_lie(settings: Settings, tmp_path: Path) -> None:
    cross_validate(settings, ["gmp_tl"], tmp_path / "first")
    elsewhere = shutil.copy(str(settings.data.manifest), Path(str(settings.data.manifest)).with_name("again.jsonl"))
    moved = shutil.copytree(tmp_path / "first", tmp_path / "moved")
    for path in moved.rglob("origin.json"):  # as a version without this setting wrote it
        origin = json.loads(path.read_text())
        assert origin["train"].pop("batching") == "dealt"
        path.write_text(json.dumps(origin))
    encoder = shutil.copytree(settings.model.audio_encoder, tmp_path / "hubert")
    other = replace(
        settings,
        data=replace(settings.data, manifest=str(elsewhere)),
        model=replace(settings.model, audio_encoder=str(encoder)),
        gmp=replace(settings.gmp, features=str(moved), scales=[4]),
    )
    cross_validate(other, ["gmp_tl"], tmp_path / "second")
    shutil.rmtree(moved)  # a run goes on without what it took its features from
    shutil.rmtree(tmp_path / "second" / "gmp_tl" / "fold_2")
    cross_validate(replace(other, gmp=replace(other.gmp, features=None)), ["gmp_tl"], tmp_path / "second")
    features = Path("gmp_tl", "fold_2", "features", "model")
    assert same(tmp_path / "first" / features, tmp_path / "second" / features)


def test_a_frozen_front_end_is_computed_once_and_changes_no_loss(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = replace(settings, model=replace(settings.model, freeze="front_end"))
    clips, front_end = [], SpeechEncoder.front_end

    def count(encoder: SpeechEncoder, waveforms: torch.Tensor, lengths: torch.Tensor) -> object:
        clips.append(len(lengths))
        return front_end(encoder, waveforms, lengths)

    monkeypatch.setattr(SpeechEncoder, "front_end", count)
    train(frozen, "gmp_tl", tmp_path / "cached")
    assert sum(clips) == 32  # for A, B and C together
    train(replace(frozen, cache=CacheSettings(frames="never")), "gmp_tl", tmp_path / "plain")
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


def test_settings_of_gmp_tl_bind_a_run_only_once_it_is_in_it(settings: Settings, tmp_path: Path) -> None:
    cross_validate(settings, ["ce"], tmp_path / "run")
    before = contents(tmp_path / "run" / "ce")
    other = replace(settings, gmp=replace(settings.gmp, scales=[4]))
    cross_validate(other, ["ce", "gmp_tl"], tmp_path / "run")
    assert contents(tmp_path / "run" / "ce") == before
    assert "- 4\n" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    with pytest.raises(GemoclapError, match="its gmp.scales differs"):
        cross_validate(settings, ["ce"], tmp_path / "run")


def test_features_of_several_seeds_are_taken_seed_by_seed(settings: Settings, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for seed in (0, 1):
        seeded = replace(settings, train=replace(settings.train, seed=seed, epochs=1))
        cross_validate(seeded, ["gmp_tl"], first / f"seed_{seed}")
        other = replace(seeded, gmp=replace(seeded.gmp, features=str(first), frame_epochs=0, start="features"))
        cross_validate(other, ["gmp_tl"], second / f"seed_{seed}")
        for fold in ("fold_1", "fold_2"):
            taken, made = (run / f"seed_{seed}" / "gmp_tl" / fold / "features" / "model" for run in (second, first))
            assert (taken / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()
