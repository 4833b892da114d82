"""An encoder remembers whom it was trained with, and every test of it says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small import changed, run
from tiny import save_speech_encoder
from transformers import AutoModel, PreTrainedConfig

from gemoclap.corpora.manifest import Utterance, read_manifest
from gemoclap.ems.intensity import IntensityConfig, IntensityModel
from gemoclap.encoders import UNTRAINED, load_audio_encoder
from gemoclap.encoders.pretrained import load_config
from gemoclap.encoders.provenance import HEARD, LABELLED, known_speakers, remember, warnings_of
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.models import load_emotion_model

TINY = '{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "n_mels": 20}'


def rows(*speakers: str | None) -> list[Utterance]:
    return [Utterance(f"{place}", "x.wav", corpus="c", speaker=one) for place, one in enumerate(speakers)]


@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm", "data2vec-audio", "compact", "mockingjay", "npc"])
def test_what_is_remembered_goes_with_the_folder(tmp_path: Path, family: str) -> None:
    if family in UNTRAINED:
        encoder = load_audio_encoder(family)
    else:
        encoder = SpeechEncoder.from_pretrained(str(save_speech_encoder(tmp_path / "a", family)))
    remember(encoder.model.config, labelled={"c/1"})
    remember(encoder.model.config, labelled={"c/0"}, heard={"c/2", "c/0"})
    encoder.save_pretrained(tmp_path / "b")
    config = SpeechEncoder.from_pretrained(str(tmp_path / "b")).model.config
    assert known_speakers(config, rows("0", "2", "3", None)) == {LABELLED: ["c/0"], HEARD: ["c/2"]}
    assert known_speakers(config, rows("3", None)) == {} == known_speakers(None, rows("0"))
    assert AutoModel.from_pretrained(tmp_path / "b").config.labelled_speakers == ["c/0", "c/1"]


def test_a_warning_says_who_and_what_follows() -> None:
    both = warnings_of({"e": {LABELLED: [f"c/{n}" for n in range(6)], HEARD: ["c/9"]}})
    assert len(both) == 2 and "c/0, c/1, c/2, c/3 and 2 more" in both[0] and "not speaker-independent" in both[0]
    assert "without labels (c/9)" in both[1] and "independent" not in both[1]
    assert warnings_of({}) == []


def test_tests_of_an_encoder_that_knows_the_test_speakers_say_so(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    names = sorted({row.speaker for row in read_manifest(small_manifest) if row.speaker})
    two = changed(small_manifest, tmp_path / "all.jsonl")
    lines = [line for line in two.read_text().splitlines() if json.loads(line)["speaker"] in names[:2]]
    (tmp_path / "two.jsonl").write_text("\n".join(lines) + "\n")
    given = ["--model.audio_options", TINY, "--train.epochs", "1", "--data.audio.max_seconds", "0.5"]
    first = ["gmp", "features", "--model.audio_encoder", "mockingjay", "--gmp.scales", "4", "--gmp.layer", "0", *given]
    assert run(*first, "--data.manifest", tmp_path / "two.jsonl", "-o", tmp_path / "a") == 0
    knows = tmp_path / "a" / "features" / "model"
    capsys.readouterr()
    probe = ["probe", "--data.folds", "kfold", "--data.n_folds", "2", "--train.steps", "2", "--train.seeds", "0"]
    assert run(*probe, "--data.manifest", two, "--encoders", f"mockingjay,old={knows}", "-o", tmp_path / "p") == 0
    said = f"the encoder old was trained with labels of speakers who are tested (synthetic/{names[0]}, synthetic/{names[1]})"
    assert said in " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "p" / "report.md").read_text(encoding="utf-8")
    assert page.startswith(f"**Beware: {said}") and "encoder mockingjay was" not in page
    assert json.loads((tmp_path / "p" / "results.json").read_text())["encoder_warnings"]
    # What is trained on it remembers them too, whoever else it was trained with.
    cross = ["crossval", "--data.folds", "kfold", "--data.n_folds", "2", "--methods", "ce", *given[2:]]
    assert run(*cross, "--model.audio_encoder", knows, "--data.manifest", two, "-o", tmp_path / "x") == 0
    assert "not speaker-independent" in (tmp_path / "x" / "report.md").read_text(encoding="utf-8").splitlines()[0]
    model = load_emotion_model(tmp_path / "x" / "ce" / "fold_1" / "model")
    assert {f"synthetic/{name}" for name in names[:2]} <= set(model.config.trained_speakers or ())


def test_pretraining_without_labels_is_remembered_too(small_manifest: Path, tmp_path: Path) -> None:
    out = ["--model.encoder", "mockingjay", "--model.masking", "random", "--model.options", TINY, "--train.epochs", "1"]
    assert run("pretrain", "ems", "--speech", small_manifest, *out, "-o", tmp_path / "run") == 0
    probe = ["probe", "--data.folds", "kfold", "--data.n_folds", "2", "--train.steps", "2", "--train.seeds", "0"]
    encoder = tmp_path / "run" / "model"
    assert run(*probe, "--data.manifest", small_manifest, "--encoders", f"e={encoder}", "-o", tmp_path / "p") == 0
    page = (tmp_path / "p" / "report.md").read_text(encoding="utf-8")
    assert page.startswith("**Beware: the encoder e was trained on speakers who are tested, without labels")


def test_labels_that_came_by_way_of_intensity_are_remembered(small_manifest: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = IntensityConfig(
        n_mels=20, channels=[2, 2, 2, 2], lstm_size=4, trained_speakers=["synthetic/s00", "other/1"]
    )
    IntensityModel(config).save_pretrained(tmp_path / "intensity")
    out = ["--model.encoder", "npc", "--model.options", '{"hidden_size": 8, "n_mels": 20}', "--train.epochs", "1"]
    intensity = [
        "--model.masking",
        "none",
        "--model.score_head",
        "true",
        "--model.intensity_model",
        tmp_path / "intensity",
    ]
    assert run("pretrain", "ems", "--speech", small_manifest, *out, *intensity, "-o", tmp_path / "run") == 0
    config = load_config(str(tmp_path / "run" / "model"))
    assert config.labelled_speakers == ["other/1", "synthetic/s00"] and len(config.heard_speakers) == 4


def test_speakers_are_known_in_any_spelling_but_only_of_their_corpus() -> None:
    config = PreTrainedConfig()
    remember(config, labelled=["iemocap/Ses05F"], heard=["emodb/10"])
    rows = [Utterance(str(n), "x.wav", corpus=corpus, speaker=speaker) for n, (corpus, speaker) in enumerate(
        [("IEMOCAP", "ses05f "), ("ravdess", "10"), ("emodb", "10")])]  # fmt: skip
    assert known_speakers(config, rows) == {"labelled_speakers": ["IEMOCAP/ses05f"], "heard_speakers": ["emodb/10"]}
