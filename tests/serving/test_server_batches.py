"""Parts of several clients' clips go through the model together, each with its own labels, errors and fate."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers import Serve, message_of
from sound import noise, write

from gemoclap import GemoclapError, Predictor
from gemoclap.inference.clips import Clip, ClipReader, Part
from gemoclap.serving.batching import Batcher, SharedPredictor
from gemoclap.serving.limits import Limits, Refused
from gemoclap.serving.metrics import Metrics
from gemoclap.serving.service import WindowOptions


class Held:
    """A predictor whose first call waits until it is let go; it remembers the sizes of batches."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def features_of(self, parts: list[Part], batch_size: int) -> list[np.ndarray]:
        self.sizes.append(len(parts))
        self.begun.set()
        assert self.go_on.wait(20)
        return self._predictor.features_of(parts, batch_size)


def sound(seed: int, seconds: float = 0.5) -> np.ndarray:
    return noise(seconds, seed=seed).astype(np.float32)


def clip(predictor: Predictor, samples: np.ndarray) -> Clip:
    return ClipReader(predictor.model.config.clip_settings).read(samples)


class Work:
    """A batcher whose model is at work on a first clip, and a predictor that uses it."""

    def __init__(self, predictor: Predictor, batch_size: int = 4, **limits: Any) -> None:
        self.held = Held(predictor)
        self.batcher = Batcher(self.held, batch_size, Metrics())  # type: ignore[arg-type]
        self.shared = SharedPredictor(predictor, self.batcher, Limits(**limits))
        self._predictor = predictor
        self.begin(sound(0))
        assert self.held.begun.wait(20)

    def begin(self, samples: np.ndarray, labels: tuple[str, ...] | None = None) -> Future[Any]:
        return self.shared.begin(clip(self._predictor, samples), labels)


def test_what_comes_while_the_model_works_goes_together(predictor: Predictor) -> None:
    work = Work(predictor)
    own = [None, ("calm", "bored"), ("happy", "sad", "angry"), None, ("bored", "calm"), None]
    clips = [sound(number, 0.3 + 0.1 * number) for number in range(1, 7)]
    futures = [work.begin(one, labels) for one, labels in zip(clips, own, strict=True)]
    work.held.go_on.set()
    for one, labels, future in zip(clips, own, futures, strict=True):
        answer, alone = future.result(20), predictor(one, labels)
        assert [*answer.probabilities] == [*(labels or predictor.labels)]
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    work.batcher.close()
    assert work.held.sizes == [1, 4, 2]


def test_a_fault_is_of_its_own_clip_alone(predictor: Predictor) -> None:
    work = Work(predictor)
    words, unfit, fine = work.begin(sound(1), ("banana", "car")), work.begin(sound(2), ("one",)), work.begin(sound(3))

    def broken(row: np.ndarray) -> None:
        raise ZeroDivisionError

    faulty = work.batcher.submit(Part(sound(4), True), broken)
    work.held.go_on.set()
    with pytest.raises(GemoclapError, match="banana"):
        work.shared.check_labels(("banana", "car"))
    assert "banana" in str(words.result(20)) and isinstance(unfit.result(20), GemoclapError)
    assert fine.result(20).probabilities
    with pytest.raises(ZeroDivisionError):
        faulty.result(20)
    work.batcher.close()


def test_who_gives_up_is_left_out_and_told(predictor: Predictor) -> None:
    work = Work(predictor, answer_seconds=0.01)
    with pytest.raises(Refused, match="no answer within"):
        work.shared.predict(clip(predictor, sound(1)), None)
    work.held.go_on.set()
    work.batcher.close()
    assert work.held.sizes == [1]


def test_all_windows_of_a_request_have_one_deadline(
    serve: Serve, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each window is answered in time, but all of them together take longer; a stream may go on."""
    clock = count()
    monkeypatch.setattr("gemoclap.serving.batching.monotonic", lambda: next(clock))
    monkeypatch.setattr("gemoclap.serving.service.monotonic", lambda: next(clock))
    path, client = write(tmp_path / "a.wav", sound(1, 12.0)), serve(answer_seconds=8.0)
    asked = {"speech": "all", "window": "0.5", "hop": "0.5"}
    with path.open("rb") as file:
        said = message_of(client.post("/v1/timeline", files={"file": file}, data=asked), 503)
    assert said.startswith("no answer within 8 s")
    stream = client.service.stream(16000, WindowOptions(window=0.5, hop=0.5, speech="all"))  # type: ignore[attr-defined]
    assert len(stream.add(sound(1, 12.0))) > 20


def test_closing_answers_what_is_in_the_queue(predictor: Predictor) -> None:
    work = Work(predictor, batch_size=2)
    futures = [work.begin(sound(number)) for number in range(5)]
    work.held.go_on.set()
    work.batcher.close()
    assert all(future.done() for future in futures) and work.held.sizes == [1, 2, 2, 1]


def test_an_error_that_nobody_foresaw_does_not_end_the_thread(predictor: Predictor) -> None:
    class Broken:
        def features_of(self, parts: list[Part], batch_size: int) -> list[np.ndarray]:
            if len(parts[0].waveform) == 1600:
                raise ZeroDivisionError
            return predictor.features_of(parts, batch_size)

    batcher = Batcher(Broken(), 4, Metrics())  # type: ignore[arg-type]
    shared = SharedPredictor(predictor, batcher, Limits())
    with pytest.raises(ZeroDivisionError):
        shared.predict(clip(predictor, sound(1, 0.1)), None)
    assert shared.predict(clip(predictor, sound(1)), None)
    batcher.close()


def test_a_long_clip_is_read_and_predicted_part_by_part(predictor: Predictor, tmp_path: Path) -> None:
    samples = np.concatenate([sound(1, 40), 0 * sound(1, 1), 0.1 * sound(2, 60)])
    path = write(tmp_path / "long.wav", samples)
    batcher = Batcher(predictor, 4, Metrics())
    reader = ClipReader(predictor.model.config.clip_settings)
    found = reader.read(path)
    assert found.held is None
    answer, alone = SharedPredictor(predictor, batcher, Limits()).predict(found, None), predictor(path)
    assert not isinstance(answer, GemoclapError) and (answer.parts, answer.remarks.clip) == (
        alone.parts,
        alone.remarks.clip,
    )
    assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    batcher.close()


def test_windows_get_the_answers_of_a_predictor(predictor: Predictor) -> None:
    batcher = Batcher(predictor, 8, Metrics())
    windows = [noise(0.4 + number / 10, seed=number) for number in range(5)]
    shared = SharedPredictor(predictor, batcher, Limits()).predict_many(windows, ["calm", "bored"])
    for answer, window in zip(shared, windows, strict=True):
        assert not isinstance(answer, GemoclapError)
        assert answer.probabilities == pytest.approx(predictor(window, ["calm", "bored"]).probabilities, abs=1e-6)
    batcher.close()


def test_labels_are_not_remembered_without_end(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemoclap.inference.predictor.CLASSIFIERS", 2)
    own = Predictor(predictor.model)
    own.any_words = True
    for number in range(3):
        own(sound(1), (f"a{number}", "b"))
    assert len(own._classifiers) == 2
    own(sound(1), ("banana", "car"))
    own.any_words = False
    with pytest.raises(GemoclapError, match="banana"):
        own(sound(1), ("banana", "car"))
