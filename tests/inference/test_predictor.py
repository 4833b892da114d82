"""The predictor: one answer a clip however it is given, any labels, and errors that a person can mend."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import sound
import soxr
import torch
from tiny import save_speech_encoder, save_text_encoder

import gemoclap
from gemoclap import Prediction, Predictor
from gemoclap.audio import decoders, load_audio, prepare_clip
from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.errors import GemoclapError
from gemoclap.labels import get_vocabulary
from gemoclap.training.evaluate import predict_table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a model in it."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    options = {"n_mels": 16, "stem_channels": 4, "hidden_size": 12}
    settings = ModelSettings(audio_options=options, projection_dim=8, initial_temperature=50.0)
    text = str(save_text_encoder(tmp_path_factory.mktemp("text")))
    audio = AudioSettings(max_seconds=1.0, trim_silence_db=35.0)
    vocabulary = get_vocabulary("iemocap4")
    model = GEmoClapModel.from_audio_text_pretrained("compact", text, vocabulary, settings, audio=audio)
    model.save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor.from_pretrained(run / "model", device="cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of several lengths, one longer than the model keeps."""
    folder = tmp_path_factory.mktemp("clips")
    samples = [sound.noise(0.7, seed=1), sound.tone(300, 0.2), sound.noise(2.5, seed=2, rms=0.02), sound.tone(900, 0.5)]
    return [sound.write(folder / f"{number}.wav", clip) for number, clip in enumerate(samples)]


def same(one: Prediction, other: Prediction, tolerance: float = 1e-5) -> bool:
    assert one.emotion == other.emotion
    assert one.probabilities == pytest.approx(other.probabilities, abs=tolerance)
    np.testing.assert_allclose(one.embedding, other.embedding, atol=tolerance)
    return True


def error_of(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(GemoclapError) as raised:
        call(*arguments, **options)
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_what_is_said_of_a_clip(predictor: Predictor, clips: list[Path]) -> None:
    prediction = predictor(clips[0])
    assert predictor.labels == ("angry", "happy", "neutral", "sad") == tuple(prediction.probabilities)
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert prediction.emotion == max(prediction.probabilities, key=prediction.probabilities.__getitem__)
    assert prediction.confidence == prediction.probabilities[prediction.emotion] > 0.25
    assert prediction.embedding.shape == (8,) and prediction.embedding.dtype == np.float32
    assert np.linalg.norm(prediction.embedding) == pytest.approx(1, abs=1e-6)


def test_the_same_clip_twice_is_the_same(predictor: Predictor, run: Path, clips: list[Path]) -> None:
    first = predictor(clips[0])
    predictor(clips[1], labels=["bored", "tired"])
    for again in (predictor(clips[0]), Predictor.from_pretrained(run / "model", device="cpu")(clips[0])):
        assert again.probabilities == first.probabilities
        assert np.array_equal(again.embedding, first.embedding)


def test_file_array_and_batch_agree(predictor: Predictor, clips: list[Path]) -> None:
    waveforms = [load_audio(clip) for clip in clips]
    for batch_size in (1, 3, 16):
        mixed = [clip if number % 2 else waveforms[number] for number, clip in enumerate(clips)]
        together = list(predictor.predict_many(mixed, batch_size=batch_size))
        assert len(together) == len(clips)
        for clip, waveform, prediction in zip(clips, waveforms, together, strict=True):
            assert isinstance(prediction, Prediction)
            assert same(predictor(clip), prediction) and same(predictor(waveform), prediction)
            assert same(predictor(str(clip)), prediction)


def test_a_clip_is_trimmed_as_in_training(predictor: Predictor, clips: list[Path]) -> None:
    waveform = load_audio(clips[2])
    assert len(waveform) > 16000 == len(predictor.load(waveform))
    assert np.array_equal(predictor.load(waveform), prepare_clip(waveform, AudioSettings(1.0, 35.0)))
    loud = load_audio(clips[0])
    padded = np.concatenate([np.zeros(20000, np.float32), loud, np.zeros(20000, np.float32)])
    assert len(predictor.load(padded)) < len(loud) + 4000


def test_other_words_give_other_classes(predictor: Predictor, clips: list[Path]) -> None:
    words = ["bored", "very excited", "sad"]
    prediction = predictor(clips[0], labels=words)
    assert list(prediction.probabilities) == words
    trained = predictor(clips[0], labels=list(predictor.labels))
    assert same(trained, predictor(clips[0]))
    # A softmax over fewer classes keeps the odds of those that stay.
    few = predictor(clips[0], labels=["sad", "happy"]).probabilities
    odds = trained.probabilities["sad"] / trained.probabilities["happy"]
    assert few["sad"] / few["happy"] == pytest.approx(odds, rel=1e-4)


def test_pcm_and_double_samples_are_heard_as_float32(predictor: Predictor) -> None:
    waveform = np.round(sound.noise(0.5) * 32768).clip(-32768, 32767)
    expected = predictor((waveform / 32768).astype(np.float32))
    assert same(predictor(waveform.astype(np.int16)), expected)
    assert same(predictor((waveform * 65536).astype(np.int32)), expected)
    assert same(predictor(waveform / 32768), expected)


@pytest.mark.parametrize(
    ("suffix", "subtype", "sample_rate", "channels"),
    [
        (".wav", "PCM_16", 8000, 1),
        (".wav", "PCM_24", 48000, 2),
        (".wav", "FLOAT", 44100, 1),
        (".flac", None, 16000, 2),
        (".ogg", None, 16000, 1),
    ],
)
def test_files_of_any_rate_and_number_of_channels(
    predictor: Predictor, tmp_path: Path, suffix: str, subtype: str | None, sample_rate: int, channels: int
) -> None:
    clip = sound.tone(300, 0.6, sample_rate) + sound.tone(1700, 0.6, sample_rate, 0.2)
    path = sound.write(tmp_path / f"clip{suffix}", np.stack([clip] * channels, 1), sample_rate, subtype)
    at_16_khz = soxr.resample(clip, sample_rate, 16000).astype(np.float32)
    lossy = suffix == ".ogg"
    assert same(predictor(path), predictor(at_16_khz), tolerance=0.1 if lossy else 0.01)


def test_very_short_and_silent_clips_have_an_answer(predictor: Predictor) -> None:
    for waveform in (np.array([0.1]), np.full(100, 0.1), np.zeros(16000)):
        prediction = predictor(waveform)
        assert np.isfinite(list(prediction.probabilities.values())).all()


def test_clips_that_cannot_be_read_do_not_keep_the_others_from_it(
    predictor: Predictor, clips: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    audios = [text, clips[0], tmp_path / "missing.wav", clips[1], np.array([np.nan] * 400)]
    found = list(predictor.predict_many(audios, batch_size=2))
    assert [type(one) for one in found] == [GemoclapError, Prediction, GemoclapError, Prediction, GemoclapError]
    assert "text.wav" in str(found[0]) and "missing.wav" in str(found[2]) and "NaN" in str(found[4])
    assert same(found[1], predictor(clips[0])) and same(found[3], predictor(clips[1]))
    assert list(predictor.predict_many([])) == []


def test_whatever_a_decoder_raises_costs_one_clip(
    predictor: Predictor, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    read = decoders._Sequential.read

    def fail(self: decoders._Sequential, *arguments: Any, **options: Any) -> np.ndarray:
        if os.fsdecode(self.name) == str(clips[1]):
            raise ValueError("array is too big")
        return read(self, *arguments, **options)

    monkeypatch.setattr(decoders._Sequential, "read", fail)
    first, broken, pipe, last = predictor.predict_many([clips[0], clips[1], tmp_path / "pipe.wav", clips[2]])
    assert isinstance(first, Prediction) and isinstance(last, Prediction)
    assert str(broken).startswith(f"{clips[1]}: cannot be decoded") and "is a pipe" in str(pipe)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.array([0.1, np.nan] * 400), "NaN"),
        (np.array([0.1, np.inf] * 400), "infinite"),
        (np.zeros((2, 400)), "(2, 400)"),
        (np.zeros(0), "has no samples"),
        (np.array(0.5), "not ndarray"),
        (np.zeros(400, np.uint8), "uint8"),
        (np.full(400, 9000), "int64, whose full scale is not known"),
        (np.array([0.0, 9000.0] * 400), "a sample of 9000 where 1 is full scale"),
        (np.zeros(400, complex), "complex"),
        (np.array(["a", "b"]), "<U1"),
    ],
)
def test_arrays_that_are_no_waveform(predictor: Predictor, waveform: np.ndarray, message: str) -> None:
    assert message in error_of(predictor, waveform)


@pytest.mark.parametrize("audio", [None, 5, b"clip.wav", (16000, np.zeros(400)), open, {1, 2}])
def test_what_is_no_clip_at_all(predictor: Predictor, audio: object) -> None:
    assert "a clip must be the name of a file, a waveform" in error_of(predictor, audio)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_tensor_is_an_array(predictor: Predictor, kind: torch.dtype) -> None:
    """Also one that needs gradients, or whose numbers numpy does not have."""
    tensor = torch.from_numpy(sound.noise(0.5).astype(np.float32)).to(kind)
    expected = predictor(tensor.float().numpy()).probabilities
    assert predictor(tensor.requires_grad_()).probabilities == expected


def test_a_single_clip_or_a_table_is_not_a_list_of_clips(predictor: Predictor, clips: list[Path]) -> None:
    table = pandas.DataFrame({"path": [str(clips[0])]})
    for given in (
        str(clips[0]),
        clips[0],
        {"array": sound.noise(0.5), "sampling_rate": 16000},
        sound.noise(0.5),
        table,
    ):
        with pytest.raises(GemoclapError, match="give a list of clips"):
            next(predictor.predict_many(given))  # type: ignore[arg-type]
    for several in (table["path"], np.array([str(clips[0])]), np.stack([sound.noise(0.5)])):
        (answer,) = predictor.predict_many(several)
        assert not isinstance(answer, GemoclapError)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(GemoclapError, match="device 'cudaa' cannot be used"):
        Predictor.from_pretrained(device="cudaa")


def test_files_that_cannot_be_read(predictor: Predictor, clips: list[Path], tmp_path: Path) -> None:
    assert "no such audio file" in error_of(predictor, tmp_path / "missing.wav")
    assert "folder" in error_of(predictor, tmp_path)
    for name, content in (("empty.wav", b""), ("text.mp3", b"hello " * 100), ("cut.wav", clips[0].read_bytes()[:5000])):
        (tmp_path / name).write_bytes(content)
        assert name in error_of(predictor, tmp_path / name)


def test_labels_that_make_no_classes(predictor: Predictor, clips: list[Path]) -> None:
    predictor(clips[0], labels=["s", "a", "d"])
    for labels in (["sad"], [], ["sad", "sad"], "sad", ["sad", "Sad"], ["sad", " sad "]):
        assert "two or more different words" in error_of(predictor, clips[0], labels=labels)
    for word in ("", " ", None, 3, b"sad", ["sad"]):
        assert "labels must be words, not " in error_of(predictor, clips[0], labels=["angry", word])
    assert "has no letters" in error_of(predictor, clips[0], labels=["angry", "\N{CRYING FACE}"])
    assert type(predictor(clips[0], labels=np.array(["angry", "sad"])).emotion) is str  # type: ignore[arg-type]


def test_folders_without_a_model(run: Path, tmp_path: Path) -> None:
    load = Predictor.from_pretrained
    assert "no such folder" in error_of(load, tmp_path / "missing" / "model")
    assert "gemoclap train" in error_of(load, tmp_path)
    assert f"did you mean {run / 'model'}?" in error_of(load, run)
    assert "wav2vec2" in error_of(load, save_speech_encoder(tmp_path / "speech"))


def test_the_folder_of_a_cross_validation_names_a_model_in_it(tmp_path: Path) -> None:
    model = tmp_path / "emo_clap" / "fold_1" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    for folder in (tmp_path, tmp_path / "emo_clap", tmp_path / "emo_clap" / "fold_1"):
        assert f"did you mean {model}?" in error_of(Predictor.from_pretrained, folder)


def test_names_of_the_package() -> None:
    assert all(getattr(gemoclap, name).__name__ == name for name in gemoclap.__all__)
    assert gemoclap.GEmoClapModel is GEmoClapModel and gemoclap.GemoclapError is GemoclapError
    with pytest.raises(AttributeError, match="no_such_name"):
        gemoclap.no_such_name  # noqa: B018


def test_probabilities_that_are_no_numbers_are_an_error_that_names_the_clip(
    run: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.from_pretrained(run / "model", device="cpu")
    kind = type(predictor.model)
    features_of = kind.get_audio_features

    def overflow(self: Any, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        found = features_of(self, waveforms, lengths)
        found[lengths.argmin()] = float("nan")
        return found

    monkeypatch.setattr(kind, "get_audio_features", overflow)
    good, bad = predictor.predict_many(clips[:2])  # the second is the shorter one
    assert isinstance(good, Prediction) and str(bad).startswith(f"{clips[1]}: its probabilities are not numbers")
    rows = [Utterance(str(clip), str(clip), emotion="angry") for clip in clips[:2]]
    with pytest.raises(GemoclapError, match=rf"{clips[1]}: its probabilities are not numbers"):
        predict_table(predictor.model, rows, AudioStore(predictor.model.config.audio_settings))


def test_a_model_of_before_a_setting_was_there_predicts_alike(small_model: Path, tmp_path: Path) -> None:
    """An earlier version wrote neither where the encoder's weights are nor whether features are standardised."""
    older = shutil.copytree(small_model, tmp_path / "older")
    config = json.loads((older / "config.json").read_text())
    written = {name: config.pop(name) for name in ("audio_weights", "audio_standardize")}
    assert written == {"audio_weights": "saved", "audio_standardize": False}
    (older / "config.json").write_text(json.dumps(config))
    clip = sound.noise(0.5).astype(np.float32)
    found, expected = (Predictor.from_pretrained(folder)(clip) for folder in (older, small_model))
    assert found.probabilities == expected.probabilities
