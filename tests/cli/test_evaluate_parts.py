"""`gemoclap evaluate` on clips of several parts: the answers of `predict`, and what they were before calibration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small import changed, complaint, run

from gemoclap.cli.scoring import uncalibrated
from gemoclap.corpora.manifest import read_manifest
from gemoclap.inference.prediction import Prediction
from gemoclap.inference.predictor import Predictor
from gemoclap.predictions import read_predictions


@pytest.fixture
def of_seconds(small_model: Path, tmp_path: Path) -> Path:
    """A calibrated model that has heard clips of half a second."""
    folder = Path(shutil.copytree(small_model, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    calibration = {"temperature": 0.05, "fitted_on": "nothing", "utterances": 8}
    (folder / "config.json").write_text(json.dumps(config | {"clip_seconds": 0.5, "calibration": calibration}))
    return folder


def test_the_scores_are_those_of_predict(of_seconds: Path, small_manifest: Path, tmp_path: Path) -> None:
    assert run("evaluate", small_manifest, "--model", of_seconds, "-o", tmp_path / "scores") == 0
    table = read_predictions(tmp_path / "scores" / "predictions.csv")
    predictor = Predictor.from_pretrained(of_seconds, device="cpu")
    predictor.check_speech = True
    for row, scores in zip(read_manifest(small_manifest), table.probabilities, strict=True):
        answer = predictor(row.path)
        assert answer.parts > 1
        np.testing.assert_allclose(scores, [answer.probabilities[label] for label in table.classes], atol=2e-6)


def test_the_temperature_is_left_out_of_each_part(of_seconds: Path, small_manifest: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_pretrained(of_seconds, device="cpu")
    calibrated = predictor(read_manifest(small_manifest)[0].path)
    with uncalibrated(predictor.model):
        found = Predictor(predictor.model)(read_manifest(small_manifest)[0].path)
    assert predictor.model.config.calibration["temperature"] == 0.05
    config = json.loads((of_seconds / "config.json").read_text())
    (of_seconds / "config.json").write_text(json.dumps(config | {"calibration": None}))
    expected = Predictor.from_pretrained(of_seconds, device="cpu")(read_manifest(small_manifest)[0].path)
    assert isinstance(expected, Prediction) and expected.parts > 1
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    assert calibrated.confidence > found.confidence + 0.01


def test_unknown_speakers_are_said(
    small_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = len(read_manifest(small_manifest))
    unnamed = changed(small_manifest, tmp_path / "unnamed.jsonl", speaker=None)
    assert run("evaluate", unnamed, "--model", small_model, "-o", tmp_path / "scores") == 0
    says = f"the speaker of {rows} of {rows} utterances is unknown"
    assert f"beware: {says}" in capsys.readouterr().out
    assert says in (tmp_path / "scores" / "report.md").read_text()
    assert run("evaluate", small_manifest, "--model", small_model) == 0
    assert "is unknown" not in capsys.readouterr().out


def test_the_report_says_what_the_model_chose_among_and_which_labels_are_joined(
    small_model: Path, small_manifest: Path, tmp_path: Path
) -> None:
    line = ("evaluate", small_manifest, "--model", small_model)
    assert run(*line, "-o", tmp_path / "plain") == 0
    page = (tmp_path / "plain" / "report.md").read_text()
    assert "chose among" not in page and "Joined classes" not in page
    trained = list(read_predictions(tmp_path / "plain" / "predictions.csv").classes)
    first, second, third = trained[:3]
    joined = ("--labels", f"{first},{second}", "--merges", f"{{{third}: {first}}}", "-o", tmp_path / "joined")
    assert run(*line, *joined) == 0
    page = (tmp_path / "joined" / "report.md").read_text()
    said = f"The model chose among {first}, {second}; it was trained on {', '.join(trained)}."
    assert f"{said} Joined classes: {third} counts as {first}." in page
    assert json.loads((tmp_path / "joined" / "scores.json").read_text())["merges"] == {third: first}


def test_an_earlier_evaluation_and_labels_in_other_words_are_named(
    small_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ("evaluate", small_manifest, "--model", small_model, "-o", tmp_path / "scores")
    assert run(*given) == 0
    said = complaint(capsys, *given)
    assert f"scores: holds the evaluation of {small_model} on {small_manifest} already; remove the folder" in said
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    assert "notes: holds files of something else" in complaint(capsys, *given[:-1], tmp_path / "notes")

    words = {"angry": "Wut", "happy": "Freude", "neutral": "neutral?", "sad": "Trauer"}
    other = changed(small_manifest, tmp_path / "m.jsonl", emotion=lambda row: words[row.emotion])
    said = complaint(capsys, "evaluate", other, "--model", small_model)
    assert "no utterance has one of the model's classes" in said and "--merges in 'gemoclap evaluate'" in said
    assert all(word in said for word in words.values())
    none = changed(small_manifest, tmp_path / "m.jsonl", emotion=None)
    assert "no utterance has a label at all" in complaint(capsys, "evaluate", none, "--model", small_model)
