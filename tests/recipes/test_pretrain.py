"""Pre-training from speech to an encoder that every command takes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from small import changed, complaint, log_of, run

from gemoclap.cli.commands import parser_of
from gemoclap.cli.typed import spelt_lists
from gemoclap.config import AudioSettings, CacheSettings, TrainSettings
from gemoclap.config.ems import PretrainModelSettings, PretrainSettings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.ems.intensity import IntensityConfig, IntensityModel
from gemoclap.encoders import load_audio_encoder
from gemoclap.errors import GemoclapError
from gemoclap.recipes import pretrain as recipe
from gemoclap.recipes.inputs import load_audio_store
from gemoclap.recipes.pretrain import divide, pretrain, read_speech

TINY = {
    "mockingjay": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "n_mels": 20},
    "npc": {"hidden_size": 16, "n_mels": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def intensity_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model: its curves are as good as any to hide by."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("intensity")
    IntensityModel(IntensityConfig(n_mels=20, channels=[2, 2, 2, 2], lstm_size=4)).save_pretrained(folder)
    return folder


def settings_of(manifest: Path | str, encoder: str = "mockingjay", masking: str = "random", **model: Any):
    return PretrainSettings(
        speech=[str(manifest)],
        held_out=0.2,
        audio=AudioSettings(max_seconds=0.6),
        model=PretrainModelSettings(encoder, options=TINY[encoder], masking=masking, **model),  # type: ignore[arg-type]
        train=TrainSettings(epochs=2, batch_size=8, lr=1e-3, warmup_epochs=0.2),
    )


@pytest.mark.parametrize(("encoder", "masking"), [("mockingjay", "random"), ("npc", "none")])
def test_speech_becomes_an_encoder(tmp_path: Path, small_manifest: Path, encoder: str, masking: str) -> None:
    settings = settings_of(small_manifest, encoder, masking)
    settings.train.epochs = 10
    folder = pretrain(settings, tmp_path / "run")
    log = log_of(tmp_path / "run")
    assert [row["epoch"] for row in log] == list(range(1, 11))
    assert log[-1]["dev_spectral_l1"] < log[0]["dev_spectral_l1"]
    assert (log[0]["masked_share"] > 0) == (encoder == "mockingjay")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert (
        "- synthetic: 32 utterances" in card and {"mockingjay": "random masks", "npc": "plain masks"}[encoder] in card
    )
    loaded = load_audio_encoder(str(folder)).eval()
    frames, mask = loaded(torch.randn(2, 9000), torch.tensor([9000, 5000]))
    assert frames.shape[-1] == 16 and mask.any(1).all()
    untrained = recipe.build(settings_of(small_manifest, encoder, masking)).encoder.state_dict()
    saved = load_file(folder / "model.safetensors")
    assert saved.keys() == untrained.keys()
    assert any(not torch.equal(saved[name], untrained[name]) for name in saved)


@pytest.mark.parametrize("encoder", ["mockingjay", "npc"])
def test_masks_follow_the_intensity(tmp_path: Path, small_manifest: Path, intensity_model: Path, encoder: str) -> None:
    settings = settings_of(
        small_manifest, encoder, "intensity", score_head="speech", intensity_model=str(intensity_model)
    )
    pretrain(settings, tmp_path / "run")
    log = log_of(tmp_path / "run")
    assert all(row["intensity_l1"] > 0 and row["dev_intensity_l1"] > 0 for row in log)
    assert log[0]["fallbacks"] == 0


@pytest.mark.parametrize("order", [0, 2])
def test_held_out_frames_are_guessed_too_and_a_model_that_learnt_nothing_is_warned_of(
    tmp_path: Path, small_manifest: Path, capsys: pytest.CaptureFixture, order: int
) -> None:
    settings = settings_of(small_manifest)
    settings.model.options = {**TINY["mockingjay"], "delta_order": order}
    settings.train.lr = 1e-9
    pretrain(settings, tmp_path / "run")
    rows = log_of(tmp_path / "run")
    parts = ["static", "delta", "delta_delta"][: order + 1]
    for kind in ("l1", "l1_zeros", "l1_interpolated"):  # all together are the mean of the parts, which are as wide
        assert rows[0][f"dev_spectral_{kind}"] == pytest.approx(
            np.mean([rows[0][f"dev_{part}_{kind}"] for part in parts])
        )
        assert kind == "l1" or rows[0][f"dev_static_{kind}"] == rows[1][f"dev_static_{kind}"]
    told, beware = [line for line in capsys.readouterr().err.splitlines() if "held-out L1" in line]
    assert f"static {rows[1]['dev_static_l1']:.3f} {rows[1]['dev_static_l1_zeros']:.3f}" in told
    assert (
        beware.startswith("beware: mockingjay random: the held-out L1 is not below that of ") and "train.lr" in beware
    )


def test_npc_is_not_held_against_guesses(tmp_path: Path, small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    pretrain(settings_of(small_manifest, "npc", "none"), tmp_path / "run")
    assert not any("zeros" in name for name in log_of(tmp_path / "run")[0])
    assert "held-out L1" not in capsys.readouterr().err


@pytest.mark.parametrize(("encoder", "loss"), [("mockingjay", "intensity_l1"), ("npc", "sum_l1")])
def test_ems_as_in_the_code_of_its_authors(
    tmp_path: Path, small_manifest: Path, intensity_model: Path, encoder: str, loss: str
) -> None:
    source = {"score_head": "intensity_track", "intensity_model": str(intensity_model)}
    settings = settings_of(small_manifest, encoder, "intensity", add_intensity=encoder == "mockingjay", **source)
    folder = pretrain(settings, tmp_path / "run")
    assert all(row[loss] > 0 and row[f"dev_{loss}"] > 0 for row in log_of(tmp_path / "run"))
    assert "with the score head of EMS's authors" in (folder / "README.md").read_text(encoding="utf-8")
    assert load_audio_encoder(str(folder)).output_dim == 16


def test_a_score_head_may_be_asked_for_by_true_or_false() -> None:
    for given, word in ((True, "speech"), (False, "none"), ("intensity_track", "intensity_track")):
        assert PretrainModelSettings(score_head=given).score_head == word  # type: ignore[arg-type]
    for given, word in (("true", "speech"), ("false", "none"), ("none", "none"), ("speech", "speech")):
        parser = parser_of("pretrain ems")
        options = ["-o", "run", "--speech", "a", "--model.score_head", given]
        assert parser.instantiate(parser.parse_args(spelt_lists(options, parser.lists()))).model.score_head == word


def pretraining_of(*options: str) -> TrainSettings:
    """Return the training that `gemoclap pretrain ems` would do."""
    parser = parser_of("pretrain ems")
    args = parser.instantiate(
        parser.parse_args(["-o", "run", "--speech", '["a"]', "--model.masking", "random", *options])
    )
    return PretrainSettings(model=args.model, train=args.train).train


def test_each_encoder_has_an_optimiser_of_its_own(tmp_path: Path) -> None:
    found = {name: pretraining_of("--model.encoder", name) for name in ("mockingjay", "npc")}
    assert (found["mockingjay"].lr, found["npc"].lr) == (2e-4, 1e-3)
    assert (found["mockingjay"].weight_decay, found["npc"].weight_decay) == (0.01, 0.0)
    assert all((train.batch_size, train.epochs, train.warmup_epochs) == (32, 20, 1.4) for train in found.values())
    asked = pretraining_of("--model.encoder", "npc", "--train.lr", "2e-4", "--train.weight_decay", "0.1")
    assert (asked.lr, asked.weight_decay) == (2e-4, 0.1)
    (tmp_path / "rate.yaml").write_text("model: {encoder: npc}\ntrain: {lr: 5e-4}\n")
    from_file = pretraining_of("--config", str(tmp_path / "rate.yaml"))
    assert (from_file.lr, from_file.weight_decay) == (5e-4, 0.0)
    model = PretrainModelSettings("npc", masking="none")
    assert (
        PretrainSettings(model=model).train.lr == 1e-3 and PretrainSettings(model=model, train=asked).train.lr == 2e-4
    )


def test_what_looks_at_the_intensity() -> None:
    for looks in ({"score_head": True}, {"score_head": "intensity_track"}, {"add_intensity": True}):
        assert PretrainModelSettings(masking="random", **looks).needs_intensity  # type: ignore[arg-type]
    assert not PretrainModelSettings(masking="random").needs_intensity


@pytest.mark.parametrize("encoder", ["mockingjay", "npc"])
def test_sound_as_it_is_found(tmp_path: Path, intensity_model: Path, encoder: str) -> None:
    """Files of many rates, silence, and clips shorter than a span: what intensity cannot decide is left to chance, counted."""
    rng = np.random.default_rng(0)
    (tmp_path / "found").mkdir()
    for number, rate in enumerate([8000, 11025, 16000, 22050, 44100, 48000, 16000, 8000]):
        soundfile.write(tmp_path / "found" / f"{number}.wav", rng.normal(0, 0.1, rate // 2), rate)
    for name, samples in (("silence", np.zeros(8000)), ("short", rng.normal(0, 0.1, 500))):
        soundfile.write(tmp_path / "found" / f"{name}.wav", samples, 16000)
    settings = settings_of(tmp_path / "found", encoder, "intensity", intensity_model=str(intensity_model))
    settings.held_out, settings.train.epochs, settings.train.batch_size = 0.0, 1, 10
    settings.audio = AudioSettings()
    load_audio_encoder(str(pretrain(settings, tmp_path / "run")))
    (row,) = log_of(tmp_path / "run")
    # Silence, and a clip of one frame, have no frame more intense than others.
    assert row["fallbacks"] == 2
    assert 0 < row["masked_share"] <= 0.16 and np.isfinite(row["loss"])


def test_a_resumed_training_ends_in_the_same_bits(tmp_path: Path, small_manifest: Path, monkeypatch) -> None:
    settings = settings_of(small_manifest)
    settings.train.checkpoint_steps = 1
    expected = load_file(pretrain(settings, tmp_path / "whole") / "model.safetensors")
    plain, calls = recipe.held_out_losses, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(recipe, "held_out_losses", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "model").exists()
    monkeypatch.setattr(recipe, "held_out_losses", plain)
    found = load_file(pretrain(settings, tmp_path / "stopped") / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    with pytest.raises(GemoclapError, match="lr differs"):
        pretrain(replace(settings, train=replace(settings.train, lr=2e-3)), tmp_path / "stopped")


def test_folders_manifests_and_who_is_left_out(tmp_path: Path, small_manifest: Path) -> None:
    rows = read_manifest(small_manifest)
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(8000), 16000)
    settings = settings_of(small_manifest)
    both = replace(settings, speech=[str(small_manifest), str(tmp_path)])
    assert len(read_speech(both)) == len(rows) + 3
    speaker = f"{rows[0].corpus}/{rows[0].speaker}"
    kept = read_speech(replace(both, leave_out=[speaker]))
    assert len(kept) == len(rows) + 3 - sum(row.speaker == rows[0].speaker for row in rows)
    more = tmp_path.with_name("more")
    shutil.copytree(tmp_path, more)
    assert len(read_speech(replace(both, speech=[*both.speech, str(more)], leave_out=[str(rows[0].corpus)]))) == 6
    for wrong, message in (
        ({"speech": []}, "--speech"),
        ({"speech": [str(tmp_path / "nowhere.jsonl")]}, "nowhere"),
        ({"speech": [str(tmp_path), str(tmp_path)]}, "is named twice"),
        ({"speech": [str(small_manifest), str(Path(rows[0].path).parent)]}, "name each file in one of them only"),
        ({"leave_out": ["nobody"]}, "'nobody'"),
        ({"leave_out": [str(rows[0].corpus)]}, "too little speech to pre-train on"),
    ):
        with pytest.raises(GemoclapError, match=message):
            read_speech(replace(settings, **wrong))


def test_held_out_clips_are_the_same_in_every_run(small_manifest: Path) -> None:
    rows = read_manifest(small_manifest)
    train, held_out = divide(rows, 0.3)
    again = divide(rows[::-1], 0.3)
    assert {row.id for row in held_out} == {row.id for row in again[1]}
    assert 0 < len(held_out) < len(rows) / 2 and len(train) + len(held_out) == len(rows)
    assert divide(rows, 0.0)[1] == []


def test_what_cannot_be(tmp_path: Path, small_manifest: Path, capsys: pytest.CaptureFixture) -> None:
    out = ("-o", tmp_path / "run", "--speech", small_manifest)
    assert "model.intensity_model" in complaint(capsys, "pretrain", "ems", *out, "--model.masking", "intensity")
    nowhere = ("--model.masking", "intensity", "--model.intensity_model", tmp_path / "nowhere")
    assert "nowhere" in complaint(capsys, "pretrain", "ems", *out, *nowhere)
    assert "masking" in complaint(capsys, "pretrain", "ems", *out, "--model.masking", "none")
    added = ("--model.encoder", "npc", "--model.masking", "none", "--model.add_intensity", "true")
    assert "choose model.score_head intensity_track" in complaint(capsys, "pretrain", "ems", *out, *added)
    alone = ("--model.masking", "random", "--model.add_intensity", "true")
    assert "model.intensity_model" in complaint(capsys, "pretrain", "ems", *out, *alone)
    head = ("--model.score_head", "sppech")
    assert "one of none, intensity_track, speech or true or false" in complaint(capsys, "pretrain", "ems", *out, *head)
    options = ("--model.masking", "random", "--model.options", '{"hiden_size": 8}')
    assert "hidden_size" in complaint(capsys, "pretrain", "ems", *out, *options)
    assert not (tmp_path / "run").exists()


def test_the_command_and_a_cross_validation_from_its_encoder(tmp_path: Path, small_manifest: Path) -> None:
    silent = changed(small_manifest, tmp_path / "unlabelled.jsonl", emotion=None, gender=None, speaker=None)
    options = (
        "--model.options",
        str(TINY["npc"]).replace("'", '"'),
        "--model.encoder",
        "npc",
        "--model.masking",
        "none",
    )
    out = tmp_path / "run"
    assert run("pretrain", "ems", "--speech", silent, *options, "--train.epochs", "1", "-o", out) == 0
    frozen = (
        "--model.audio_encoder",
        out / "model",
        "--model.freeze",
        "all",
        "--train.epochs",
        "1",
        "--data.n_folds",
        "2",
    )
    assert (
        run("crossval", "--data.manifest", small_manifest, *frozen, "--methods", "emo_clap", "-o", tmp_path / "cv") == 0
    )


def test_the_cache_lies_where_it_is_told_to(tmp_path: Path, small_manifest: Path, intensity_model: Path) -> None:
    settings = settings_of(small_manifest, "npc", "intensity", intensity_model=str(intensity_model))
    pretrain(replace(settings, cache=CacheSettings(folder=str(tmp_path / "here"))), tmp_path / "run")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["intensity"]


@pytest.mark.parametrize("encoder", ["mockingjay", "npc"])
def test_shifted_masks_of_a_clip_stay_where_they_are(
    tmp_path: Path, small_manifest: Path, intensity_model: Path, encoder: str
) -> None:
    settings = settings_of(small_manifest, encoder, "shifted", intensity_model=str(intensity_model))
    rows = read_speech(settings)
    store = load_audio_store(settings.cache, settings.audio, rows)
    clips = recipe._source(settings, store, rows)
    shifts = clips.inputs(rows)["intensity_shift"]
    assert torch.equal(clips.inputs(rows[::-1])["intensity_shift"], shifts.flip(0))
    assert 0 <= shifts.min() < 0.2 and 0.8 < shifts.max() < 1 and len(set(shifts.tolist())) == len(rows)
    settings.train.seed = 1
    assert not torch.equal(recipe._source(settings, store, rows).inputs(rows)["intensity_shift"], shifts)
    folder = pretrain(settings, tmp_path / "run")
    assert "(a control)" in (folder / "README.md").read_text(encoding="utf-8")
    assert load_audio_encoder(str(folder)).output_dim == 16
