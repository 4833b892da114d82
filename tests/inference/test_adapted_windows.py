"""Adaptation of windows to their speaker: any chunks, by hand, all windows of a file, and what must not spoil it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from chunks import cut, run
from sound import noise, write
from speaking import FeaturePredictor, speech_like

from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference import adapted_windows
from gemoclap.inference.adapted_windows import KeptFeatures
from gemoclap.inference.emotion_timeline import EmotionTimeline, emotion_timeline
from gemoclap.inference.stream import EmotionStream, EmotionWindow, StreamSettings
from gemoclap.inference.stream_state import StreamState
from gemoclap.inference.turns import Turn

pytestmark = pytest.mark.usefixtures("loud_net")

TURNS = {"Ann": [(0.5, 3.0), (3.2, 12.0), (20.0, 31.0)], "Bob": [(2.0, 9.0), (14.0, 20.0)]}
STRENGTH = 8.0


def stream(predictor: FeaturePredictor | None = None, **options: object) -> EmotionStream:
    return EmotionStream(predictor or FeaturePredictor(), **{"adapt": "speaker"} | options)  # type: ignore[arg-type]


def shares_of_new_samples(windows: list[EmotionWindow]) -> list[float]:
    """Return for each window the share of its samples that no earlier one of its speaker had, by marking every sample."""
    heard: dict[str | None, np.ndarray] = {}
    found = []
    for one in windows:
        first, last = round(one.start * 16000), round(one.end * 16000)
        marks = heard.setdefault(one.speaker, np.zeros(16000 * 60, bool))
        found.append(1 - marks[first:last].mean())
        marks[first:last] = True
    return found


def adapted_by(features: np.ndarray, shares: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return features as if `STRENGTH` windows of mean 0 and mean square 1 had been counted with the others."""
    total = shares.sum() + STRENGTH
    mean = (shares[:, None] * features).sum(0) / total
    square = ((shares[:, None] * features**2).sum(0) + STRENGTH) / total
    return (own - mean) / np.sqrt(square - mean**2)


def expected(sound: np.ndarray, windows: list[EmotionWindow], with_later: bool) -> np.ndarray:
    """Return the probability of the first label in each window, by hand."""
    predictor, shares = FeaturePredictor(), np.array(shares_of_new_samples(windows))
    features = np.array(
        [predictor.features_of(sound[round(one.start * 16000) : round(one.end * 16000)]) for one in windows], float
    )
    found = []
    for place, one in enumerate(windows):
        counts = [
            other for other in range(len(windows))
            if windows[other].speaker == one.speaker and (with_later or other <= place)
        ]  # fmt: skip
        row = adapted_by(features[counts], shares[counts], features[place])
        found.append(predictor.probabilities(row[None])[0, 0])
    return np.array(found)


@pytest.mark.parametrize("turns", [None, TURNS])
@pytest.mark.parametrize("settings", [StreamSettings(), StreamSettings(1.5, 1.5), StreamSettings(2.0, 0.3)])
def test_each_window_is_adapted_to_those_so_far(turns: dict | None, settings: StreamSettings) -> None:
    sound = speech_like(40, 1)
    windows = run(stream(settings=settings, turns=turns), [sound])
    assert len(windows) > 12
    np.testing.assert_allclose(
        [one.probabilities["calm"] for one in windows], expected(sound, windows, False), atol=1e-5
    )
    plain = run(stream(settings=settings, turns=turns, adapt=None), [sound])
    assert [(one.start, one.end, one.speaker) for one in plain] == [
        (one.start, one.end, one.speaker) for one in windows
    ]


@pytest.mark.parametrize("sample_rate", [16000, 8000])
@pytest.mark.parametrize("turns", [None, TURNS])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_chunks_make_no_difference(sample_rate: int, turns: dict | None, batch_size: int) -> None:
    sound = speech_like(35, 1, sample_rate)
    options = {"sample_rate": sample_rate, "turns": turns, "batch_size": batch_size}
    whole = run(stream(**options), [sound])
    for seed, longest in enumerate((700, 9000, 200_000)):
        assert run(stream(**options), cut(sound, longest, seed)) == whole
    assert len(whole) > 8


def test_a_stored_stream_goes_on_with_its_statistics() -> None:
    sound, sample_rate = speech_like(14, 1, 11025), 11025
    options = {"sample_rate": sample_rate, "turns": TURNS, "batch_size": 2}
    whole = run(stream(**options), [sound])
    state = None
    found: list[EmotionWindow] = []
    for chunk in cut(sound, 3 * sample_rate, 0):
        one = stream(state=state, **options)
        found += one.add(chunk)
        state = StreamState.from_dict(json.loads(json.dumps(one.state.to_dict())))
    assert found + stream(state=state, **options).finish() == whole and len(whole) > 5


def timeline(path: Path, **options: object) -> EmotionTimeline:
    return emotion_timeline(FeaturePredictor(), path, **{"adapt": "speaker"} | options)  # type: ignore[arg-type]


@pytest.mark.parametrize("in_memory", [10, 10**6])
def test_in_a_file_each_window_is_adapted_to_all(
    in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapted_windows, "IN_MEMORY", in_memory)
    monkeypatch.setattr(adapted_windows, "TOGETHER", 5)
    sides = [speech_like(30, seed) for seed in (1, 2)]
    path = write(tmp_path / "a.wav", np.stack(sides, axis=1), subtype="FLOAT")
    found = timeline(path, by="channel")
    for lane, side in zip(found.lanes, sides, strict=True):
        assert len(lane.windows) > 8
        np.testing.assert_allclose(
            [one.probabilities["calm"] for one in lane.windows], expected(side, lane.windows, True), atol=1e-5
        )
        assert lane.statistics and lane.statistics.count == pytest.approx(sum(shares_of_new_samples(lane.windows)))
    assert (found.settings["adapt"], found.adaptation) == ("speaker", "adapted to each speaker")


def test_turns_are_adapted_to_apart(tmp_path: Path) -> None:
    sound = speech_like(35, 3)
    turns = [Turn(name, *place, 1) for name, places in TURNS.items() for place in places]
    found = timeline(write(tmp_path / "a.wav", sound, subtype="FLOAT"), turns=turns)
    for lane in found.lanes:
        assert lane.windows
        np.testing.assert_allclose(
            [one.probabilities["calm"] for one in lane.windows], expected(sound, lane.windows, True), atol=1e-5
        )


def test_statistics_from_before_are_used_as_they_are(tmp_path: Path) -> None:
    sound = speech_like(30, 4)
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    statistics = timeline(path).lanes[0].statistics
    assert statistics
    by_all = [one.probabilities for one in timeline(path).lanes[0].windows]
    for known in (
        statistics,
        {"all": statistics},
        {"corpus/recording": statistics, "corpus/other": Statistics.of(np.ones((2, 3)))},
    ):
        found = timeline(path, adapt=known)
        assert [one.probabilities for one in found.lanes[0].windows] == [pytest.approx(one) for one in by_all]
        assert found.settings["adapt"] == "statistics"
    assert run(stream(adapt=statistics), [sound])[0].probabilities == pytest.approx(by_all[0])
    for known in ({"Bob": statistics, "Cid": statistics}, {"a/recording": statistics, "b/recording": statistics}):
        with pytest.raises(GemoclapError, match="but none of 'recording'"):
            timeline(path, adapt=known)


def test_sound_without_speech_and_bad_windows_do_not_count() -> None:
    """Silence that was taken for speech, and a window whose features are no numbers."""
    speech = speech_like(20, 5)
    settings = StreamSettings(2.0, 2.0, None)

    class Faulty(FeaturePredictor):
        def features_of(self, samples: np.ndarray) -> np.ndarray:
            found = super().features_of(samples)
            return found * np.nan if samples.max() > 0.97 else found

    one, other = stream(settings=settings), stream(Faulty(), settings=settings)
    whole = run(one, [speech])
    loud = np.full(16000 * 2, 0.98, np.float32)
    quiet = np.zeros(16000 * 4, np.float32)
    found = run(other, [np.concatenate([loud, quiet, speech])])
    assert found[0].error and found[0].emotion == "unknown" and not any(window.error for window in found[1:])
    assert [window.probabilities for window in found[3:]] == [window.probabilities for window in whole]
    statistics = one.statistics()
    assert statistics and other.statistics().count == statistics.count == 10  # type: ignore[union-attr]


def test_windows_that_fail_keep_the_others_in_their_places(tmp_path: Path) -> None:
    sound = np.concatenate([noise(4.0, seed=seed) * (1 + seed) / 4 for seed in range(4)]).astype(np.float32)

    class Faulty(FeaturePredictor):
        def clip_features(self, audios, batch_size=16):  # type: ignore[no-untyped-def]
            found = super().clip_features(audios)
            return [
                GemoclapError("bad") if np.abs(samples).mean() < 0.025 else one
                for samples, one in zip(audios, found, strict=True)
            ]

    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    settings = StreamSettings(4.0, 4.0, None)
    (lane,) = emotion_timeline(Faulty(), path, settings=settings, adapt="speaker").lanes  # type: ignore[arg-type]
    assert [one.error for one in lane.windows] == ["bad", None, None, None]
    np.testing.assert_allclose(
        [one.probabilities["calm"] for one in lane.windows[1:]], expected(sound, lane.windows[1:], True), atol=1e-5
    )


def test_a_state_goes_on_in_a_stream_like_its_own() -> None:
    for adapt, other in (("speaker", None), (None, "speaker"), (Statistics.of(np.ones((1, 3))), "speaker")):
        state = stream(adapt=adapt).state
        with pytest.raises(GemoclapError, match="adapt='speaker'"):
            stream(adapt=other, state=state)


def test_a_model_that_does_not_standardise_is_refused(tmp_path: Path) -> None:
    class Plain(FeaturePredictor):
        def check_adaptable(self) -> None:
            raise GemoclapError("this model does not standardise")

    with pytest.raises(GemoclapError, match="does not standardise"):
        stream(Plain())
    path = write(tmp_path / "a.wav", noise(1.0))
    with pytest.raises(GemoclapError, match="does not standardise"):
        emotion_timeline(Plain(), path, adapt="speaker")  # type: ignore[arg-type]
    assert stream(Plain(), adapt=None)


def test_kept_features_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapted_windows, "IN_MEMORY", 100)
    rows = np.random.default_rng(0).standard_normal((23, 7)).astype(np.float32)
    kept = KeptFeatures()
    for row in rows:
        kept.add(row)
    blocks = list(kept.blocks(10))
    assert [len(block) for block in blocks] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate(blocks), rows)
    assert list(KeptFeatures().blocks(10)) == []
