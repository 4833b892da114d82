"""Two labels that are about equally probable: the answer says so wherever it is given, and nothing else changes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from small import run
from sound import noise, write

from gemoclap.inference import prediction as prediction_module
from gemoclap.inference.clips import Stretch
from gemoclap.inference.prediction import Featured, Prediction, close_call, prediction_of
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.stream import StreamSettings


@pytest.mark.parametrize(
    ("probabilities", "said"),
    [
        ({"sad": 0.41, "neutral": 0.38, "happy": 0.21}, "close: sad 0.41, neutral 0.38"),
        ({"happy": 0.21, "neutral": 0.38, "sad": 0.41}, "close: sad 0.41, neutral 0.38"),
        ({"calm": 0.525, "loud": 0.475}, "close: calm 0.53, loud 0.47"),
        ({"calm": 0.53, "loud": 0.47}, None),
        ({"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.1}, "close: a 0.30, b 0.30"),
        ({"a": 0.9, "b": 0.05, "c": 0.05}, None),  # the others are not what counts
    ],
)
def test_a_close_call_names_both_labels(probabilities: dict[str, float], said: str | None) -> None:
    assert close_call(probabilities) == said


def answer_for(shares: list[list[float]], speaks: list[bool], remark: str | None) -> Prediction:
    clip = Featured("a.wav", np.zeros((len(speaks), 2)), [Stretch(0, 16000, one) for one in speaks], remark)
    found = prediction_of(clip, ("calm", "loud"), np.array(shares), np.ones((len(shares), 3)))
    assert isinstance(found, Prediction)
    return found


def test_it_is_about_the_mean_of_the_parts_and_stands_behind_what_is_odd_about_the_clip() -> None:
    found = answer_for([[0.9, 0.1], [0.14, 0.86]], [True, True], "mean of 2 parts")
    assert found.remark == "mean of 2 parts; close: calm 0.52, loud 0.48"
    assert found.remarks.clip == "mean of 2 parts" and found.emotion == "calm"
    assert answer_for([[0.5, 0.5]], [False], "silent").remark == "silent"  # no emotion is named, so none is close


def test_a_remark_is_its_parts() -> None:
    clip = Featured("a.wav", np.zeros((1, 2)), [Stretch(0, 16000, True)], "very short")
    found = prediction_of(clip, ("calm", "loud"), np.array([[0.5, 0.5]]), np.ones((1, 3)), label_remark="new")
    assert isinstance(found, Prediction)
    assert found.remarks == ("very short", "new", "close: calm 0.50, loud 0.50")
    assert found.remark == "very short; new; close: calm 0.50, loud 0.50"
    sure = prediction_of(clip._replace(remark=None), ("calm", "loud"), np.array([[0.9, 0.1]]), np.ones((1, 3)))
    assert isinstance(sure, Prediction) and sure.remark is None and sure.remarks == (None, None, None)


@pytest.fixture
def all_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_module, "CLOSE", 1.0)


def expected(probabilities: dict[str, float]) -> str:
    (second, low), (first, high) = sorted(probabilities.items(), key=lambda pair: pair[1])[-2:]
    return f"close: {first} {high:.2f}, {second} {low:.2f}"


@pytest.mark.usefixtures("all_close")
def test_every_output_of_predict_has_it(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    clip = write(tmp_path / "a.wav", noise(1.0))
    predictor = Predictor.from_pretrained(small_model, "cpu")
    said = expected(predictor(clip).probabilities)
    assert predictor(clip).remark == said
    given = ["predict", clip, "--model", small_model, "--speech", "all", "--threshold", "1"]
    assert run(*given) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{clip}: unknown (") and shown.endswith(f"[{said}]\n")
    assert run(*given, "--json") == 0
    assert json.loads(capsys.readouterr().out)["remark"] == said
    assert run(*given, "-o", tmp_path / "o.csv") == 0
    with (tmp_path / "o.csv").open(newline="") as file:
        assert [(row["emotion"], row["remark"]) for row in csv.DictReader(file)] == [("unknown", said)]


@pytest.mark.usefixtures("all_close")
def test_windows_of_a_stream_do_not_have_it(small_model: Path) -> None:
    stream = Predictor.from_pretrained(small_model, "cpu").stream(settings=StreamSettings(1.0, 1.0, speech=None))
    windows = [*stream.add(noise(3.0).astype(np.float32)), *stream.finish()]
    assert windows and all(window.remark is None for window in windows)
