"""What a config.json says of a model is what the loaded model can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import save_speech_encoder

from gemoclap import Predictor
from gemoclap.errors import GemoclapError
from gemoclap.heads.classifier import SpeechClassifier, SpeechClassifierConfig
from gemoclap.inference.abilities import PLAIN_HEAD, Abilities, abilities_of
from gemoclap.inference.model_folder import EMBEDDED_MODELS, model_source
from gemoclap.labels import Vocabulary
from gemoclap.models import predicts_gender

CLASSES = Vocabulary("own", ("angry", "happy", "sad"))


def check(folder: str) -> Abilities:
    """Compare with the model itself."""
    found, model = abilities_of(folder), Predictor.from_pretrained(folder, device="cpu").model
    is_plain = isinstance(model, SpeechClassifier)
    assert found == Abilities(
        model.config.audio_settings.max_seconds,
        predicts_gender(model),
        model.standardizer is not None,
        model.config.emotions.emotions if is_plain else None,
    )
    return found


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_the_models_of_the_package(name: str) -> None:
    assert check(model_source(name)).is_adaptable


def test_models_that_were_trained(small_model: Path, frozen_model: Path) -> None:
    assert not check(str(small_model)).is_adaptable and check(str(frozen_model)).is_adaptable


@pytest.mark.parametrize("with_gender", [False, True])
def test_a_plain_head(with_gender: bool, tmp_path: Path) -> None:
    encoder = save_speech_encoder(tmp_path / "encoder", "hubert")
    model = SpeechClassifier.from_audio_pretrained(str(encoder), CLASSES, gender_head=with_gender)
    model.save_pretrained(tmp_path / "model")
    found = check(str(tmp_path / "model"))
    assert (found.predicts_gender, found.classes) == (with_gender, CLASSES.emotions)
    assert SpeechClassifierConfig.model_type == PLAIN_HEAD


def test_the_errors_are_those_of_the_model(small_model: Path) -> None:
    can, predictor = abilities_of(str(small_model)), Predictor.from_pretrained(small_model, device="cpu")
    assert can is not None
    for early, late in (
        (can.check_adaptable, predictor.check_adaptable),
        (can.check_gender, lambda: setattr(predictor, "predict_gender", True)),
    ):
        with pytest.raises(GemoclapError) as first:
            early()
        with pytest.raises(GemoclapError) as second:
            late()
        assert (str(first.value), first.value.for_clients) == (str(second.value), second.value.for_clients)


@pytest.mark.parametrize(
    "changes",
    [
        {"preparation": {"seconds": 3}},
        {"preparation": {"max_seconds": "long"}},
        {"vocabulary": None},
        {"vocabulary": [3]},
    ],
)
def test_what_only_loading_can_explain_is_left_to_it(changes: dict, small_model: Path, tmp_path: Path) -> None:
    config = json.loads((small_model / "config.json").read_text()) | {"model_type": PLAIN_HEAD}
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    assert abilities_of(str(tmp_path)) is None
    (tmp_path / "config.json").write_text("{")
    assert abilities_of(str(tmp_path)) is None and abilities_of("microsoft/wavlm-large") is None
