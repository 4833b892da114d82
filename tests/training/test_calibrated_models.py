"""A fitted temperature: kept with the model, used by every way to predict, and of no influence on anything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sound
import torch
from tiny import save_text_encoder

from gemoclap import Predictor
from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.audio_store import AudioStore
from gemoclap.errors import GemoclapError
from gemoclap.heads.classifier import SpeechClassifier
from gemoclap.labels import get_vocabulary
from gemoclap.metrics.calibration import apply_temperature, class_numbers, fit_temperature
from gemoclap.models import EmotionModel
from gemoclap.training.calibration import calibrate
from gemoclap.training.evaluate import predict_table

AUDIO = AudioSettings(max_seconds=0.8)
VOCABULARY = get_vocabulary("iemocap4")
SETTINGS = ModelSettings(audio_options={"n_mels": 16, "stem_channels": 4, "hidden_size": 12}, projection_dim=8)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("clips")
    files = [str(sound.write(folder / f"{n}.wav", sound.noise(0.3 + 0.05 * n, seed=n))) for n in range(8)]
    return [
        Utterance(f"u{n}", path, emotion=VOCABULARY.emotions[n % 4], speaker=f"s{n % 2}")
        for n, path in enumerate(files)
    ]


def build(kind: str, text: Path) -> EmotionModel:
    torch.manual_seed(0)
    if kind == "prompts":
        settings = replace(SETTINGS, initial_temperature=30.0)
        return GEmoClapModel.from_audio_text_pretrained("compact", str(text), VOCABULARY, settings, audio=AUDIO)
    model = SpeechClassifier.from_audio_pretrained("compact", VOCABULARY, SETTINGS, audio=AUDIO)
    with torch.no_grad():
        for weights in model.emotion_head.parameters():
            weights.mul_(20)
    return model


@pytest.fixture(params=["prompts", "plain"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> EmotionModel:
    return build(request.param, save_text_encoder(tmp_path / "text"))


def test_the_temperature_is_that_of_the_development_speakers_and_comes_with_the_model(
    model: EmotionModel, utterances: list[Utterance], tmp_path: Path
) -> None:
    before = predict_table(model, utterances, AudioStore(AUDIO))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    calibrate(model, utterances, AudioStore(AUDIO))
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    temperature = fit_temperature(before.probabilities, class_numbers(before.truth, before.classes))
    assert model.config.calibration == {
        "temperature": pytest.approx(temperature), "fitted_on": "the development speakers", "utterances": 8,
    }  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    predictor = Predictor.from_pretrained(tmp_path / "model", device="cpu")
    assert abs(predictor.model.config.softmax_temperature - 1) > 0.1
    expected = apply_temperature(before.probabilities, temperature)
    for row, probabilities, emotion in zip(utterances, expected, before.prediction, strict=True):
        found = predictor(row.path)
        assert list(found.probabilities.values()) == pytest.approx(probabilities.tolist(), abs=1e-5)
        assert found.emotion == emotion and found.confidence == pytest.approx(probabilities.max(), abs=1e-5)
    after = predict_table(predictor.model, utterances, AudioStore(AUDIO))
    np.testing.assert_allclose(after.probabilities, expected, atol=1e-5)


def test_without_development_speakers_none_is_fitted(model: EmotionModel) -> None:
    calibrate(model, [], AudioStore(AUDIO))
    assert model.config.calibration is None and model.config.softmax_temperature == 1


def test_words_for_emotions_that_were_not_trained_have_no_temperature(
    utterances: list[Utterance], tmp_path: Path
) -> None:
    model = build("prompts", save_text_encoder(tmp_path / "text"))
    known = (("sad", "happy"), ("sad", "joyful"), ("Sadness", "delighted"))
    plain = {labels: Predictor(model)(utterances[0].path, labels) for labels in (("bored", "sad"), *known)}
    model.config.calibration = {"temperature": 3.0, "fitted_on": "x", "utterances": 1}
    calibrated = {labels: Predictor(model)(utterances[0].path, labels) for labels in plain}
    assert calibrated["bored", "sad"].probabilities == plain["bored", "sad"].probabilities
    for labels in known:
        found, before = (list(one[labels].probabilities.values()) for one in (calibrated, plain))
        assert found == pytest.approx(apply_temperature(np.array([before]), 3.0)[0].tolist(), abs=1e-6)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "warm", True, None])
def test_a_temperature_that_is_none_is_refused(value: object, utterances: list[Utterance], tmp_path: Path) -> None:
    for kind in ("prompts", "plain"):
        model = build(kind, save_text_encoder(tmp_path / kind))
        model.config.calibration = {"temperature": value}
        with pytest.raises(GemoclapError, match="calibration.temperature is .*, not a positive number"):
            Predictor(model)(utterances[0].path)
