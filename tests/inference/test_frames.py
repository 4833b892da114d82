"""Frames of any clip: their clusters against a loop, their times, their emotions, the commands that show them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file
from small import complaint, run
from tiny import save_speech_encoder

from gemoclap.audio import Recording, kept_range, load_audio
from gemoclap.config import AudioSettings
from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.data.audio_store import AudioStore
from gemoclap.data.shards import Shards
from gemoclap.encoders import load_audio_encoder
from gemoclap.encoders.mel import LogMel
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.gmp.clustering import load_kmeans
from gemoclap.gmp.frame_emotions import emotion_given_cluster
from gemoclap.inference.frames import FrameLabeler


@pytest.fixture(scope="module")
def trained(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the first two steps on a tiny HuBERT."""
    folder = tmp_path_factory.mktemp("frames")
    encoder = save_speech_encoder(folder / "hubert", "hubert")
    given = [
        "--data.manifest", small_manifest, "--model.audio_encoder", encoder, "--gmp.scales", "3,8", "--train.epochs", "1",
        "--data.audio.max_seconds", "0.25", "-o", folder / "run",
    ]  # fmt: skip
    assert run("gmp", "features", *given) == 0 and run("gmp", "cluster", *given) == 0
    return folder / "run"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """0.4 s of silence, 0.9 s of sound, 0.2 s of silence."""
    rng = np.random.default_rng(0)
    parts = [np.zeros(6400), rng.normal(0, 0.1, 14400), np.zeros(3200)]
    soundfile.write(tmp_path / "clip.wav", np.concatenate(parts), 16000)
    return tmp_path / "clip.wav"


def test_each_frame_has_its_nearest_cluster_and_the_emotions_of_its_training_frames(
    trained: Path, recording: Path
) -> None:
    found = FrameLabeler.from_pretrained(trained)(recording, smooth_seconds=0)
    assert found.emotions == ("angry", "happy", "neutral", "sad") and found.scales == (3, 8)
    encoder = SpeechEncoder.from_pretrained(str(trained / "features" / "model")).eval()
    first, last = kept_range(Recording(recording), AudioSettings(max_seconds=None))
    assert 5000 < first <= 6400 - 800 and 6400 + 14400 + 800 <= last < 22500  # the sound, 50 ms around it, and a bit
    kept = load_audio(recording)[first:last]
    codebooks = [load_kmeans(trained / "clusters" / f"kmeans_{k}.safetensors").centroids for k in (3, 8)]
    tables = load_file(trained / "clusters" / "emotions.safetensors")
    shares = [emotion_given_cluster(tables[k]) for k in ("3", "8")]
    clusters, times = [], []
    windows = np.array_split(kept, 5)  # of at most 0.25 s
    for number, window in enumerate(windows):
        waveform = torch.from_numpy(window).unsqueeze(0)
        frames = encoder.layer_frames(waveform, torch.tensor([len(window)]), -3)[0][0].detach().double().numpy()
        for place, frame in enumerate(frames):
            clusters.append([int(((one - frame) ** 2).sum(1).argmin()) for one in codebooks])
            start = first + sum(map(len, windows[:number])) + place * encoder.hop_samples
            times.append((start + encoder.min_samples / 2) / 16000)
    assert found.clusters.tolist() == clusters and np.allclose(found.times, times)
    expected = [(shares[0][one] + shares[1][other]) / 2 for one, other in clusters]
    assert np.allclose(found.probabilities, expected) and np.allclose(found.probabilities.sum(1), 1.0)
    assert list(found.mean().values()) == pytest.approx(found.probabilities.mean(0))


def test_a_training_clip_has_its_pseudo_labels(trained: Path, small_manifest: Path) -> None:
    store = AudioStore(AudioSettings(max_seconds=0.25))
    labels = Shards(trained / "clusters" / "labels")
    labeler = FrameLabeler.from_pretrained(trained)
    for row in read_manifest(small_manifest)[:5]:
        clip = store(row)
        _, clusters = labeler._window(0.0, clip)
        assert clusters.tolist() == labels[store.content_key(row)].tolist()


def test_a_waveform_and_a_row_of_a_manifest_are_taken_too(trained: Path, recording: Path) -> None:
    labeler = FrameLabeler.from_pretrained(trained)
    whole, waveform = labeler(recording), labeler(load_audio(recording))
    assert np.array_equal(whole.times, waveform.times)
    assert np.array_equal(whole.probabilities, waveform.probabilities)
    part = labeler(Utterance("part", str(recording), start=0.5, end=0.9))
    assert 0.3 < part.times[-1] < 0.4


def test_the_length_of_a_recording_does_not_matter(trained: Path, tmp_path: Path) -> None:
    labeler = FrameLabeler.from_pretrained(trained)
    for samples in (1, 150, 4000, 4001, 80000):
        soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).normal(0, 0.1, samples), 16000)
        found = labeler(tmp_path / "clip.wav")
        assert len(found.times) == len(found.clusters) == len(found.probabilities) >= 1
        assert (np.diff(found.times) > 0).all()
    assert len(found.times) == 20 * int(labeler.encoder.frame_counts(torch.tensor([4000])))


def test_smoothing_takes_away_what_changes_fast(trained: Path, recording: Path) -> None:
    labeler = FrameLabeler.from_pretrained(trained)
    raw, smoothed = labeler(recording, smooth_seconds=0), labeler(recording, smooth_seconds=0.3)
    assert np.array_equal(raw.clusters, smoothed.clusters)
    assert smoothed.probabilities.std(0).sum() < 0.7 * raw.probabilities.std(0).sum()
    assert np.allclose(raw.probabilities.mean(0), smoothed.probabilities.mean(0), atol=0.01)
    frames = round(0.3 / labeler.encoder.frame_seconds)
    middle = len(raw.times) // 2
    around = raw.probabilities[middle - (frames - 1) // 2 : middle + frames // 2 + 1]
    assert np.allclose(smoothed.probabilities[middle], around.mean(0))


@pytest.mark.parametrize("name", ["compact", "mockingjay", "npc"])
def test_times_are_the_middles_of_our_own_encoders_frames_too(name: str) -> None:
    """A click in silence is in the frame whose middle is nearest to it."""
    torch.manual_seed(0)
    encoder = load_audio_encoder(name)
    mel: Any = next(module for module in encoder.model.modules() if isinstance(module, LogMel))
    assert encoder.frame_samples == mel.window and encoder.hop_samples % mel.hop == 0
    loud, place = np.zeros(32000, np.float32), 10
    loud[place * encoder.hop_samples + encoder.frame_samples // 2] = 1.0
    log_mel, _ = mel(torch.from_numpy(loud).unsqueeze(0), torch.tensor([32000]))
    assert log_mel[0].sum(1).argmax() == place * encoder.hop_samples // mel.hop


def test_the_command_prints_draws_and_writes(
    trained: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("frames", trained, recording) == 0
    printed = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert printed[0] == ["seconds", "cluster_3", "cluster_8", "angry", "happy", "neutral", "sad"]
    found = FrameLabeler.from_pretrained(trained)(recording)
    assert [int(row[2]) for row in printed[1:]] == found.clusters[:, 1].tolist()
    assert np.allclose([[float(cell) for cell in row[3:]] for row in printed[1:]], found.probabilities, atol=1e-4)
    assert run("frames", trained, recording, "-o", tmp_path / "frames.csv") == 0
    assert list(csv.reader((tmp_path / "frames.csv").read_text().splitlines())) == printed
    assert run("frames", trained, recording, "-o", tmp_path / "frames.png") == 0
    assert (tmp_path / "frames.png").read_bytes().startswith(b"\x89PNG")
    assert f"{len(printed) - 1} frames" in capsys.readouterr().out


def test_figures_of_what_is_no_sound_are_remarked(
    trained: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("frames", trained, recording) == 0
    assert not capsys.readouterr().err
    sound = load_audio(recording)
    for name, channels, said in (
        ("inverted", [sound, -sound], "the channels cancel each other"),
        ("silent", [0 * sound], "silent: nothing is louder"),
    ):
        soundfile.write(tmp_path / f"{name}.wav", np.stack(channels, axis=1), 16000)
        assert run("frames", trained, tmp_path / f"{name}.wav") == 0
        assert f"beware: {said}" in capsys.readouterr().err


def test_what_cannot_be_named_says_why(
    trained: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert ".csv or .png" in complaint(capsys, "frames", trained, recording, "-o", tmp_path / "frames.txt")
    assert "no clusters in it; 'gemoclap train --method gmp_tl'" in complaint(capsys, "frames", tmp_path, recording)
    (tmp_path / "cv" / "gmp_tl").mkdir(parents=True)
    shutil.copytree(trained, tmp_path / "cv" / "gmp_tl" / "fold_1")
    fold = tmp_path / "cv" / "gmp_tl" / "fold_1"
    assert f"did you mean {fold}?" in complaint(capsys, "frames", tmp_path / "cv", recording)
    config = json.loads((fold / "clusters" / "config.json").read_text())
    (fold / "clusters" / "config.json").write_text(json.dumps({**config, "encoder_weights": "0" * 16}))
    assert "made with another encoder" in complaint(capsys, "frames", fold, recording)
    (fold / "clusters" / "emotions.safetensors").write_bytes(b"broken")
    assert "not readable clusters" in complaint(capsys, "frames", fold, recording)
    shutil.rmtree(fold / "features")
    assert "is missing" in complaint(capsys, "frames", fold, recording)
    assert "smooth: must be 0 or more" in complaint(capsys, "frames", trained, recording, "--smooth", "-1")
    assert "is a file; give the folder" in complaint(capsys, "frames", recording, trained)
    assert "no.wav" in complaint(capsys, "frames", trained, tmp_path / "no.wav")
