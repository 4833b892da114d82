"""Clips longer than a model uses: parts, their mean, and no difference between sound in memory and sound in a file."""

from __future__ import annotations

import weakref
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from sound import noise, tone, write
from speaking import LoudNet
from torch import Tensor

from gemoclap.audio import Recording, load_audio, part_edges, recording, resample_blocks
from gemoclap.config import AudioSettings
from gemoclap.errors import GemoclapError
from gemoclap.inference import clips, clipwise, speech
from gemoclap.inference.clips import ClipReader
from gemoclap.inference.prediction import Prediction
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.silero import CONTEXT


class Waveform(np.ndarray):
    """An array that can be counted while it is alive."""

    __hash__ = object.__hash__


SETTINGS = AudioSettings(max_seconds=1.0, trim_silence_db=35.0)


@pytest.fixture
def short_sighted(small_model: Path) -> Predictor:
    """A predictor whose model uses one second of a clip."""
    found = Predictor.from_pretrained(small_model, device="cpu")
    found.model.config.preparation, found.model.config.clip_seconds = asdict(SETTINGS), None
    assert found.model.config.audio_settings == SETTINGS
    return found


def long_clip(seconds: float, seed: int = 0) -> np.ndarray:
    """A voice-like sound whose second half differs from its first."""
    first = tone(300, seconds / 2) + noise(seconds / 2, rms=0.02, seed=seed)
    return np.concatenate([first, noise(seconds - seconds / 2, rms=0.05, seed=seed + 1)]).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.0001, 0.5, 1.0, 1.0001, 2.0, 7.3])
def test_parts_are_all_of_the_clip_and_as_few_as_can_be(seconds: float) -> None:
    waveform = noise(seconds) if seconds > 0.001 else np.array([0.5])
    edges = part_edges(Recording(waveform), AudioSettings(max_seconds=1.0, trim_silence_db=None), 60.0)
    lengths = np.diff(edges)
    assert (edges[0], edges[-1]) == (0, len(waveform))
    assert len(lengths) == np.ceil(len(waveform) / 16000)
    assert lengths.max() <= 16000 and np.ptp(lengths) <= 1


def test_the_answer_for_a_long_clip_is_the_mean_over_its_parts(short_sighted: Predictor) -> None:
    waveform = long_clip(3.7)
    found = short_sighted(waveform)
    parts = [short_sighted(part) for part in np.array_split(waveform, 4)]
    for label in short_sighted.labels:
        assert found.probabilities[label] == pytest.approx(
            np.mean([part.probabilities[label] for part in parts]), abs=1e-6
        )
    mean = np.mean([part.embedding for part in parts], axis=0)
    np.testing.assert_allclose(found.embedding, mean / np.linalg.norm(mean), atol=1e-5)
    assert found.parts == 4 and found.seconds == pytest.approx(3.7)
    assert parts[0].parts == 1 and found.remarks.clip is parts[0].remarks.clip is None


def test_a_clip_as_long_as_the_model_uses_is_one_part(short_sighted: Predictor) -> None:
    waveform = noise(1.0).astype(np.float32)
    assert short_sighted(waveform).parts == 1
    assert short_sighted(np.concatenate([np.zeros(30000, np.float32), waveform, np.zeros(9000, np.float32)])).parts == 2
    quiet = short_sighted(np.concatenate([np.zeros(30000, np.float32), waveform[:12000], np.zeros(9000, np.float32)]))
    assert quiet.parts == 1 and quiet.seconds == pytest.approx(0.85, abs=0.05)  # 50 ms are kept at each end


def test_sound_in_memory_and_sound_that_is_read_again_give_the_same(
    short_sighted: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "long.wav", long_clip(6.0), subtype="FLOAT")
    others = [write(tmp_path / f"{number}.wav", noise(0.4, seed=number)) for number in range(3)]
    given = [others[0], path, others[1], load_audio(path), others[2]]
    expected = list(short_sighted.predict_many(given))
    for held, seconds, batch_size in ((0.0, 0.5, 16), (100.0, 120.0, 16), (2.0, 0.5, 1)):
        monkeypatch.setattr(clips, "HELD_SECONDS", held)
        monkeypatch.setattr(recording, "HELD_SECONDS", seconds)
        for found, wanted in zip(short_sighted.predict_many(given, batch_size=batch_size), expected, strict=True):
            assert isinstance(found, Prediction) and isinstance(wanted, Prediction)
            assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
            assert (found.parts, found.remarks.clip) == (wanted.parts, wanted.remarks.clip)


def test_no_more_than_a_part_of_a_long_recording_is_in_memory(
    short_sighted: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "HELD_SECONDS", 1.0)
    monkeypatch.setattr(clips, "HELD_SECONDS", 2.0)
    path = write(tmp_path / "long.wav", noise(30.0))
    clip = ClipReader(SETTINGS).read(path)
    assert clip.held is None
    assert [len(part.waveform) for part in clip] == [16000] * 30
    lengths: list[tuple[int, ...]] = []
    parts: weakref.WeakSet[Waveform] = weakref.WeakSet()
    most_alive = 0
    read_from = clips.from_int16

    def remembered(*arguments: object) -> np.ndarray:
        waveform = read_from(*arguments).view(Waveform)
        parts.add(waveform)
        return waveform

    monkeypatch.setattr(clips, "from_int16", remembered)
    kind = type(short_sighted.model)
    whole = kind.get_audio_features

    def watched(self: object, waveforms: torch.Tensor, *arguments: object) -> torch.Tensor:
        nonlocal most_alive
        lengths.append(tuple(waveforms.shape))
        most_alive = max(most_alive, len(parts))
        return whole(self, waveforms, *arguments)

    monkeypatch.setattr(kind, "get_audio_features", watched)
    assert short_sighted(path).parts == 30
    assert 1 < most_alive <= 12  # those of a batch of ten, and the next
    assert all(rows * width <= 10 * 16000 for rows, width in lengths)  # a CPU's batch


def test_a_file_that_breaks_while_it_is_read_again_costs_one_clip(
    short_sighted: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "HELD_SECONDS", 1.0)
    monkeypatch.setattr(clips, "HELD_SECONDS", 2.0)
    path, other = write(tmp_path / "long.wav", noise(6.0)), write(tmp_path / "other.wav", noise(0.5))
    read = ClipReader.read

    def then_gone(self: ClipReader, audio: object) -> object:
        clip = read(self, audio)
        if audio == path:
            path.unlink()
        return clip

    monkeypatch.setattr(ClipReader, "read", then_gone)
    broken, good = short_sighted.predict_many([path, other])
    assert isinstance(broken, GemoclapError) and "long.wav" in str(broken) and isinstance(good, Prediction)


@pytest.fixture
def hears_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loud sound is speech."""
    monkeypatch.setattr(speech, "load_speech_net", LoudNet)


@pytest.mark.usefixtures("hears_loud")
def test_parts_in_which_nobody_speaks_do_not_count(short_sighted: Predictor) -> None:
    loud, quiet = noise(1.0, rms=0.2).astype(np.float32), noise(1.0, rms=0.015, seed=1).astype(np.float32)
    short_sighted.check_speech = True
    mixed = short_sighted(np.concatenate([quiet, loud, quiet]))
    assert mixed.has_speech and mixed.probabilities == pytest.approx(short_sighted(loud).probabilities, abs=1e-6)
    assert (mixed.parts, mixed.seconds, mixed.remarks.clip) == (1, 1.0, None)
    nobody = short_sighted(np.concatenate([quiet, quiet]))
    assert not nobody.has_speech and (nobody.parts, nobody.seconds, nobody.remark) == (2, 2.0, "no speech was found")
    short_sighted.check_speech = False
    everything = short_sighted(np.concatenate([quiet, loud, quiet]))
    assert everything.probabilities != pytest.approx(mixed.probabilities, abs=1e-6)


@pytest.mark.usefixtures("hears_loud")
def test_one_answer_for_a_long_recording_is_remarked(short_sighted: Predictor) -> None:
    loud = noise(16.0, rms=0.2).astype(np.float32)
    clip = np.concatenate([loud, np.full(5 * 16000, 1e-3, np.float32), loud[:16000]])
    end = "a timeline shows the emotions one by one"
    assert short_sighted(clip).remarks.clip == f"one answer for 22 s of sound, the mean of 22 parts; {end}"
    short_sighted.check_speech = True
    assert short_sighted(clip).remarks.clip == f"one answer for 17 s of speech, the mean of 17 parts; {end}"
    assert short_sighted(loud[: 14 * 16000]).remarks.clip is None


def spoken(seconds: float, level: float) -> np.ndarray:
    return noise(seconds, rms=level, seed=round(100 * seconds)).astype(np.float32)


@pytest.mark.usefixtures("hears_loud")
@pytest.mark.parametrize("max_seconds", [20.0, None])
def test_long_pauses_are_left_out(small_model: Path, tmp_path: Path, max_seconds: float | None) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    predictor.model.config.preparation = asdict(AudioSettings(max_seconds=max_seconds, trim_silence_db=None))
    predictor.model.config.clip_seconds = None
    frame = 512 / 16000  # speech begins and ends at frames of the network
    pause, hush = (np.full(round(seconds * 16000), 1e-3, np.float32) for seconds in (40 * frame, 10 * frame))
    first, second, third = spoken(60 * frame, 0.2), spoken(30 * frame, 0.1), spoken(20 * frame, 0.3)
    clip = np.concatenate([hush, first, pause, second, hush, third, pause])
    write(tmp_path / "clip.wav", clip, subtype="FLOAT")
    whole = predictor(clip)
    assert (whole.parts, whole.remarks.clip) == (1, None)
    predictor.check_speech = True
    found = predictor(clip)
    pad = round(speech.PAD_SECONDS * 16000)
    # Shorter pauses stay, at the head and within; behind speech that ends there are 30 ms more.
    parts = [clip[: 70 * 512 + pad], clip[110 * 512 - pad : 170 * 512 + pad]]
    samples = np.array([len(part) for part in parts])
    predictor.check_speech = False
    each = [predictor(part) for part in parts]
    for label in predictor.labels:
        mean = np.average([one.probabilities[label] for one in each], weights=samples)
        assert found.probabilities[label] == pytest.approx(mean, abs=1e-6)
    mean = np.average([one.embedding for one in each], axis=0, weights=samples)
    np.testing.assert_allclose(found.embedding, mean / np.linalg.norm(mean), atol=1e-5)
    assert found.parts == 2 and found.seconds == pytest.approx(samples.sum() / 16000)
    assert found.remarks.clip is None
    predictor.check_speech = True
    assert predictor(tmp_path / "clip.wav").probabilities == pytest.approx(found.probabilities, abs=1e-6)


@pytest.mark.usefixtures("hears_loud")
@pytest.mark.parametrize("speech_first", [50, 60, 66])
def test_a_pause_across_the_edge_of_two_pieces_is_left_out(small_model: Path, speech_first: int) -> None:
    """Silence of less than a second at the end of one piece may go on in the next."""
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    frame = 512 / 16000
    predictor.model.config.preparation = asdict(AudioSettings(max_seconds=80 * frame, trim_silence_db=None))
    predictor.model.config.clip_seconds = None
    first, second = spoken(speech_first * frame, 0.2), spoken((120 - speech_first) * frame, 0.1)
    clip = np.concatenate([first, np.full(40 * 512, 1e-3, np.float32), second])  # 160 frames: cut after 80
    predictor.check_speech = True
    (parts,) = predictor.predict_parts([clip])
    assert not isinstance(parts, GemoclapError)
    speech_seconds = sum(part.end - part.start for part in parts)
    assert speech_seconds == pytest.approx(120 * frame, abs=4 * speech.PAD_SECONDS)
    assert parts[0].start == 0 and parts[-1].end == pytest.approx(160 * frame)


@pytest.mark.usefixtures("hears_loud")
def test_a_short_word_between_pauses_counts(small_model: Path) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    predictor.model.config.preparation = asdict(AudioSettings(max_seconds=None, trim_silence_db=None))
    predictor.model.config.clip_seconds = None
    hush = np.full(40 * 512, 1e-3, np.float32)
    predictor.check_speech = True
    (parts,) = predictor.predict_parts([np.concatenate([spoken(1.92, 0.2), hush, spoken(0.16, 0.3), hush])])
    assert not isinstance(parts, GemoclapError) and len(parts) == 2


class UnsureNet:
    """Gives quiet sound a low probability of speech."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, frames: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        level = frames[:, CONTEXT:].square().mean(1).sqrt()
        return torch.where(level > 0.1, 0.9, torch.where(level > 0.005, self.probability, 0.01)), hidden, cell


@pytest.mark.parametrize(("probability", "expected"), [(0.25, 2), (0.1, 1)])
def test_sound_that_may_be_speech_is_no_pause(
    small_model: Path, monkeypatch: pytest.MonkeyPatch, probability: float, expected: int
) -> None:
    """The detector is unsure of sobbed and of shouted speech."""
    monkeypatch.setattr(speech, "load_speech_net", lambda: UnsureNet(probability))
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    predictor.model.config.preparation = asdict(AudioSettings(max_seconds=None, trim_silence_db=None))
    predictor.model.config.clip_seconds = None
    predictor.check_speech = True
    hush = np.full(40 * 512, 1e-3, np.float32)
    (parts,) = predictor.predict_parts([np.concatenate([spoken(1.92, 0.2), hush, spoken(1.92, 0.02), hush])])
    assert not isinstance(parts, GemoclapError) and len(parts) == expected
    # Alone, such sound is no speech if no frame is likelier than that.
    (alone,) = predictor.predict_many([np.concatenate([hush, spoken(1.92, 0.02)])])
    assert not isinstance(alone, GemoclapError) and not alone.has_speech


@pytest.mark.usefixtures("hears_loud")
@pytest.mark.parametrize("lengths", [[60], [10, 30, 60], [31, 12, 31, 12]])
def test_a_clip_without_long_pauses_is_the_clip_of_training(small_model: Path, lengths: list[int]) -> None:
    predictor = Predictor.from_pretrained(small_model, device="cpu")
    predictor.model.config.clip_seconds = None
    clip = np.concatenate([spoken(one * 0.032, (0.01, 0.2)[place % 2]) for place, one in enumerate([25, *lengths, 25])])
    expected = predictor(clip)
    predictor.check_speech = True
    assert predictor(clip).probabilities == expected.probabilities


def test_every_part_counts_in_adaptation() -> None:
    short_sighted = Predictor.from_pretrained("default", device="cpu")
    short_sighted.model.config.clip_seconds = 1.0
    audios = [long_clip(2.4), noise(0.7).astype(np.float32)]
    found, used = short_sighted.predict_adapted(audios, ["a", "a"])
    parts = [*np.array_split(audios[0], 3), audios[1]]
    each, expected = short_sighted.predict_adapted(parts, ["a"] * 4)
    assert used["a"].count == expected["a"].count == 4
    np.testing.assert_allclose(used["a"].mean, expected["a"].mean, atol=1e-5)
    of_parts = [one.probabilities for one in each[:3] if isinstance(one, Prediction)]
    assert isinstance(found[0], Prediction) and len(of_parts) == 3
    for label in short_sighted.labels:
        assert found[0].probabilities[label] == pytest.approx(np.mean([one[label] for one in of_parts]), abs=1e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_clips_as_the_datasets_library_has_them(short_sighted: Predictor, rate: int) -> None:
    waveform = tone(300, 0.8, rate) + noise(0.8, rate, rms=0.02)
    resampled = np.concatenate([*resample_blocks([waveform.astype(np.float32)], rate)])
    found = short_sighted({"array": waveform, "sampling_rate": rate, "path": "a.wav"})
    assert found.probabilities == short_sighted(resampled).probabilities


@pytest.mark.parametrize(
    ("clip", "complaint"),
    [
        ({"array": np.zeros(10)}, 'needs "array" and "sampling_rate"'),
        ({"array": np.zeros(10), "sampling_rate": "16000"}, "Hz, not '16000'"),
        ({"sampling_rate": 8000, "array": None}, 'needs "array"'),
        ({}, "not nothing"),
        ({"array": np.zeros(10), "sampling_rate": 0}, "sampling_rate must be"),
        ({"array": np.zeros((2, 10)), "sampling_rate": 8000}, "one-dimensional"),
    ],
)
def test_dicts_that_are_no_clip(short_sighted: Predictor, clip: dict, complaint: str) -> None:
    with pytest.raises(GemoclapError) as raised:
        short_sighted(clip)
    assert complaint in str(raised.value)


def test_groups_that_are_sorted_together_are_bounded_by_seconds(
    short_sighted: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipwise, "GROUP_SECONDS", 1.0)
    audios = [noise(0.45, seed=seed).astype(np.float32) for seed in range(8)]
    groups = list(short_sighted._groups(audios, 100))
    assert [len(group) for group in groups] == [3, 3, 2]
    assert [len(group) for group in short_sighted._groups(audios, 2)] == [2, 2, 2, 2]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(size: int, short_sighted: Predictor) -> None:
    with pytest.raises(GemoclapError, match=f"batch_size must be 1 or more, not {size}"):
        list(short_sighted.predict_many([long_clip(1.0)], batch_size=size))
    with pytest.raises(GemoclapError, match="batch_size"):
        short_sighted.clip_features([long_clip(1.0)], size)
