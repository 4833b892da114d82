"""What a notebook shows of the objects of Python's API: a line, whatever they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from sound import noise, write
from speaking import LoudnessPredictor, speech_like

from gemoclap.inference.clip_index import ClipIndex, IndexWriter
from gemoclap.inference.emotion_timeline import emotion_timeline
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.stream import EmotionStream, StreamSettings


def test_a_predictor(small_model: Path) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    assert repr(predictor) == f"<Predictor of {', '.join(predictor.labels)}, on cpu>"


def test_a_stream() -> None:
    stream = EmotionStream(LoudnessPredictor(), settings=StreamSettings(2.0, 0.5, None))  # type: ignore[arg-type]
    assert repr(stream) == "<EmotionStream: a window of 2 s every 0.5 s, 0.0 s so far>"
    stream.add(noise(3.1))
    assert repr(stream).startswith("<EmotionStream: a window of 2 s every 0.5 s, ")
    stream.finish()
    assert repr(stream) == "<EmotionStream: a window of 2 s every 0.5 s, finished after 3.1 s>"


@pytest.mark.usefixtures("loud_net")
def test_a_timeline(tmp_path: Path) -> None:
    path = write(tmp_path / "call.wav", speech_like(60, 3))
    found = emotion_timeline(LoudnessPredictor(), path)  # type: ignore[arg-type]
    windows = len(found.lanes[0].windows)
    assert repr(found) == f"<EmotionTimeline of {path}: {found.duration:.1f} s, {windows} windows, recording>"


def test_an_index(tmp_path: Path) -> None:
    made_with = {"model": "abc", "name": "default", "labels": ["sad", "happy"], "size": 6, "speech": "detect"}
    with IndexWriter(tmp_path / "index", made_with) as index:
        index.add({"path": "a.wav"}, [], [1, 2])
    assert repr(ClipIndex(tmp_path / "index")) == f"<ClipIndex {tmp_path / 'index'}: 1 recording, 0 parts>"
