"""Plain heads on a speech encoder: outputs against numpy, saving and loading, and the whole way through the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SMALL, complaint, run
from tiny import save_speech_encoder
from transformers import AutoConfig, AutoModel

from gemoclap import Predictor
from gemoclap.config import TITLES, ModelSettings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.encoders.pooling import POOLINGS
from gemoclap.errors import GemoclapError
from gemoclap.heads.classifier import HeadClassifier, SpeechClassifier, SpeechClassifierConfig
from gemoclap.labels import Vocabulary
from gemoclap.models import classifier_of, load_emotion_model
from gemoclap.predictions import read_predictions

CLASSES = Vocabulary("three", ("angry", "happy", "sad"))
WAVEFORMS = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([4000, 2500])


def model_of(head: str, folder: Path | None = None, **options: object) -> SpeechClassifier:
    torch.manual_seed(0)
    settings = ModelSettings(pooling="mean")
    name = str(folder) if folder else "mockingjay"
    if folder is None:
        small = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        settings.audio_options = small
    return SpeechClassifier.from_audio_pretrained(name, CLASSES, settings, head=head, **options).eval()  # type: ignore[arg-type]


def features(model: SpeechClassifier) -> np.ndarray:
    with torch.no_grad():
        return POOLINGS["mean"](*model.audio_encoder(WAVEFORMS, LENGTHS)).double().numpy()


def test_a_linear_head_gives_logits_and_their_softmax() -> None:
    model = model_of("linear")
    weight, bias = (tensor.detach().double().numpy() for tensor in (model.emotion_head.weight, model.emotion_head.bias))
    logits = features(model) @ weight.T + bias
    np.testing.assert_allclose(model(WAVEFORMS, LENGTHS)["logits"].detach().numpy(), logits, atol=1e-5)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = HeadClassifier(model)(WAVEFORMS, LENGTHS).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_a_projection_under_a_plain_head(head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    settings = ModelSettings(
        pooling="mean",
        project_plain_heads=True,
        projection_dim=5,
        audio_options={"hidden_size": 12, "num_hidden_layers": 1},
    )
    model = SpeechClassifier.from_audio_pretrained("compact", CLASSES, settings, head=head, gender_head=True).eval()  # type: ignore[arg-type]
    weights = {name: one.detach().double().numpy() for name, one in model.named_parameters() if "encoder" not in name}
    inner = np.maximum(features(model) @ weights["projection.1.weight"].T + weights["projection.1.bias"], 0)
    projected = inner @ weights["projection.3.weight"].T + weights["projection.3.bias"]
    outputs = model(WAVEFORMS, LENGTHS)
    genders = projected @ weights["gender_head.weight"].T + weights["gender_head.bias"]
    np.testing.assert_allclose(outputs["gender_logits"].detach().numpy(), genders, atol=1e-5)
    if head == "linear":
        logits = projected @ weights["emotion_head.weight"].T + weights["emotion_head.bias"]
        np.testing.assert_allclose(outputs["logits"].detach().numpy(), logits, atol=1e-5)
    expected = HeadClassifier(model)(WAVEFORMS, LENGTHS).detach()
    model.save_pretrained(tmp_path)
    again = SpeechClassifier.from_pretrained(tmp_path)
    torch.testing.assert_close(HeadClassifier(again)(WAVEFORMS, LENGTHS).detach(), expected)


def test_a_cosine_head_gives_cosines_and_the_softmax_of_their_scaled() -> None:
    model = model_of("cosine", scale=5.0)
    weight, rows = model.emotion_head.weight.detach().double().numpy(), features(model)
    cosines = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ (
        weight / np.linalg.norm(weight, axis=1, keepdims=True)
    ).T
    np.testing.assert_allclose(model(WAVEFORMS, LENGTHS)["cosines"].detach().numpy(), cosines, atol=1e-6)
    expected = np.exp(5 * cosines) / np.exp(5 * cosines).sum(1, keepdims=True)
    classifier = HeadClassifier(model)
    np.testing.assert_allclose(classifier(WAVEFORMS, LENGTHS).detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(classifier.embed(WAVEFORMS, LENGTHS).detach().norm(dim=1).numpy(), 1.0, atol=1e-6)


def test_a_gender_head_stands_beside() -> None:
    outputs = model_of("linear", gender_head=True)(WAVEFORMS, LENGTHS)
    assert outputs["gender_logits"].shape == (2, 2) and outputs["logits"].shape == (2, 3)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_round_trip(tmp_path: Path, head: str) -> None:
    encoder = save_speech_encoder(tmp_path / "encoder", "hubert")
    model = model_of(head, encoder, scale=7.0, method="ce")
    model.save_pretrained(tmp_path / "model")
    loaded = load_emotion_model(tmp_path / "model")
    assert isinstance(loaded, SpeechClassifier) and loaded.config.scale == 7.0
    assert loaded.config.id2label == {0: "angry", 1: "happy", 2: "sad"} and loaded.config.emotions == CLASSES
    expected = classifier_of(model)(WAVEFORMS, LENGTHS)
    assert torch.equal(classifier_of(loaded)(WAVEFORMS, LENGTHS), expected)
    assert isinstance(AutoConfig.from_pretrained(tmp_path / "model"), SpeechClassifierConfig)
    assert isinstance(AutoModel.from_pretrained(tmp_path / "model"), SpeechClassifier)
    assert json.loads((tmp_path / "model" / "preprocessor_config.json").read_text())["sampling_rate"] == 16000


def test_what_is_no_such_model_is_refused(tmp_path: Path) -> None:
    encoder = save_speech_encoder(tmp_path / "encoder", "hubert")
    with pytest.raises(GemoclapError, match="holds a hubert model"):
        load_emotion_model(encoder)
    with pytest.raises(GemoclapError) as caught:
        load_emotion_model(tmp_path / "nothing")
    assert "\n" not in str(caught.value)


def test_other_names_of_the_classes_are_these() -> None:
    """They name the answers as they were given; two names of one class would have to share its probability."""
    model = model_of("linear")
    found = classifier_of(model, ["Sadness", "hap"])
    assert found.labels == ("Sadness", "hap")
    assert torch.equal(found(WAVEFORMS, LENGTHS), classifier_of(model, ["sad", "happy"])(WAVEFORMS, LENGTHS))
    for labels in (["Joy", "happy"], ["sad", "Sadness", "angry"]):
        with pytest.raises(GemoclapError, match="are the same class, .*; give one of them"):
            classifier_of(model, labels)


def test_other_words_are_refused() -> None:
    model = model_of("linear")
    assert classifier_of(model, ["angry", "happy", "sad"]).labels == CLASSES.emotions
    with pytest.raises(GemoclapError, match="only has the classes angry, happy, sad, not"):
        classifier_of(model, ["bored", "calm"])


@pytest.mark.parametrize("method", ["am_softmax", "multi_task"])
def test_the_whole_way_with_a_plain_head(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture, method: str
) -> None:
    few = [*SMALL, "--data.manifest", small_manifest]
    assert run("crossval", *few, "--methods", f"{method},emo_clap", "-o", tmp_path / "run") == 0
    page = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert f"| {TITLES[method]} |" in page and "Emo-CLAP" in page
    folder = tmp_path / "run" / method / "fold_1"
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    assert "plain head" in card and "contrastive" not in card
    table = read_predictions(folder / "predictions.csv")
    predictor = Predictor.from_pretrained(folder / "model")
    rows = {row.id: row for row in read_manifest(small_manifest)}
    first = predictor(rows[table.ids[0]])
    assert first.emotion == table.prediction[0]
    assert run("evaluate", small_manifest, "--model", folder / "model") == 0
    assert "not speaker-independent" in capsys.readouterr().out  # it heard half of the voices
    clip = str(rows[table.ids[0]].path)
    assert "only has the classes" in complaint(
        capsys, "predict", clip, "--model", folder / "model", "--labels", "bored,calm"
    )


def test_a_frozen_encoder_is_computed_once_under_a_plain_head(small_manifest: Path, tmp_path: Path) -> None:
    """Scores with the pooled layers kept are those without."""
    few = [*SMALL, "--data.manifest", small_manifest, "--methods", "am_softmax", "--model.freeze", "all"]
    frozen = [*few, "--model.pooling", "mean", "--model.layers", "weighted", "--model.augment", "false"]
    assert run("crossval", *frozen, "-o", tmp_path / "kept") == 0
    assert run("crossval", *frozen, "--cache.layers", "never", "-o", tmp_path / "anew") == 0
    for fold in ("fold_1", "fold_2"):
        kept, anew = (
            read_predictions(tmp_path / name / "am_softmax" / fold / "predictions.csv") for name in ("kept", "anew")
        )
        np.testing.assert_allclose(kept.probabilities, anew.probabilities, atol=1e-4)
