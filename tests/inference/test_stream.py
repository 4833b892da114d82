"""Streams: the same windows whatever the chunks are, the same answers as for a clip, and a state that can be stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from chunks import cut, run
from sound import noise
from speaking import NO_ANSWER, FailingPredictor, LoudnessPredictor, speech_like

from gemoclap.audio import load_audio
from gemoclap.corpora.synthetic import generate
from gemoclap.errors import GemoclapError
from gemoclap.group_statistics import Statistics
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.speech import SpeechRules
from gemoclap.inference.stream import EmotionStream, EmotionWindow, StreamSettings
from gemoclap.inference.stream_state import LaneState, StreamState
from gemoclap.inference.turns import Turn

pytestmark = pytest.mark.usefixtures("loud_net")

TURNS = {"Ann": [(0.5, 3.0), (3.2, 12.0), (20.0, 31.0)], "Bob": [(2.0, 9.0), (50.0, 60.0)]}
FRAME = 512


def expected_windows(sound: np.ndarray, settings: StreamSettings) -> list[tuple[int, int]]:
    """Return first and last + 1 samples of the windows by going through the whole sound frame by frame, and by the book."""
    rules = settings.speech or SpeechRules()
    window, hop = round((settings.window or 4.0) * 16000), round(settings.hop * 16000)
    padded = np.append(sound, np.zeros(-len(sound) % FRAME))
    loud = [bool(np.sqrt(np.mean(frame**2)) > 0.02) for frame in padded.reshape(-1, FRAME)]
    stretches: list[list[int]] = []
    for number, is_loud in enumerate(loud):
        if is_loud and stretches and (number - stretches[-1][1]) * FRAME < rules.min_silence * 16000 + FRAME:
            stretches[-1][1] = number + 1
        elif is_loud:
            stretches.append([number, number + 1])
    found = []
    for begin, end in stretches:
        last = min(end * FRAME, len(sound))
        if last - begin * FRAME <= rules.min_speech * 16000:
            continue
        first, last = max(0, begin * FRAME - 480), min(end * FRAME + (480 if end < len(loud) else 0), len(sound))
        own = [(start, start + window) for start in range(first, last - window + 1, hop)]
        if not own:
            own = [(first, last)]
        elif last - own[-1][1] >= hop / 2:
            own.append((last - window, last))
        found += own
    return found


@pytest.mark.parametrize(
    "settings",
    [
        StreamSettings(),
        StreamSettings(1.3, 0.31),
        StreamSettings(0.1, 0.1),
        StreamSettings(6.0, 6.0, SpeechRules(0.5, 1.0, 1.0)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_windows_are_those_of_the_whole_sound(settings: StreamSettings, seed: int) -> None:
    sound, predictor = speech_like(40, seed), LoudnessPredictor()
    found = run(EmotionStream(predictor, settings=settings), cut(sound, 30000, seed))  # type: ignore[arg-type]
    assert [(round(one.start * 16000), round(one.end * 16000)) for one in found] == expected_windows(sound, settings)
    for one in found:
        samples = sound[round(one.start * 16000) : round(one.end * 16000)]
        assert one.probabilities == predictor.predict(samples).probabilities
    assert predictor.batches == [1] * len(found) and len(found) > 5


@pytest.mark.parametrize("sample_rate", [16000, 8000, 44100])
@pytest.mark.parametrize("turns", [None, TURNS])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_chunks_make_no_difference(sample_rate: int, turns: dict | None, batch_size: int) -> None:
    sound = speech_like(35, 1, sample_rate)

    def stream() -> EmotionStream:
        return EmotionStream(LoudnessPredictor(), sample_rate, turns=turns, batch_size=batch_size)  # type: ignore[arg-type]

    first = stream()
    whole = run(first, [sound])
    assert len(whole) > 8
    for seed, longest in enumerate((700, 9000, 200_000)):
        other = stream()
        assert run(other, cut(sound, longest, seed)) == whole
        assert other.speech == first.speech


def test_one_sample_at_a_time() -> None:
    sound = speech_like(1.2, 2)
    whole = run(EmotionStream(LoudnessPredictor()), [sound])  # type: ignore[arg-type]
    assert run(EmotionStream(LoudnessPredictor()), list(sound[:, None])) == whole and whole  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [0.01, 0.5, 3.21, 11.111])
def test_a_stream_may_stop_anywhere(end: float) -> None:
    sound = speech_like(20, 3)[: round(end * 16000)]
    found = run(EmotionStream(LoudnessPredictor()), cut(sound, 5000, 0))  # type: ignore[arg-type]
    assert [(round(one.start * 16000), round(one.end * 16000)) for one in found] == expected_windows(
        sound, StreamSettings()
    )
    assert run(EmotionStream(LoudnessPredictor()), []) == []  # type: ignore[arg-type]


def test_a_window_comes_soon_after_its_last_sample() -> None:
    stream = EmotionStream(LoudnessPredictor())  # type: ignore[arg-type]
    for number in range(80):  # 8 s of speech
        for window in stream.add(noise(0.1, seed=number)):
            assert window.end <= (number + 1) / 10 <= window.end + 0.6
    assert stream.finish() and not stream.finish()


@pytest.mark.parametrize(("sample_rate", "batch_size"), [(16000, 1), (11025, 4)])
def test_a_stored_stream_goes_on(sample_rate: int, batch_size: int) -> None:
    sound = speech_like(9, 4, sample_rate)
    options = {"turns": TURNS, "batch_size": batch_size}
    predictor = LoudnessPredictor()
    whole = run(EmotionStream(predictor, sample_rate, **options), [sound])  # type: ignore[arg-type]
    found: list[EmotionWindow] = []
    state = None
    for chunk in cut(sound, 3 * sample_rate, 0):
        stream = EmotionStream(LoudnessPredictor(), sample_rate, state=state, **options)  # type: ignore[arg-type]
        found += stream.add(chunk)
        state = StreamState.from_dict(json.loads(json.dumps(stream.state.to_dict())))
    found += EmotionStream(LoudnessPredictor(), sample_rate, state=state, **options).finish()  # type: ignore[arg-type]
    assert found == whole and len(whole) > 2


def test_memory_does_not_grow() -> None:
    stream = EmotionStream(LoudnessPredictor(), 8000)  # type: ignore[arg-type]
    sizes = []
    for number in range(60):
        stream.add(noise(2, 8000, seed=number))
        state = stream.state
        sizes.append(len(state.held) + len(state.waiting) + len(state.recent) + len(state.pending))
    assert max(sizes[30:]) <= max(sizes[:30])
    assert stream.speech == []  # one long stretch that goes on


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("failing", [[0], [3, 4], [2, 7]])
def test_a_window_without_an_answer_costs_no_other(failing: list[int], batch_size: int) -> None:
    sound = speech_like(35, 1)
    whole = run(EmotionStream(LoudnessPredictor(), batch_size=batch_size), [sound])  # type: ignore[arg-type]
    found = run(EmotionStream(FailingPredictor(failing), batch_size=batch_size), [sound])  # type: ignore[arg-type]
    assert len(found) == len(whole) > 8
    for number, (one, answered) in enumerate(zip(found, whole, strict=True)):
        if number not in failing:
            assert one == answered and one.error is None
            continue
        assert (one.start, one.end) == (answered.start, answered.end)
        assert (one.emotion, one.confidence, one.probabilities) == ("unknown", 0.0, {})
        assert one.error == NO_ANSWER.removeprefix("the waveform: ")


def test_all_sound_can_be_taken_for_speech() -> None:
    quiet = 0.001 * noise(9.7)
    found = run(EmotionStream(LoudnessPredictor(), settings=StreamSettings(4.0, 2.0, None)), cut(quiet, 9000, 0))  # type: ignore[arg-type]
    assert [(one.start, round(one.end, 6)) for one in found] == [(0, 4), (2, 6), (4, 8), (pytest.approx(5.7), 9.7)]


def test_speakers_have_windows_of_their_own_turns() -> None:
    turns = {"Ann": [(0.0, 3.0), (6.5, 12.0)], "Bob": [(2.0, 4.5), (4.6, 4.7), (100.0, 101.0)], "Cid": [(99.0, 100.0)]}
    stream = EmotionStream(LoudnessPredictor(), turns=turns)  # type: ignore[arg-type]
    found = run(stream, cut(noise(10.0).astype(np.float32), 7000, 0))
    places = {name: [(one.start, one.end) for one in found if one.speaker == name] for name in turns}
    # The last window of 6.5 to 10 s is its only one; 100 ms of Bob are too short.
    assert places == {"Ann": [(0.0, 3.0), (6.5, 10.0)], "Bob": [(2.0, 4.5)], "Cid": []}
    assert sorted(stream.speech) == [("Ann", 0.0, 3.0), ("Ann", 6.5, 10.0), ("Bob", 2.0, 4.5)]


def test_integers_are_pcm() -> None:
    sound = np.round(speech_like(6, 5) * 32767).astype(np.int16)
    as_float = (sound / 32768).astype(np.float32)
    whole = run(EmotionStream(LoudnessPredictor()), [as_float])  # type: ignore[arg-type]
    assert run(EmotionStream(LoudnessPredictor()), cut(sound, 4000, 0)) == whole and whole  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (np.zeros((2, 100)), "mono"),
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([0.0, 1e9]), "full scale"),
        (np.array(["a"]), "PCM"),
        (np.zeros(5, np.uint8), "PCM"),
    ],
)
def test_a_chunk_that_is_no_sound_is_refused_and_changes_nothing(chunk: np.ndarray, said: str) -> None:
    sound = speech_like(7, 6)
    whole = run(EmotionStream(LoudnessPredictor()), [sound])  # type: ignore[arg-type]
    stream = EmotionStream(LoudnessPredictor())  # type: ignore[arg-type]
    found = stream.add(sound[:50000])
    with pytest.raises(GemoclapError, match=said):
        stream.add(chunk)
    assert found + stream.add(sound[50000:]) + stream.finish() == whole
    with pytest.raises(GemoclapError, match="finished"):
        stream.add(sound)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"settings": StreamSettings(window=8.0)}, "8 s is too long; this model takes windows of 6 s at most"),
        ({"settings": StreamSettings(window=0.01)}, "window must be"),
        ({"settings": StreamSettings(window=float("nan"))}, "window must be"),
        ({"settings": StreamSettings(window=2.0, hop=3.0)}, "hop must be"),
        ({"settings": StreamSettings(hop=0.0)}, "hop must be"),
        ({"settings": StreamSettings(speech=SpeechRules(threshold=1.5))}, "threshold must be"),
        ({"settings": StreamSettings(speech=SpeechRules(min_silence=-1))}, "min_silence must be"),
        ({"sample_rate": 0}, "sample_rate must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"batch_size": "2"}, "batch_size must be"),
        ({"window": 2.0}, r"window: is a setting; give settings=StreamSettings\(window=...\)"),
        ({"min_silence": 1.0}, r"settings=StreamSettings\(speech=SpeechRules\(min_silence=...\)\)"),
        (
            {"setings": StreamSettings()},
            r"setings: there is no such option \(did you mean 'settings'\?\); there are sample_rate, settings, turns, ",
        ),
        ({"settings": {"window": 2.0}}, "settings must be StreamSettings.*, not dict"),
        ({"settings": StreamSettings(window="2")}, "window must be a number, not '2'"),  # type: ignore[arg-type]
        ({"settings": StreamSettings(hop=None)}, "hop must be a number"),  # type: ignore[arg-type]
        ({"settings": StreamSettings(speech="all")}, "speech must be SpeechRules"),  # type: ignore[arg-type]
        ({"settings": StreamSettings(speech=SpeechRules(threshold="x"))}, "threshold must be a number"),  # type: ignore[arg-type]
        ({"turns": [Turn("Ann", 0.0, 1.0, 1)]}, "turns must map each speaker to .*, not list; turns_by_speaker"),
        ({"state": StreamState(8000)}, "8000 Hz"),
        ({"turns": {"Ann": [(0.0, 1.0)]}, "state": StreamState(16000)}, "other speakers"),
        ({"state": StreamState(16000).to_dict()}, "must be a StreamState, not dict"),
        ({"sample_rate": "16000"}, "sample_rate must be a whole number"),
        ({"sample_rate": 16000.5}, "sample_rate must be a whole number"),
        ({"adapt": "folder"}, "adapt must be 'speaker'"),
        ({"labels": ["one"]}, "two or more"),  # not hours later, when the first window is complete
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict, said: str) -> None:
    with pytest.raises(GemoclapError, match=said):
        EmotionStream(LoudnessPredictor(max_seconds=6.0), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("begun", "continued"), [("research", "default"), ("default", "small")])
def test_a_state_with_statistics_is_of_one_model(begun: str, continued: str) -> None:
    """Both first models have 3072 features, so that nothing else would tell."""
    first, second = (Predictor.from_pretrained(name, device="cpu") for name in (begun, continued))
    state = first.stream(16000, adapt="speaker").state.to_dict()
    first.stream(16000, adapt="speaker", state=StreamState.from_dict(state))
    with pytest.raises(GemoclapError, match="of another model, or of an earlier version"):
        second.stream(16000, adapt="speaker", state=StreamState.from_dict(state))
    plain = first.stream(16000).state.to_dict()
    second.stream(16000, state=StreamState.from_dict(plain))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"sample_rate": 1, "more": 2},
        {"sample_rate": 16000, "speech": 3, "lanes": {}, "pending": []},
        StreamState(
            16000, lanes={"": LaneState(statistics=Statistics(2.0, np.array([3.0]), np.array([4.0])))}
        ).to_dict(),
    ],
)
def test_what_is_no_state_is_refused(data: dict) -> None:
    with pytest.raises(GemoclapError, match="not the state of a stream"):
        StreamState.from_dict(data)


def test_a_window_is_no_longer_than_what_the_model_uses() -> None:
    found = run(EmotionStream(LoudnessPredictor(max_seconds=2.5)), [noise(2.9).astype(np.float32)])  # type: ignore[arg-type]
    assert [one.end - one.start for one in found] == [2.5]


def test_answers_are_those_of_the_model_for_the_same_samples(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # Silero's own net
    rows = generate(tmp_path, speakers=2, sentences=2, takes=1)[:6]
    sound = np.concatenate([np.append(load_audio(row.path), np.zeros(6000, np.float32)) for row in rows])
    predictor = Predictor.from_pretrained(small_model)
    whole = run(predictor.stream(settings=StreamSettings(1.0, 0.5)), [sound])
    assert run(predictor.stream(settings=StreamSettings(1.0, 0.5)), cut(sound, 20000, 0)) == whole
    assert len(whole) > 8
    for one in whole:
        alone = predictor(sound[round(one.start * 16000) : round(one.end * 16000)])
        assert one.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert (one.emotion, one.remark) == (alone.emotion, alone.remarks.clip)


def test_a_state_does_not_go_on_with_windows_that_need_more_sound_than_it_has() -> None:
    """The samples of such a window would be taken from another place."""
    sound, predictor = speech_like(20.0), LoudnessPredictor()
    short = EmotionStream(predictor, settings=StreamSettings(0.5, 0.5))  # type: ignore[arg-type]
    short.add(sound[:160_000])
    state = StreamState.from_dict(short.state.to_dict())
    with pytest.raises(GemoclapError, match="a stream with shorter windows"):
        EmotionStream(predictor, settings=StreamSettings(5.0, 1.0), state=state)  # type: ignore[arg-type]
    again = EmotionStream(predictor, settings=StreamSettings(0.5, 0.5), state=state)  # type: ignore[arg-type]
    assert run(again, [sound[160_000:]])


@pytest.mark.parametrize(("chunk", "said"), [(None, "not NoneType"), (b"\0" * 800, "not bytes"), ("a.wav", "not str")])
def test_a_chunk_that_is_no_array(chunk: object, said: str) -> None:
    with pytest.raises(GemoclapError, match=said):
        EmotionStream(LoudnessPredictor()).add(chunk)  # type: ignore[arg-type]
