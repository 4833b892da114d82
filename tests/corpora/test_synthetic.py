import json
from collections import Counter

import numpy as np
import pytest
import soundfile
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gemoclap.corpora import synthetic
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.synthetic import EMOTIONS, draw_sentence, generate, parse
from gemoclap.corpora.voice import Delivery, speak
from gemoclap.errors import GemoclapError

SIZES = {"speakers": 6, "sentences": 4, "takes": 1}
PLAIN = Delivery(
    f0=120, f0_range=0, final=0, declination=0, rate=4, onset=0.03, tilt=8, open_quotient=0.6, breath=0.0,
    jitter=0.0, shimmer=0.0, tract=1.0, accent=0.0,
)  # fmt: skip


def frames_of(waveform: np.ndarray, length: int = 640, hop: int = 160) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(waveform, length)[::hop]


def measured_f0(waveform: np.ndarray) -> np.ndarray:
    """Pitch of the voiced 40 ms frames in Hz, by the highest peak of the normalised autocorrelation."""
    frames = frames_of(waveform) * np.hanning(640)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, :400]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(640), 2048)) ** 2)[:400]
    correlation = correlation / (correlation[:, :1] + 1e-12) / (window / window[0])
    lags = np.arange(36, 240)
    peak = correlation[:, lags].max(axis=1)
    # The shortest lag that is nearly the best, or a doubled period would count as an octave below.
    lag = lags[(correlation[:, lags] > 0.93 * peak[:, None]).argmax(axis=1)]
    energy = np.square(frames).sum(axis=1)
    return 16000 / lag[(peak > 0.7) & (energy > 0.02 * energy.max())]


def spectral_centroid(waveform: np.ndarray) -> float:
    """Centre of gravity of the loud frames' power between 0 and 8 kHz, in Hz."""
    frames = frames_of(waveform) * np.hanning(640)
    power = np.abs(np.fft.rfft(frames)) ** 2
    loud = power.sum(axis=1) > 0.1 * power.sum(axis=1).max()
    return float(power[loud].sum(axis=0) @ np.fft.rfftfreq(640, 1 / 16000) / power[loud].sum())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora") / "synthetic"
    return root, generate(root, **SIZES)


@pytest.fixture(scope="module")
def features(corpus):
    """One row a clip: median F0, its spread in semitones, centroid, seconds, level in dB."""
    rows = []
    for utterance in corpus[1]:
        waveform, _ = soundfile.read(utterance.path)
        f0 = measured_f0(waveform)
        semitones = 12 * np.log2(f0 / np.median(f0))
        # Farther than 7 semitones from the middle lie the octave errors of the measurement.
        spread = semitones[np.abs(semitones) < 7].std()
        level = 10 * np.log10(np.mean(waveform**2))
        rows.append([np.median(f0), spread, spectral_centroid(waveform), len(waveform) / 16000, level])
    return np.array(rows)


def test_labels_are_balanced_and_complete(corpus):
    _, utterances = corpus
    assert len(utterances) == 6 * 4 * 4
    assert Counter(utterance.emotion for utterance in utterances) == dict.fromkeys(EMOTIONS, 24)
    assert set(Counter((u.speaker, u.emotion, u.text) for u in utterances).values()) == {1}
    genders = {utterance.speaker: utterance.gender for utterance in utterances}
    assert Counter(genders.values()) == {"female": 3, "male": 3}
    assert {(u.corpus, u.session, u.language, u.start) for u in utterances} == {("synthetic", None, None, None)}
    assert len({utterance.id for utterance in utterances}) == len(utterances)


def test_clips_are_16_bit_speech_length_and_not_clipped(corpus):
    for utterance in corpus[1]:
        info = soundfile.info(utterance.path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 0.9 < info.duration < 3.5
        waveform, _ = soundfile.read(utterance.path)
        assert 0.005 < np.abs(waveform).max() < 0.96


def test_the_folder_says_that_it_is_synthetic(corpus):
    root, _ = corpus
    notice = (root / "README.txt").read_text()
    assert "SYNTHETIC" in notice and "No human spoke" in notice
    assert "6 speakers" in notice
    assert {path.name for path in root.iterdir()} == {"README.txt", "manifest.jsonl", "settings.json", "wav"}
    assert list(root.parent.iterdir()) == [root], "nothing is left beside it"


def test_the_same_settings_give_the_same_bytes(corpus, tmp_path):
    root, utterances = corpus
    again = generate(tmp_path / "again", **SIZES)
    for path in sorted(root.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(root)).read_bytes()
    assert len(again) == len(utterances)


def test_a_clip_depends_on_its_own_cell_and_on_the_seed(corpus, tmp_path):
    first = corpus[1][0]
    fewer = generate(tmp_path / "fewer", speakers=1, sentences=1, takes=2)
    other = generate(tmp_path / "other", speakers=1, sentences=1, takes=1, seed=1)
    same_id = {utterance.id: utterance for utterance in fewer}[first.id]
    assert soundfile.read(same_id.path)[0].tolist() == soundfile.read(first.path)[0].tolist()
    assert soundfile.read(other[0].path)[0].tolist() != soundfile.read(first.path)[0].tolist()
    takes = [soundfile.read(utterance.path)[0] for utterance in fewer[:2]]
    assert len(takes[0]) != len(takes[1]) or not np.allclose(*takes)


def test_pitch_tells_women_from_men(corpus, features):
    _, utterances = corpus
    genders = {utterance.speaker: utterance.gender for utterance in utterances}
    f0 = {speaker: mean_where(features[:, 0], utterances, speaker=speaker) for speaker in genders}
    women, men = ([f0[name] for name in genders if genders[name] == gender] for gender in ("female", "male"))
    assert min(women) > 1.2 * max(men)
    assert min(women) > 150 and max(women) < 300 and min(men) > 80 and max(men) < 170


def mean_where(values: np.ndarray, utterances: list[Utterance], **wanted: str) -> float:
    """Mean of the values whose utterance has all the `wanted` fields."""
    chosen = [all(getattr(utterance, name) == value for name, value in wanted.items()) for utterance in utterances]
    return float(np.mean(values[chosen]))


@pytest.mark.parametrize("column, name", [(0, "pitch"), (1, "pitch range"), (2, "spectral centroid"), (4, "level")])
def test_anger_is_higher_wider_brighter_and_louder_than_sadness(corpus, features, column, name):
    _, utterances = corpus
    for speaker in {utterance.speaker for utterance in utterances}:
        angry, sad = (
            mean_where(features[:, column], utterances, speaker=speaker, emotion=emotion)
            for emotion in ("angry", "sad")
        )
        assert angry > sad, f"{name} of {speaker}"


def test_sadness_takes_longer(corpus, features):
    seconds = {emotion: mean_where(features[:, 3], corpus[1], emotion=emotion) for emotion in EMOTIONS}
    assert max(seconds, key=lambda emotion: seconds[emotion]) == "sad"
    assert seconds["angry"] < seconds["neutral"] < seconds["sad"]


def test_classes_can_be_learnt_but_overlap(corpus, features):
    _, utterances = corpus
    truth = [utterance.emotion for utterance in utterances]
    speakers = [utterance.speaker for utterance in utterances]
    model = make_pipeline(StandardScaler(), SVC(C=1.0))
    predicted = cross_val_predict(model, features, truth, groups=speakers, cv=LeaveOneGroupOut())
    assert 0.45 < balanced_accuracy_score(truth, predicted) < 0.95


@pytest.mark.parametrize("f0", [110.0, 220.0])
def test_the_voice_has_the_pitch_it_is_given(f0):
    sound = speak(["ma", "na", "la"], Delivery(**{**vars(PLAIN), "f0": f0}), np.random.default_rng(0))
    assert abs(np.median(measured_f0(sound)) / f0 - 1) < 0.03


@pytest.mark.parametrize("syllable, formant", [("la", 730), ("le", 530), ("li", 270)])
@pytest.mark.parametrize("tract", [1.0, 1.2])
def test_the_first_formant_is_the_strongest_resonance(syllable, formant, tract):
    """Of a hoarse voice (noise for a source) the spectrum's top lies at F1, and moves with the vocal tract."""
    delivery = Delivery(**{**vars(PLAIN), "breath": 100.0, "tract": tract, "rate": 1.0, "open_quotient": 0.9})
    sound = speak([syllable], delivery, np.random.default_rng(0))[7000:20000]
    power = np.mean(np.abs(np.fft.rfft(frames_of(sound) * np.hanning(640), 2048)) ** 2, axis=0)
    assert abs(np.fft.rfftfreq(2048, 1 / 16000)[power.argmax()] - tract * formant) < 60


def test_sentences_are_the_same_for_all(corpus):
    texts = {utterance.text for utterance in corpus[1]}
    assert texts == {" ".join(draw_sentence(index, 0)) for index in range(4)}


def test_a_finished_corpus_is_reused(corpus, monkeypatch):
    root, utterances = corpus
    monkeypatch.setattr(synthetic, "synthesize", None)
    assert generate(root, **SIZES) == utterances
    assert parse(root) == utterances


def test_parse_generates_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(generate.__kwdefaults__, "speakers", 2)
    monkeypatch.setitem(generate.__kwdefaults__, "sentences", 1)
    calls: list[tuple[int, int]] = []
    utterances = parse(tmp_path / "deep" / "new", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 16) for done in range(1, 17)]
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert [u.id for u in parse(tmp_path / "link")] == [u.id for u in utterances]


def refusal(call, *arguments, **keywords) -> str:
    with pytest.raises(GemoclapError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_settings_are_refused(corpus):
    root, _ = corpus
    message = refusal(generate, root, **{**SIZES, "takes": 3})
    assert "takes 1, not 3" in message and str(root) in message


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    (foreign / "settings.json").write_text(json.dumps({"corpus": "mine"}))
    for call in (generate, parse):
        assert "something other" in refusal(call, foreign)
        assert "something other" in refusal(call, foreign / "thesis.txt")
    assert sorted(path.name for path in foreign.iterdir()) == ["settings.json", "thesis.txt"]
    assert list(tmp_path.iterdir()) == [foreign]


def test_an_interrupted_generation_leaves_nothing(tmp_path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "corpus", **SIZES, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_lost_clip_is_named(tmp_path):
    utterances = generate(tmp_path / "corpus", speakers=1, sentences=1, takes=1)
    (tmp_path / "corpus" / "wav" / f"{utterances[1].id}.wav").unlink()
    assert utterances[1].id in refusal(parse, tmp_path / "corpus")


@pytest.mark.parametrize("setting", [{"speakers": 0}, {"takes": -1}, {"seed": -1}])
def test_senseless_settings_are_refused(tmp_path, setting):
    assert next(iter(setting)) in refusal(generate, tmp_path / "corpus", **setting)
    assert not (tmp_path / "corpus").exists()
