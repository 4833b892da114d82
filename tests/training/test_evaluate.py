"""The table of predictions: which rows, in which order, and the same as clip by clip."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sound
import torch
from sklearn.metrics import accuracy_score, recall_score
from tiny import save_text_encoder

from gemoclap.clap.model import GEmoClapModel
from gemoclap.config import AudioSettings, ModelSettings
from gemoclap.corpora.manifest import Utterance
from gemoclap.corpora.speakers import row_columns
from gemoclap.data.audio_store import AudioStore
from gemoclap.errors import GemoclapError
from gemoclap.inference.predictor import Predictor
from gemoclap.labels import get_vocabulary
from gemoclap.models import classifier_of
from gemoclap.training.evaluate import headline_scores, predict_table, table_of, unknown_labels

AUDIO = AudioSettings(max_seconds=0.8, trim_silence_db=35.0)
EMOTIONS = ("sad", "excited", "angry", "neutral", None, "happy", "frustrated", "sad", "angry")
SECONDS = (0.5, 0.1, 0.9, 0.3, 0.2, 1.2, 0.4, 0.05, 0.7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> GEmoClapModel:
    torch.manual_seed(0)
    settings = ModelSettings(
        audio_options={"n_mels": 16, "stem_channels": 4, "hidden_size": 12}, projection_dim=8, initial_temperature=50.0
    )
    text = str(save_text_encoder(tmp_path_factory.mktemp("text")))
    return GEmoClapModel.from_audio_text_pretrained(
        "compact", text, get_vocabulary("iemocap4"), settings, audio=AUDIO, gender_head=True
    )


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Return clips of several lengths; one has no label and one a label that the model does not know."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number, (emotion, seconds) in enumerate(zip(EMOTIONS, SECONDS, strict=True)):
        path = sound.write(folder / f"{number}.wav", sound.noise(seconds, seed=number, rms=0.02 * (number + 1)))
        gender, speaker = ("female", "s1") if number % 2 else (None, None)
        rows.append(Utterance(f"clip{number}", str(path), speaker=speaker, gender=gender, emotion=emotion))
    return rows


def test_speakers_of_named_corpora_are_named_with_their_corpus() -> None:
    known = [("s1", "iemocap"), ("s1", None), (None, "iemocap"), (None, None)]
    rows = [Utterance(str(n), "a.wav", speaker=one, corpus=corpus) for n, (one, corpus) in enumerate(known)]
    rows[3] = replace(rows[3], gender="female")
    assert row_columns(rows) == {
        "ids": ("0", "1", "2", "3"),
        "speakers": ("iemocap/s1", "s1", None, None),
        "genders": (None, None, None, "female"),
    }


def test_rows_come_in_the_order_given_each_once_with_their_labels(
    model: GEmoClapModel, utterances: list[Utterance]
) -> None:
    table = predict_table(model, utterances, AudioStore(AUDIO), fold="fold_2", batch_size=3)
    kept = [row for row in utterances if row.emotion not in (None, "frustrated")]
    assert table.ids == tuple(row.id for row in kept)
    assert table.truth == ("sad", "happy", "angry", "neutral", "happy", "sad", "angry")  # excited is merged
    assert table.speakers == tuple(row.speaker for row in kept)
    assert table.genders == tuple(row.gender for row in kept)
    assert table.folds == ("fold_2",) * 7
    assert table.classes == ("angry", "happy", "neutral", "sad")
    backwards = predict_table(model, utterances[::-1], AudioStore(AUDIO), batch_size=3)
    assert backwards.ids == table.ids[::-1] and backwards.folds == (None,) * 7
    np.testing.assert_allclose(backwards.probabilities[::-1], table.probabilities, atol=1e-5)


def test_the_same_as_one_by_one_whatever_the_batch(model: GEmoClapModel, utterances: list[Utterance]) -> None:
    predictor = Predictor(model)
    for batch_size in (1, 2, 100):
        table = predict_table(model, utterances, AudioStore(AUDIO), batch_size=batch_size)
        for name, prediction, scores in zip(table.ids, table.prediction, table.probabilities, strict=True):
            path = next(row.path for row in utterances if row.id == name)
            alone = predictor(predictor.load(path))  # of a longer clip the part that training uses
            assert prediction == alone.emotion == table.classes[scores.argmax()]
            np.testing.assert_allclose(scores, [alone.probabilities[label] for label in table.classes], atol=1e-5)


def test_embeddings_are_what_the_classes_are_compared_with(model: GEmoClapModel, utterances: list[Utterance]) -> None:
    table = predict_table(model, utterances, AudioStore(AUDIO), batch_size=3)
    classifier = classifier_of(model)
    assert table.embeddings is not None and table.embeddings.shape[0] == len(table)
    again = classifier.classify(torch.from_numpy(table.embeddings)).detach().numpy()
    np.testing.assert_allclose(again, table.probabilities, atol=1e-6)
    alone = predict_table(model, [row for row in utterances if row.id == table.ids[2]], AudioStore(AUDIO))
    np.testing.assert_allclose(alone.embeddings[0], table.embeddings[2], atol=1e-5)


def test_stretches_of_one_file_are_utterances_of_their_own(model: GEmoClapModel, tmp_path: Path) -> None:
    low, high = sound.tone(300, 0.5), sound.noise(0.5)
    whole = str(sound.write(tmp_path / "both.wav", np.concatenate([low, high]), subtype="FLOAT"))
    parts = [str(sound.write(tmp_path / f"{n}.wav", part, subtype="FLOAT")) for n, part in enumerate((low, high))]
    rows = [
        Utterance("first", whole, start=0.0, end=0.5, emotion="sad"),
        Utterance("second", whole, start=0.5, end=1.0, emotion="sad"),
        *(replace(Utterance("", part, emotion="sad"), id=part) for part in parts),
    ]
    probabilities = predict_table(model, rows, AudioStore(AUDIO)).probabilities
    np.testing.assert_allclose(probabilities[:2], probabilities[2:], atol=1e-5)
    assert abs(probabilities[0] - probabilities[1]).max() > 1e-4


def test_the_model_is_left_evaluating_and_as_it_was(model: GEmoClapModel, utterances: list[Utterance]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    first = predict_table(model, utterances, AudioStore(AUDIO))
    assert not any(module.training for module in model.modules())
    again = predict_table(model, utterances, AudioStore(AUDIO))
    assert np.array_equal(first.probabilities, again.probabilities)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_progress_counts_up_to_all(model: GEmoClapModel, utterances: list[Utterance]) -> None:
    seen: list[tuple[int, int]] = []
    predict_table(
        model, utterances, AudioStore(AUDIO), batch_size=3, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(3, 7), (6, 7), (7, 7)]


def test_no_utterance_of_the_models_classes(model: GEmoClapModel, utterances: list[Utterance]) -> None:
    unknown = [row for row in utterances if row.emotion in (None, "frustrated")]
    for rows, remedy in (
        (unknown, "frustrated; name their classes with --merges"),
        ([], "check .* 'gemoclap inspect'"),
    ):
        with pytest.raises(GemoclapError, match=rf"angry, happy, neutral, sad.*{remedy}") as raised:
            predict_table(model, rows, AudioStore(AUDIO))
        assert "\n" not in str(raised.value)


def test_development_scores_equal_scikit_learns(model: GEmoClapModel, utterances: list[Utterance]) -> None:
    table = predict_table(model, utterances, AudioStore(AUDIO))
    table = replace(table, prediction=("sad", "happy", "sad", "neutral", "angry", "sad", "angry"))
    scores = headline_scores(table)
    assert scores["war"] == pytest.approx(accuracy_score(table.truth, table.prediction))
    assert scores["uar"] == pytest.approx(recall_score(table.truth, table.prediction, average="macro"))


def test_paths_are_in_the_table_and_labels_that_the_model_lacks_are_counted(
    model: GEmoClapModel, utterances: list[Utterance]
) -> None:
    table = predict_table(model, utterances, AudioStore(AUDIO))
    by_id = {row.id: row.path for row in utterances}
    assert table.paths == tuple(by_id[one] for one in table.ids)
    labels = [row.emotion for row in utterances]
    assert unknown_labels(utterances, model.config.emotions) == {"frustrated": labels.count("frustrated")}


def test_what_is_not_a_number_is_never_scored(model: GEmoClapModel, utterances: list[Utterance]) -> None:
    rows = [row for row in utterances if row.emotion == "sad"]
    scores = np.tile([0.1, 0.2, 0.3, 0.4], (len(rows), 1))
    scores[-1, 2] = np.inf
    arguments = (model.config.emotions.emotions, model.config.emotions.resolve, None)
    with pytest.raises(
        GemoclapError,
        match=rf"{rows[-1].path}: its probabilities are not numbers.*{rows[-1].id} is the first of 1 such",
    ):
        table_of(rows, scores, *arguments)
    with pytest.raises(GemoclapError, match=f"the first of {len(rows)} such among {len(rows)}"):
        table_of(rows, np.full_like(scores, np.nan), *arguments)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        next(broken.audio_encoder.parameters()).fill_(math.nan)
    with pytest.raises(GemoclapError, match="its probabilities are not numbers"):
        predict_table(broken, utterances, AudioStore(AUDIO))
