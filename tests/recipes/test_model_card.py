"""The README of a saved model says what it was trained and tested on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from gemoclap.config import METHODS, ModelSettings, Settings, TrainSettings
from gemoclap.corpora import CORPORA
from gemoclap.corpora.manifest import Utterance
from gemoclap.data.folds import Fold
from gemoclap.recipes.model_card import public_name, write_model_card


def rows(corpus: str | None, *speakers: str | None) -> tuple[Utterance, ...]:
    return tuple(
        Utterance(f"{corpus}-{speaker}-{number}", "x.wav", corpus=corpus, speaker=speaker, emotion="angry")
        for number, speaker in enumerate(speakers)
    )


FOLD = Fold("fold_2", rows("ravdess", "1", "1", "2") + rows(None, "3"), rows("ravdess", "4"), rows("ravdess", "5", "6"))


def card(path: Path, fold: Fold = FOLD, method: str = "emo_clap", **scores: float) -> str:
    write_model_card(path, Settings(train=TrainSettings(epochs=7, seed=3)), method, fold, scores)
    return path.read_text(encoding="utf-8")


def test_it_names_corpora_with_their_licences_and_the_split(tmp_path: Path) -> None:
    text = card(tmp_path / "README.md", war=0.5, uar=0.4567)
    assert f"ravdess: 3 utterances; licence of the corpus: {CORPORA['ravdess'].licence}" in text
    assert "unnamed corpus: 1 utterance; licence of the corpus: see its publisher" in text
    assert "4 utterances of 3 speakers; development: 1 speaker\n" in text
    assert f"fold `fold_2`, hash `{FOLD.hash}`; 7 epochs, seed 3" in text
    assert "2 utterances of 2 speakers: WAR 50.0 %, UAR 45.7 %." in text


def test_its_head_is_yaml_for_the_hub(tmp_path: Path) -> None:
    head = card(tmp_path / "README.md").split("---\n")[1]
    assert yaml.safe_load(head)["pipeline_tag"] == "audio-classification"
    assert "model-index" not in head and "base_model" not in head


def test_the_hub_reads_its_scores_and_the_encoders_of_the_hub(tmp_path: Path) -> None:
    encoders = ModelSettings(audio_encoder="openai/whisper-base", text_encoder="./mine")
    write_model_card(tmp_path / "README.md", Settings(model=encoders), "emo_clap", FOLD, {"war": 0.5, "uar": 0.4567})
    data = ModelCard((tmp_path / "README.md").read_text(encoding="utf-8")).data
    assert data.base_model == ["openai/whisper-base"] and data.eval_results is not None
    assert {one.metric_name: one.metric_value for one in data.eval_results} == {"WAR": 50.0, "UAR": 45.67}
    assert {one.dataset_type for one in data.eval_results} == {"ravdess"}


def test_speakers_in_training_and_test_are_told(tmp_path: Path) -> None:
    shared = Fold("fold_1", rows("emodb", "1", "2"), (), rows("emodb", "2"))
    assert "(speakers shared with the training set)" in card(tmp_path / "README.md", shared, war=1.0)
    assert "shared" not in card(tmp_path / "README.md", war=1.0)


def test_without_a_test_part_it_gives_no_score(tmp_path: Path) -> None:
    text = card(tmp_path / "README.md", Fold("all", FOLD.train, (), ()))
    assert "%" not in text and "No test part was held out" in text


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_title(method: str, tmp_path: Path) -> None:
    title = next(line for line in card(tmp_path / "README.md", method=method).splitlines() if line.startswith("# "))
    letters = "".join(character for character in title.split(":")[0].lower() if character.isalpha())
    assert letters == method.replace("_", "")


def test_a_folder_of_this_machine_is_named_without_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "private" / "my-encoder" / "model"
    folder.mkdir(parents=True)
    encoders = {"audio_encoder": str(folder), "text_encoder": "./secret/text-encoder"}
    write_model_card(tmp_path / "README.md", Settings(model=ModelSettings(**encoders)), "emo_clap", FOLD)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "# Emo-CLAP: my-encoder and text-encoder\n" in text and "private" not in text and "secret" not in text
    assert [public_name(name) for name in ("openai/whisper-base", "compact", "runs/mockingjay/model")] == [
        "openai/whisper-base", "compact", "mockingjay",
    ]  # fmt: skip
