"""Temperatures of whole runs: from development speakers, from a cross-validation's unseen ones; what a run was made with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from small import changed, complaint, crossval, run

import gemoclap
from gemoclap import Predictor
from gemoclap.metrics.calibration import class_numbers, fit_temperature
from gemoclap.predictions import concatenate, read_predictions
from gemoclap.reports import collect

PLAIN = ("--model.projection_dim", "16", "--train.epochs", "2")


def train(manifest: Path, output: Path, *options: str) -> list[str]:
    """Return the arguments of a training with the settings of `crossval`."""
    arguments = crossval(manifest, "ce", output, *PLAIN, *options)
    place = arguments.index("--methods")
    return ["train", *arguments[1:place], "--method", "ce", *arguments[place + 2 :]]


@pytest.fixture(scope="module")
def whole(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation without development speakers."""
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run(*crossval(small_manifest, "ce", output, *PLAIN)) == 0
    return output


def test_a_fold_without_development_speakers_says_that_it_has_no_temperature(whole: Path) -> None:
    assert not list(whole.rglob("calibration.json"))
    assert json.loads((whole / "ce" / "fold_1" / "model" / "config.json").read_text())["calibration"] is None
    (row,) = collect(whole).rows
    assert row.confidence.fitted_on == "the test predictions of the other folds"
    assert "| the test predictions of the other folds |" in (whole / "report.md").read_text()


def test_a_model_of_everybody_is_calibrated_on_a_cross_validation(
    whole: Path, small_manifest: Path, tmp_path: Path
) -> None:
    tables = concatenate([read_predictions(whole / "ce" / fold / "predictions.csv") for fold in ("fold_1", "fold_2")])
    expected = fit_temperature(tables.probabilities, class_numbers(tables.truth, tables.classes))
    output = tmp_path / "run"
    assert run(*train(small_manifest, output)) == 0
    weights = (output / "model" / "model.safetensors").read_bytes()
    assert Predictor.from_pretrained(output / "model").model.config.calibration is None
    assert run(*train(small_manifest, output, "--calibrate_on", str(whole))) == 0  # nothing is trained again
    found = Predictor.from_pretrained(output / "model").model.config.calibration
    assert found["temperature"] == pytest.approx(expected) and found["utterances"] == len(tables)
    assert found["fitted_on"] == "the unseen speakers of a cross-validation with the same settings"
    assert (output / "model" / "model.safetensors").read_bytes() == weights


def test_its_card_has_the_scores_of_the_cross_validation(whole: Path, small_manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(*train(small_manifest, output)) == 0
    card = output / "model" / "README.md"
    before = card.read_text()
    assert "A cross-validation shows what scores to expect." in before
    for _ in range(2):
        assert run(*train(small_manifest, output, "--calibrate_on", str(whole))) == 0
        tables = [read_predictions(whole / "ce" / fold / "predictions.csv") for fold in ("fold_1", "fold_2")]
        truth, prediction = (sum((getattr(one, name) for one in tables), ()) for name in ("truth", "prediction"))
        war, uar = (100 * figure(truth, prediction) for figure in (accuracy_score, balanced_accuracy_score))
        scores = f"WAR {war:.1f} %, UAR {uar:.1f} %"
        (line,) = [line for line in card.read_text().split("\n") if line.startswith("No test part")]
        assert line.endswith(f"in `{small_manifest.name}` (each by a model that had not heard the speaker): {scores}.")
        assert f"tested {len(truth)} utterances of " in line
        others = [one for one in card.read_text().split("\n") if one != line]
        assert others == [one for one in before.split("\n") if not one.startswith("No test part")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train.epochs", "3"), "its train.epochs differs from this training's"),
        (("--method", "am_softmax"), "is not a cross-validation of am_softmax"),
    ],
)
def test_a_cross_validation_of_something_else_is_refused(
    options: tuple[str, str],
    message: str,
    whole: Path,
    small_manifest: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    arguments = train(small_manifest, tmp_path / "run", *options, "--calibrate_on", str(whole))
    assert message in complaint(capsys, *arguments)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_or_unfinished_is_refused(
    whole: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = train(small_manifest, tmp_path / "run", "--calibrate_on")
    assert "empty: not the folder of a cross-validation" in complaint(capsys, *arguments, tmp_path / "empty")
    half = tmp_path / "half"
    half.mkdir()
    for name in ("config.yaml", "folds.json"):
        (half / name).write_bytes((whole / name).read_bytes())
    assert "finish the cross-validation of ce first" in complaint(capsys, *arguments, half)
    (half / "folds.json").write_text("[]")
    assert "half/folds.json: holds a list, not a mapping" in complaint(capsys, *arguments, half)


def test_development_speakers_give_each_fold_a_temperature(small_manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(*crossval(small_manifest, "ce", output, *PLAIN, "--data.dev_speakers", "1")) == 0
    for fold in ("fold_1", "fold_2"):
        kept = json.loads((output / "ce" / fold / "calibration.json").read_text())
        assert json.loads((output / "ce" / fold / "model" / "config.json").read_text())["calibration"] == kept
        assert kept["fitted_on"] == "the development speakers" and kept["temperature"] > 0
    (row,) = collect(output).rows
    assert row.confidence.fitted_on == "the development speakers of each fold"
    assert len(row.confidence.temperatures) == 2 and row.confidence.after is not None


def test_a_run_says_what_it_was_made_with_and_where_its_audio_is(whole: Path, small_manifest: Path) -> None:
    made = json.loads((whole / "results.json").read_text())["made"]
    assert (made["gemoclap"], made["torch"], made["transformers"]) == (
        [gemoclap.__version__], [torch.__version__], [transformers.__version__],
    )  # fmt: skip
    assert made["seconds"] > 0 and len(made["date"][0]) == len("2026-01-01") and made["host"][0].split()[0]
    line = next(line for line in (whole / "report.md").read_text().splitlines() if line.startswith("- Made with: "))
    assert f"torch {torch.__version__}" in line and made["date"][0] in line and "of computing" in line
    paths = read_predictions(whole / "ce" / "fold_1" / "predictions.csv").paths
    assert all(Path(path).is_file() for path in paths)


def test_evaluate_says_which_classes_do_not_occur_and_which_labels_are_unknown(
    whole: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = whole / "ce" / "fold_1" / "model"
    classes = json.loads((model / "config.json").read_text())["vocabulary"]["emotions"]
    other = changed(
        small_manifest, tmp_path / "two.jsonl",
        emotion=lambda row: "bored" if row.emotion == classes[1] else classes[0] if row.emotion == classes[2] else row.emotion,
    )  # fmt: skip
    assert run("evaluate", other, "--model", model, "-o", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    table = read_predictions(tmp_path / "out" / "predictions.csv")
    absent = [name for name in table.classes if name not in table.truth]
    assert set(absent) == {classes[1], classes[2]}
    lost = sum(said in absent for said in table.prediction)
    assert (
        f"beware: {', '.join(absent)}: no utterance has these classes of the model, so {lost} of {len(table)} predictions"
        in shown
    )
    assert "bored 8: the model does not know this label" in shown
    saved = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (saved["absent_classes"], saved["unknown_labels"]) == (absent, {"bored": 8})
    assert saved["made"]["torch"] == torch.__version__
