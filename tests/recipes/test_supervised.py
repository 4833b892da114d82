"""One training: who is in it, what it leaves, and that a finished one is left alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from small import SMALL, changed, complaint, contents, crossval, log_of, run

from gemoclap.audio import load_audio, prepare_clip
from gemoclap.config import AudioSettings, DataSettings, Settings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.data.folds import undivided
from gemoclap.data.reading import read_data
from gemoclap.errors import GemoclapError
from gemoclap.labels import Vocabulary
from gemoclap.recipes.supervised import build_model, usual_seconds

TWO = Vocabulary("two", ("angry", "happy"), {"excited": "happy"})


def corpus(speakers: int) -> list[Utterance]:
    return [
        Utterance(
            f"{speaker}-{emotion}",
            "x.wav",
            speaker=f"s{speaker}",
            gender=("male", "female")[speaker % 2],
            emotion=emotion,
        )
        for speaker in range(speakers)
        for emotion in ("angry", "excited", "bored", None)
    ]


@pytest.mark.parametrize("dev_speakers", [0, 1, 3])
def test_everyone_is_trained_on_but_the_development_speakers(dev_speakers: int) -> None:
    rows = corpus(5)
    fold = undivided(rows, DataSettings(dev_speakers=dev_speakers), TWO)
    assert fold.test == () and fold.shared_speakers == ()
    assert len({row.speaker for row in fold.dev}) == dev_speakers
    assert {row.id for row in (*fold.train, *fold.dev)} == {row.id for row in rows if TWO.resolve(row.emotion)}


@pytest.mark.parametrize(
    ("rows", "dev_speakers", "says"),
    [
        (corpus(2), 2, "lower --data.dev_speakers"),
        (corpus(2), 9, "lower --data.dev_speakers"),
        ([replace(row, speaker=None) for row in corpus(2)], 1, "have no speaker"),
        (
            [row for row in corpus(2) if row.emotion != "angry"],
            0,
            "class 'angry' has no utterance; there are only happy",
        ),
        ([replace(row, emotion="bored") for row in corpus(2)], 0, "no utterance has a label of vocabulary 'two'"),
        # All that is angry is said by one of the two, who must be trained on; the other may be developed on.
        ([row for row in corpus(2) if row.id != "1-angry"], 2, "lower --data.dev_speakers"),
    ],
)
def test_development_speakers_that_cannot_be_spared(rows: list[Utterance], dev_speakers: int, says: str) -> None:
    with pytest.raises(GemoclapError, match=says):
        undivided(rows, DataSettings(dev_speakers=dev_speakers), TWO)


def test_the_only_speaker_of_a_class_stays_in_training() -> None:
    rows = [row for row in corpus(2) if row.id != "1-angry"]
    assert {row.speaker for row in undivided(rows, DataSettings(dev_speakers=1), TWO).dev} == {"s1"}


def test_unknown_speakers_are_trained_on_where_nobody_develops() -> None:
    rows = [replace(row, speaker=None) for row in corpus(2)]
    assert len(undivided(rows, DataSettings(), TWO).train) == 4


def test_what_a_training_leaves(small_manifest: Path, tmp_path: Path) -> None:
    options = ["--data.dev_speakers", "1", "--train.select", "dev", "--train.epochs", "2", "--method", "ml_gemo_clap"]
    assert run("train", "--data.manifest", small_manifest, *SMALL, *options, "-o", tmp_path / "run") == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "log.jsonl", "model"]
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["method"], config["data"]["vocabulary"]) == ("ml_gemo_clap", "synthetic4")
    rows = log_of(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1, 2] and sum(row["selected"] for row in rows) == 1
    assert all("dev_uar" in row for row in rows)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "24 utterances of 3 speakers; development: 1 speaker" in card


def test_a_model_knows_how_long_clips_usually_are(small_manifest: Path, tmp_path: Path) -> None:
    rows = read_manifest(small_manifest)
    assert run("train", small_manifest, *SMALL, "--method", "ce", "-o", tmp_path / "run") == 0
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    trimmed = [len(prepare_clip(load_audio(row.path), AudioSettings())) / 16000 for row in rows]
    assert len(rows) < 100 and max(trimmed) <= config["clip_seconds"] < max(trimmed) + 0.01  # of 100, one may be longer
    extractor = json.loads((tmp_path / "run" / "model" / "preprocessor_config.json").read_text())
    assert extractor["max_seconds"] == config["clip_seconds"]
    assert (
        f"if more than {config['clip_seconds']:g} s are left" in (tmp_path / "run" / "model" / "README.md").read_text()
    )


@pytest.mark.parametrize(("lengths", "usual"), [(range(1, 101), 1.0), (range(1, 201), 1.99), ([7], 0.07)])
def test_the_usual_length_leaves_one_of_a_hundred_out(lengths: Sequence[int], usual: float) -> None:
    store = SimpleNamespace(lengths=lambda rows: np.array(lengths) * 160)
    assert usual_seconds([], store) == usual  # type: ignore[arg-type]


def test_a_finished_training_is_left_alone(
    small_manifest: Path, small_model: Path, capsys: pytest.CaptureFixture
) -> None:
    before = contents(small_model.parent)
    (small_model.parent / "checkpoint").mkdir()  # as a kill just after the last step would leave it
    assert run("train", "--data.manifest", small_manifest, *SMALL, "-o", small_model.parent) == 0
    shown = capsys.readouterr()
    assert "was trained before, so there is nothing to do" in shown.out and shown.err == ""
    assert contents(small_model.parent) == before and not (small_model.parent / "checkpoint").exists()


def test_the_same_command_gives_the_same_bits_in_another_folder(
    small_manifest: Path, small_model: Path, tmp_path: Path
) -> None:
    """Also from the configuration that the first run saved."""
    config = small_model.parent / "config.yaml"
    assert run("train", "--config", config, "-o", tmp_path / "again") == 0
    first, second = (load_file(folder / "model.safetensors") for folder in (small_model, tmp_path / "again" / "model"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert run("train", "--config", config, "--train.seed", "1", "-o", tmp_path / "other") == 0
    third = load_file(tmp_path / "other" / "model" / "model.safetensors")
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_a_changed_manifest_is_refused(small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    manifest = changed(small_manifest, tmp_path / "m.jsonl")
    command = ["train", "--data.manifest", manifest, *SMALL, "-o", tmp_path / "run"]
    assert run(*command) == 0
    changed(small_manifest, manifest, gender=None)
    before = contents(tmp_path / "run")
    assert "m.jsonl: has changed since the run in" in complaint(capsys, *command)
    assert contents(tmp_path / "run") == before


def test_new_weights_depend_on_the_seed_alone() -> None:
    settings = Settings()
    settings.model.audio_options = {"hidden_size": 8, "num_hidden_layers": 1, "stem_channels": 2}
    first = build_model(settings, "emo_clap", TWO).state_dict()
    torch.rand(5)
    second = build_model(settings, "sl_gemo_clap", TWO).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    settings.train.seed = 1
    third = build_model(settings, "emo_clap", TWO).state_dict()
    assert not all(torch.equal(first[name], third[name]) for name in first)


def test_the_corpus_brings_its_own_choices_unless_the_user_does(small_manifest: Path, tmp_path: Path) -> None:
    manifest = str(small_manifest)
    rows, vocabulary, data = read_data(DataSettings(manifest=manifest))
    assert (vocabulary.name, data.vocabulary, data.folds, data.n_folds) == ("synthetic4", "synthetic4", "kfold", 4)
    _, chosen, data = read_data(DataSettings(manifest=manifest, emotions=["sad", "angry"], folds="speaker"))
    assert (chosen.emotions, data.folds, data.vocabulary) == (("sad", "angry"), "speaker", None)
    nameless = changed(small_manifest, tmp_path / "m.jsonl", corpus=None)
    _, seen, data = read_data(DataSettings(manifest=str(nameless), merges={"sad": "neutral"}))
    assert (seen.emotions, seen.resolve("sad"), data.folds) == (("angry", "happy", "neutral"), "neutral", "kfold")
    assert len(rows) == len(read_manifest(small_manifest))


def test_a_number_of_folds_is_not_overruled_by_the_corpus(tmp_path: Path) -> None:
    rows = [
        Utterance(f"{s}{e}", f"{s}{e}.wav", corpus="ravdess", speaker=s, emotion=e)
        for s in "abc"
        for e in ("sad", "calm")
    ]
    write_manifest(rows, tmp_path / "m.jsonl")
    _, _, own = read_data(DataSettings(manifest=str(tmp_path / "m.jsonl")))
    _, _, asked = read_data(DataSettings(manifest=str(tmp_path / "m.jsonl"), n_folds=3))
    assert (own.folds, asked.folds, asked.n_folds, asked.test_speakers) == ("lists", "kfold", 3, None)


def test_votes_are_trained_on_or_refused(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unanimous votes train as the labels do; other methods, and manifests without votes, are refused before anything."""
    agreed = changed(small_manifest, tmp_path / "agreed.jsonl", votes=lambda row: {row.emotion: 3.0})
    others = changed(small_manifest, tmp_path / "others.jsonl", votes=lambda row: {f"very {row.emotion}": 3.0})
    for manifest in (small_manifest, others):
        said = complaint(capsys, *crossval(manifest, "ce", tmp_path / "none", "--objective.votes", "true"))
        assert "no training utterance of fold_1 has votes for one of the classes (angry" in said
        assert not (tmp_path / "none").exists()
    said = complaint(capsys, *crossval(agreed, "am_softmax", tmp_path / "none", "--objective.votes", "true"))
    assert "am_softmax trains on one label" in said and not (tmp_path / "none").exists()
    for name, options in (("votes", ("--objective.votes", "true")), ("labels", ())):
        assert run(*crossval(agreed, "ce", tmp_path / name, *options)) == 0
    targets = "Targets of the training: the shares of the raters' votes"
    assert [targets in (tmp_path / name / "report.md").read_text() for name in ("votes", "labels")] == [True, False]
    assert "no votes for any of the classes" not in capsys.readouterr().out
    logs = [log_of(tmp_path / name / "ce" / "fold_1") for name in ("votes", "labels")]
    assert [row["loss"] for row in logs[0]] == pytest.approx([row["loss"] for row in logs[1]], rel=1e-5)


def test_utterances_that_are_trained_with_their_label_instead_of_votes_are_counted(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partly = changed(small_manifest, tmp_path / "m.jsonl", votes=lambda row: {row.emotion: 3.0} if row.gender else None)
    rows = read_manifest(partly)
    partly = changed(
        partly, tmp_path / "m.jsonl", votes=lambda row: {"odd": 1.0} if row.id == rows[0].id else row.votes
    )
    assert run(*crossval(partly, "ce", tmp_path / "run", "--objective.votes", "true")) == 0
    said = f"objective.votes: 1 of {len(rows)} training utterances has no votes for any of the classes: the label takes"
    assert capsys.readouterr().out.count(said) == 1
