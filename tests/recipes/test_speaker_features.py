"""`model.standardize: speaker`: features standardised over each speaker's clips, from training to prediction and report."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small import changed, complaint, run
from tiny import save_whisper

from gemoclap import Predictor
from gemoclap.config import ModelSettings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.corpora.speakers import speaker_name
from gemoclap.data.perturb import with_copies
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.errors import GemoclapError
from gemoclap.predictions import read_predictions
from gemoclap.recipes.speaker_features import SpeakerFeatures

STRENGTH = 8


class Given:
    """A source of inputs with made features; the model that goes with it passes them on."""

    at_hand, is_exact = True, True

    def __init__(self, features: dict[str, np.ndarray]) -> None:
        self.features = features

    def lengths(self, utterances: list[Utterance]) -> np.ndarray:
        return np.array([len(row.id) for row in utterances])

    def inputs(self, utterances: list[Utterance]) -> dict[str, torch.Tensor]:
        return {"features": torch.tensor(np.stack([self.features[row.id] for row in utterances]), dtype=torch.float32)}


MODEL: Any = SimpleNamespace(
    eval=lambda: None, device=torch.device("cpu"), get_audio_features=lambda features: features
)


def made_up(parts: list[list[Utterance]], seed: int) -> Given:
    rng = np.random.default_rng(seed)
    return Given({row.id: rng.normal(size=5) * 2 + 1 for part in parts for row in part})


def naive(clip: np.ndarray, of_speaker: list[np.ndarray]) -> np.ndarray:
    """Return (D,) float64 by the definition: mean and mean square of the speaker's clips and of 8 clips of mean 0 and 1."""
    count = len(of_speaker) + STRENGTH
    mean = sum(of_speaker) / count
    square = (sum(one**2 for one in of_speaker) + STRENGTH) / count
    return (clip - mean) / np.sqrt(square - mean**2)


def rows_of(speakers: str, part: str) -> list[Utterance]:
    return [
        Utterance(f"{part}{number}{name * number}", "x.wav", speaker=name, corpus="c")
        for number, name in enumerate(speakers)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_each_speakers_clips_are_standardised_together_and_parts_apart(seed: int) -> None:
    parts = [rows_of("abbabca", "train"), [], rows_of("ccab", "test")]
    source = made_up(parts, seed)
    found = SpeakerFeatures(MODEL, parts, source)
    for part in parts:
        for row in part:
            own = [source.features[other.id] for other in part if other.speaker == row.speaker]
            expected = naive(source.features[row.id], own)
            np.testing.assert_allclose(found.inputs([row])["features"][0], expected, rtol=2e-5, atol=1e-6)
    mixed = parts[2][::-1] + parts[0]
    assert list(found.lengths(mixed)) == [len(row.id) for row in mixed]
    stacked = found.inputs(mixed)["features"]
    assert all(torch.equal(stacked[place], found.inputs([row])["features"][0]) for place, row in enumerate(mixed))


def test_perturbed_copies_are_recordings_of_their_own() -> None:
    rows = with_copies(rows_of("aabb", "train"), 2)
    source = made_up([rows], 0)
    found = SpeakerFeatures(MODEL, [rows], source)
    for place, row in enumerate(rows):
        alike = [
            other for number, other in enumerate(rows) if number // 4 == place // 4 and other.speaker == row.speaker
        ]
        expected = naive(source.features[row.id], [source.features[other.id] for other in alike])
        assert len(alike) == 2
        np.testing.assert_allclose(found.inputs([row])["features"][0], expected, rtol=2e-5, atol=1e-6)


def test_an_utterance_without_a_speaker_is_named() -> None:
    rows = rows_of("ab", "train")
    rows[1] = replace(rows[1], speaker=None)
    with pytest.raises(GemoclapError, match="train1b: model.standardize: speaker needs the speaker"):
        SpeakerFeatures(MODEL, [rows], made_up([rows], 0))


@pytest.mark.parametrize(
    "changes", [{"freeze": "none"}, {"freeze": 2}, {"layers": "weighted"}, {"pooling": "attention"}]
)
def test_features_that_training_changes_are_refused(changes: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"freeze": "all", "layers": 2, "pooling": "mean_std", "standardize": "speaker"}
    assert ModelSettings(**settings).standardize == "speaker"
    with pytest.raises(GemoclapError, match="model.standardize: speaker is for features that training does not change"):
        ModelSettings(**settings | changes)


SMALL = ("--config", "whisper", "--model.layers", "2", "--train.epochs", "2", "--model.projection_dim", "16")
TWO_FOLDS = ("--data.folds", "kfold", "--data.n_folds", "2")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("encoder") / "whisper")


@pytest.fixture(scope="module")
def finished(small_manifest: Path, whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("speaker") / "run"
    by_speaker = ("--model.audio_encoder", whisper, "--model.standardize", "speaker", *TWO_FOLDS)
    assert run("crossval", small_manifest, *SMALL, *by_speaker, "--methods", "emo_clap,ce", "-o", output) == 0
    return output


@pytest.mark.parametrize("method", ["emo_clap", "ce"])
def test_the_saved_model_gives_the_same_when_it_is_adapted_to_the_test_speakers(
    finished: Path, small_manifest: Path, method: str
) -> None:
    fold = finished / method / "fold_1"
    table = read_predictions(fold / "predictions.csv")
    rows = {row.id: row for row in read_manifest(small_manifest)}
    tested = [rows[name] for name in table.ids]
    predictor = Predictor.from_pretrained(fold / "model", device="cpu")
    assert predictor.needs_adaptation
    predictor.model.config.clip_seconds = None  # a run takes longer clips than those of training whole, too
    answers, _ = predictor.predict_adapted(tested, [speaker_name(row) for row in tested])
    for answer, expected in zip(answers, table.probabilities, strict=True):
        assert not isinstance(answer, GemoclapError)
        np.testing.assert_allclose([answer.probabilities[label] for label in table.classes], expected, atol=1e-4)
    alone = np.array([[predictor(row).probabilities[label] for label in table.classes] for row in tested])
    assert np.abs(alone - np.array(table.probabilities)).max() > 1e-3


def test_predict_and_evaluate_do_the_same_and_say_when_they_do_not(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fold = finished / "emo_clap" / "fold_1"
    table = read_predictions(fold / "predictions.csv")
    settings = json.loads((fold / "model" / "config.json").read_text())
    (fold / "model" / "config.json").write_text(json.dumps(settings | {"clip_seconds": None}))
    tested = changed(small_manifest, tmp_path / "t.jsonl")
    kept = [line for line in tested.read_text().splitlines() if json.loads(line)["id"] in table.ids]
    tested.write_text("\n".join(kept) + "\n")
    assert run("evaluate", tested, "--model", fold / "model", "--adapt", "speaker", "-o", tmp_path / "scores") == 0
    found = read_predictions(tmp_path / "scores" / "predictions.csv")
    order = [found.ids.index(name) for name in table.ids]
    np.testing.assert_allclose(np.array(found.probabilities)[order], table.probabilities, atol=1e-4)
    report = (tmp_path / "scores" / "report.md").read_text()
    assert "adapted to each speaker" in report and "depends on the other clips of the same speaker" in report
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())["adapt"] == "speaker"
    capsys.readouterr()
    assert run("evaluate", tested, "--model", fold / "model") == 0
    assert "give --adapt speaker" in capsys.readouterr().err
    assert run("predict", tested, "--model", fold / "model", "--speech", "all") == 0
    assert "adapted to their speakers; give --adapt speaker" in capsys.readouterr().err
    assert run("predict", tested, "--model", fold / "model", "--adapt", "speaker", "--speech", "all") == 0
    assert "give --adapt" not in capsys.readouterr().err


def test_evaluate_adapts_to_the_whole_manifest_too(finished: Path, small_manifest: Path, tmp_path: Path) -> None:
    model = finished / "ce" / "fold_2" / "model"
    scores = {}
    for way in ("none", "folder", "speaker"):
        assert run("evaluate", small_manifest, "--model", model, "--adapt", way, "-o", tmp_path / way) == 0
        scores[way] = np.array(read_predictions(tmp_path / way / "predictions.csv").probabilities)
    rows = read_manifest(small_manifest)
    predictor = Predictor.from_pretrained(model, device="cpu")
    predictor.check_speech = True
    answers, _ = predictor.predict_adapted(rows, ["all"] * len(rows))
    expected = [[one.probabilities[label] for label in predictor.labels] for one in answers]  # type: ignore[union-attr]
    np.testing.assert_allclose(scores["folder"], expected, atol=1e-5)
    assert np.abs(scores["none"] - scores["folder"]).max() > 1e-3
    assert np.abs(scores["speaker"] - scores["folder"]).max() > 1e-3


@pytest.mark.parametrize("way", ["folder", "speaker"])
def test_evaluate_scores_what_predict_answers_for_the_whole_manifest(
    way: str, finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "damaged.wav").write_text("no sound")
    rows = read_manifest(small_manifest)
    labels = {row.id: (row.emotion, "bored", None)[number % 3] for number, row in enumerate(rows)}
    damaged = replace(rows[0], id="damaged", path=str(tmp_path / "damaged.wav"), emotion=None)
    write_manifest([*(replace(row, emotion=labels[row.id]) for row in rows), damaged], tmp_path / "m.jsonl")
    given = (tmp_path / "m.jsonl", "--model", finished / "ce" / "fold_2" / "model", "--adapt", way)
    assert run("evaluate", *given, "-o", tmp_path / "scores") == 0
    shown = capsys.readouterr()
    assert run("predict", *given, "-o", tmp_path / "p.csv") == 1  # the damaged one
    table = read_predictions(tmp_path / "scores" / "predictions.csv")
    with open(tmp_path / "p.csv", newline="") as file:
        answers = {row["id"]: row for row in csv.DictReader(file)}
    expected = [[float(answers[name][label]) for label in table.classes] for name in table.ids]
    np.testing.assert_allclose(table.probabilities, expected, atol=2e-6)
    others = len(rows) - len(table)
    assert "1 of " in shown.err and "could not be read, and are not adapted to" in shown.err
    said = f"(with {others} clips that have no label to score)"
    assert said in shown.out and said in (tmp_path / "scores" / "report.md").read_text()
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())["adapted_to_unscored"] == others


def test_evaluate_names_what_it_cannot_adapt_to(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    nameless = changed(small_manifest, tmp_path / "n.jsonl", keep=4, speaker=None)
    line = ("evaluate", nameless, "--model", finished / "ce" / "fold_1" / "model", "--adapt", "speaker")
    assert "its speaker is not known" in complaint(capsys, *line)


def test_the_report_says_on_what_a_prediction_depends(finished: Path, tmp_path: Path) -> None:
    assert run("report", finished, "--html") == 0
    for name in ("report.md", "report.html"):
        assert "Adapted to speakers:" in (finished / name).read_text()
    settings = json.loads((finished / "emo_clap" / "fold_2" / "model" / "config.json").read_text())
    assert "--adapt speaker" in (finished / "emo_clap" / "fold_2" / "model" / "README.md").read_text()
    assert settings["audio_standardize"] == "speaker"


def test_a_comparison_names_the_run_after_it(
    finished: Path, small_manifest: Path, whisper: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    options = ("--model.audio_encoder", whisper, *TWO_FOLDS, "--methods", "ce", "-o", plain)
    assert run("crossval", small_manifest, *SMALL, *options) == 0
    assert run("compare", plain, finished, "-o", tmp_path / "both") == 0
    assert "adapted to speakers or recordings without labels" in (tmp_path / "both" / "comparison.md").read_text()
    model = plain / "ce" / "fold_1" / "model"
    for way in ("none", "folder"):
        assert run("evaluate", small_manifest, "--model", model, "--adapt", way, "-o", tmp_path / way) == 0
    assert run("compare", tmp_path / "none", tmp_path / "folder", "-o", tmp_path / "ways") == 0
    assert "**Beware: folder: adapted to speakers" in (tmp_path / "ways" / "comparison.md").read_text()
    assert run("report", plain, finished, "-o", tmp_path / "joined") == 0
    assert "Cross-entropy, model.standardize: speaker" in (tmp_path / "joined" / "report.md").read_text()
    assert "Adapted to speakers" not in (plain / "report.md").read_text()


def test_other_corpora_are_tested_adapted_too(small_manifest: Path, whisper: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        changed(small_manifest, tmp_path / f"{name}.jsonl", corpus=name, keep=None if name == "one" else 24)
    given = (*SMALL, "--model.audio_encoder", whisper, "--model.standardize", "speaker", "--method", "ce")
    output = tmp_path / "matrix"
    allowed = ("--data.allow_speaker_overlap", "true")
    assert run("crosscorpus", tmp_path / "one.jsonl", tmp_path / "two.jsonl", *given, *allowed, "-o", output) == 0
    table = read_predictions(output / "cells" / "one_to_two" / "seed_0" / "predictions.csv")
    (model,) = (output / "trainings" / "one").rglob("model")
    predictor = Predictor.from_pretrained(model, device="cpu")
    predictor.model.config.clip_seconds = None
    rows = {row.id: row for row in read_manifest(tmp_path / "two.jsonl")}
    tested = [rows[name] for name in table.ids]
    answers, _ = predictor.predict_adapted(tested, [speaker_name(row) for row in tested])
    expected = [[one.probabilities[label] for label in table.classes] for one in answers]  # type: ignore[union-attr]
    np.testing.assert_allclose(table.probabilities, expected, atol=1e-4)


@pytest.mark.parametrize("method", ["ce", "dimensions"])
def test_without_a_cache_each_clip_is_encoded_once_in_a_fold(
    method: str, small_manifest: Path, whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = changed(small_manifest, tmp_path / "m.jsonl", valence=lambda row: len(str(row.emotion)) / 3)
    encoded: list[int] = []
    forward = SpeechEncoder.forward

    def counting(self: SpeechEncoder, waveforms: torch.Tensor, *args: Any, **options: Any) -> Any:
        encoded.append(len(waveforms))
        return forward(self, waveforms, *args, **options)

    line = (*SMALL, "--model.audio_encoder", whisper, "--model.standardize", "speaker", *TWO_FOLDS, "--methods", method)
    assert run("crossval", manifest, *line, "-o", tmp_path / "cached") == 0
    monkeypatch.setattr(SpeechEncoder, "forward", counting)
    never = ("--cache.layers", "never", "--cache.frames", "never")
    assert run("crossval", manifest, *line, *never, "-o", tmp_path / "never") == 0
    assert sum(encoded) == 2 * len(read_manifest(manifest))
    found, expected = (
        list(csv.DictReader((tmp_path / name / method / "fold_1" / "predictions.csv").open()))
        for name in ("never", "cached")
    )
    column = "valence" if method == "dimensions" else "p_angry"
    np.testing.assert_allclose(*([float(row[column]) for row in rows] for rows in (found, expected)), atol=1e-4)


def test_gmp_tl_is_refused(small_manifest: Path, whisper: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    line = ("crossval", small_manifest, *SMALL, "--model.audio_encoder", whisper, *TWO_FOLDS)
    said = complaint(capsys, *line, "--model.standardize", "speaker", "--methods", "gmp_tl", "-o", tmp_path / "gmp")
    assert "model.freeze all: gmp_tl trains the encoder" in said


def test_timelines_and_an_index_say_what_such_a_model_needs(
    finished: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = finished / "emo_clap" / "fold_1" / "model"
    clip = read_manifest(small_manifest)[0].path
    assert run("timeline", clip, "--model", model, "-o", tmp_path / "t.json") == 0
    assert "adapted to their speakers; give --adapt speaker" in capsys.readouterr().err
    assert run("timeline", clip, "--model", model, "--adapt", "speaker", "-o", tmp_path / "a.json") == 0
    assert "adapted to their speakers" not in capsys.readouterr().err
    assert run("index", clip, "--model", model, "-o", tmp_path / "index") == 0
    assert "an index has its clips one by one" in capsys.readouterr().err
