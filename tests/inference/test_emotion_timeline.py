"""The timeline of a file: the stream's windows, lanes, remarks, and sound in memory that does not grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sound import noise, write
from speaking import LABELS, FailingPredictor, LoudnessPredictor, speech_like

from gemoclap.audio import open_channels
from gemoclap.errors import GemoclapError
from gemoclap.inference.emotion_timeline import EmotionTimeline, emotion_timeline, with_advice
from gemoclap.inference.stream import EmotionStream, StreamSettings
from gemoclap.inference.turns import Turn

pytestmark = pytest.mark.usefixtures("loud_net")


def timeline(path: Path, **options: object) -> EmotionTimeline:
    return emotion_timeline(LoudnessPredictor(), path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("sample_rate", [16000, 44100])
@pytest.mark.parametrize("settings", [StreamSettings(), StreamSettings(1.5, 0.4)])
def test_a_file_has_the_windows_that_a_stream_gives(sample_rate: int, settings: StreamSettings, tmp_path: Path) -> None:
    sides = [speech_like(30, seed, sample_rate) for seed in (1, 2)]
    path = write(tmp_path / "call.wav", np.stack(sides, axis=1), sample_rate)
    found = timeline(path, by="channel", settings=settings)
    with open_channels(path) as file:
        whole = np.concatenate(list(file.blocks()))
    for lane, channel, name in zip(found.lanes, whole.T, ("channel 1", "channel 2"), strict=True):
        stream = EmotionStream(LoudnessPredictor(), sample_rate, settings)  # type: ignore[arg-type]
        windows = [
            window for place in range(0, len(channel), 777) for window in stream.add(channel[place : place + 777])
        ]
        assert lane.windows == windows + stream.finish() and len(lane.windows) > 5
        assert lane.speech == [(start, end) for _, start, end in stream.speech]
        assert lane.name == name and lane.remarks == []
    assert (found.duration, found.labels, found.remarks) == (30.0, LABELS, [])


def test_segments_are_speech_and_no_more(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", speech_like(60, 3))
    (lane,) = timeline(path).lanes
    assert len(lane.segments) > 3
    assert sum(one.end - one.start for one in lane.segments) == pytest.approx(
        sum(end - start for start, end in lane.speech)
    )
    for before, after in zip(lane.segments, lane.segments[1:], strict=False):
        assert before.end < after.start or before.end == after.start and before.emotion != after.emotion
    plain = timeline(path, smooth=0.0).lanes[0]
    assert plain.windows == lane.windows
    np.testing.assert_array_equal(
        plain.smoothed, [[one.probabilities[label] for label in LABELS] for one in lane.windows]
    )


def test_a_window_without_an_answer_is_a_segment_without_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(12.0))  # windows of 4 s at 0, 1, ... 8 s
    (whole,) = timeline(path, smooth=2.0).lanes
    (lane,) = emotion_timeline(FailingPredictor([2, 3]), path, smooth=2.0).lanes  # type: ignore[arg-type]
    (odd,) = [one for one in lane.segments if one.error]
    assert (odd.start, odd.end) == (3.5, 5.5)  # the moments that are nearest to the middles of 4 and 5 s
    assert (odd.emotion, odd.confidence, odd.probabilities) == ("unknown", 0.0, {})
    assert sum(one.end - one.start for one in lane.segments) == pytest.approx(12.0)
    assert np.isnan(lane.smoothed[2:4]).all() and np.isfinite(np.delete(lane.smoothed, [2, 3], axis=0)).all()
    np.testing.assert_allclose(lane.smoothed[5:], whole.smoothed[5:])  # two seconds away, so they never counted there
    np.testing.assert_allclose(lane.smoothed.sum(1), [1, 1, np.nan, np.nan, 1, 1, 1, 1, 1])
    (remark,) = lane.remarks
    assert remark.startswith("2 of 9 windows without an answer, the first from 2.00 to 6.00 s: its probabilities are")


def test_two_channels_are_mixed_and_that_is_said(tmp_path: Path) -> None:
    left, right = speech_like(8, 4), np.zeros(8 * 16000, np.float32)
    found = timeline(write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT"))
    mono = timeline(write(tmp_path / "b.wav", left / 2, subtype="FLOAT"))
    assert found.lanes[0].windows == mono.lanes[0].windows and found.lanes[0].name == "recording"
    assert found.remarks == ["2 channels were mixed"]
    assert with_advice(found, "look twice").remarks == ["2 channels were mixed; look twice"]
    assert mono.remarks == []


def test_channels_that_cancel_and_another_full_scale_are_remarked(tmp_path: Path) -> None:
    sound = speech_like(8, 4)
    found = timeline(write(tmp_path / "a.wav", np.stack([sound, -sound], axis=1)))
    assert found.remarks == [
        "the channels cancel each other when they are mixed: one is inverted",
        "2 channels were mixed",
    ]
    loud = timeline(write(tmp_path / "b.wav", 32768 * sound, subtype="FLOAT"))
    assert ["where 1 is full scale" in one for one in loud.lanes[0].remarks] == [True]


def test_a_clipped_channel_is_remarked_where_it_lies(tmp_path: Path) -> None:
    """At 44.1 kHz, where a window is no longer cut off once it is resampled."""
    left, right = speech_like(8, 4, 44100), speech_like(8, 5, 44100)
    right = np.clip(8 * right / np.abs(right).max(), -1, 1)
    path = write(tmp_path / "a.wav", np.stack([left, right], axis=1), 44100)
    channels = timeline(path, by="channel")
    assert [[one[:8] for one in lane.remarks] for lane in channels.lanes] == [[], ["clipped:"]]
    assert not channels.remarks
    mixed = timeline(path)
    assert mixed.remarks == [*channels.lanes[1].remarks, "2 channels were mixed"] and not mixed.lanes[0].remarks
    assert mixed.remarks[0] in timeline(path, turns=[Turn("Bob", 1, 3, 2)]).remarks


def test_silence_and_what_is_no_speech_are_told_apart(tmp_path: Path) -> None:
    sides = [speech_like(5, 5), np.zeros(5 * 16000), 0.01 * noise(5.0)]
    lanes = timeline(write(tmp_path / "a.wav", np.stack(sides, axis=1)), by="channel").lanes
    assert [lane.remarks for lane in lanes] == [[], ["silent: nothing is louder than -60 dB"], ["no speech was found"]]
    assert [bool(lane.segments) for lane in lanes] == [True, False, False]
    assert lanes[1].smoothed.shape == (0, 2) and lanes[1].windows == []


def test_each_speaker_has_a_lane_and_odd_turns_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(10.0))
    turns = [Turn("Bob", 1, 3, 2), Turn("Ann", 2, 5, 3), Turn("Bob", 8, 14, 4), Turn("Cid", 20, 21, 5)]
    found = timeline(path, turns=turns)
    assert {lane.name: lane.speech for lane in found.lanes} == {"Bob": [(1, 3), (8, 10)], "Ann": [(2, 5)], "Cid": []}
    assert [lane.remarks for lane in found.lanes] == [[], [], ["no speech was found"]]
    beyond, at_once = found.remarks
    assert "2 turns end after the end" in beyond and "line 4" in beyond and "for 1.00 s" in at_once
    assert found.settings["by"] == "turns"
    assert "in seconds?" not in beyond
    (outside,) = timeline(path, turns=[Turn("Ann", 1000, 3000, 2)]).remarks
    assert "1 left out" in outside and outside.endswith("are they of this recording, and in seconds?")


def test_the_model_gets_batches_and_progress_goes_to_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(60.0))
    predictor, steps = LoudnessPredictor(), []
    emotion_timeline(predictor, path, batch_size=8, progress=lambda done, total: steps.append((done, total)))  # type: ignore[arg-type]
    assert predictor.batches == [8] * 7 + [1]  # 57 windows of 4 s
    assert len(steps) > 2 and steps[-1] == (60.0, 60.0) and steps == sorted(steps)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"smooth": -1.0}, "smooth must be"),
        ({"smooth": float("nan")}, "smooth must be"),
        ({"by": "channel", "turns": [Turn("A", 0, 1, 1)]}, "not both"),
        ({"by": "speaker"}, "by must be one of recording, channel, not 'speaker'; for a lane a speaker, give turns"),
        ({"turns": "call.rttm"}, "turns must be a list of Turn, as gemoclap.inference.turns.read_turns"),
        ({"turns": [("Ann", 0.0, 1.0)]}, "turns must be a list of Turn"),
        ({"adapt": "voices.json"}, "adapt must be 'speaker', statistics or None, not 'voices.json'; .*read_statistics"),
        ({"settings": StreamSettings(hop=9.0)}, "hop must be"),
        ({"hop": 0.5}, "hop: is a setting; give settings="),
        ({"min_silence": 1.0}, "min_silence: is a rule of what speech is; give settings="),
        ({"lables": ["angry"]}, r"lables: there is no such option \(did you mean 'labels'\?\); there are by, turns, "),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(GemoclapError, match=said):
        timeline(write(tmp_path / "a.wav", noise(1.0)), **options)


def test_samples_in_place_of_a_file_are_refused() -> None:
    with pytest.raises(GemoclapError, match="name of an audio file must be a text or a path, not ndarray"):
        timeline(noise(1.0))  # type: ignore[arg-type]
