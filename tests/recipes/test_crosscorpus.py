"""Corpora by corpora: who is trained on which labels, who is tested, and what is never done twice."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from small import changed, complaint, contents, counting, run

from gemoclap.config import DataSettings, ModelSettings, Settings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.corpora.synthetic import generate
from gemoclap.encoders.speech import SpeechEncoder
from gemoclap.models import load_emotion_model
from gemoclap.predictions import read_predictions
from gemoclap.recipes import crosscorpus as crossing
from gemoclap.recipes.crosscorpus import CrossCorpus
from gemoclap.recipes.made import RESULTS, code_hash

LABELS = {"one": ("angry", "happy", "neutral", "sad"), "two": ("angry", "happy", "neutral", "sad")}
LABELS |= {"three": ("happy", "neutral", "bored"), "four": ("sad",)}
SMALL = (
    "--model.audio_options", '{"hidden_size": 16, "num_hidden_layers": 1, "stem_channels": 4}',
    "--model.projection_dim", "16", "--train.epochs", "2",
)  # fmt: skip


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four corpora of two voices each, with the labels of `LABELS`; what is sad in the third is called bored."""
    folder = tmp_path_factory.mktemp("corpora")
    for place, (name, labels) in enumerate(LABELS.items()):
        rows = generate(folder / "audio" / name, speakers=2, sentences=2, takes=1, seed=place)
        rows = [
            replace(row, corpus=name, emotion="bored") if name == "three" and row.emotion == "sad" else row
            for row in rows
        ]
        write_manifest([replace(row, corpus=name) for row in rows if row.emotion in labels], folder / f"{name}.jsonl")
    return {name: folder / f"{name}.jsonl" for name in LABELS}


def command(corpora: dict[str, Path], output: Path, *options: str, names: str = "one two three four") -> list[str]:
    return ["crosscorpus", *(str(corpora[name]) for name in names.split()), *SMALL, "-o", str(output), *options]


def planned(manifests: list[Path], **data: object) -> CrossCorpus:
    """Return the matrix of some manifests, with nothing trained."""
    settings = Settings(data=DataSettings(**data), model=ModelSettings())  # type: ignore[arg-type]
    return CrossCorpus(settings, [str(one) for one in manifests], "emo_clap", [0], Path("nowhere"))


@pytest.fixture(scope="module")
def finished(corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("matrix") / "run"
    assert run(*command(corpora, output)) == 0
    return output


def test_pairs_without_two_labels_are_named_once(
    corpora: dict[str, Path], finished: Path, capsys: pytest.CaptureFixture
) -> None:
    capsys.readouterr()
    assert run(*command(corpora, finished)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left empty")]
    expected = ["one and four share only sad", "two and four share only sad", "three and four share no label"]
    assert lines == [f"left empty: {words}; a pair needs two common labels" for words in expected]


def test_every_pair_is_about_the_labels_that_both_have(corpora: dict[str, Path]) -> None:
    matrix = planned(list(corpora.values()))
    assert [(pair.trained, pair.tested) for pair in matrix.pairs] == [
        (one, other) for one in LABELS for other in LABELS if one != other
    ]
    for pair in matrix.pairs:
        assert set(pair.labels) == set(LABELS[pair.trained]) & set(LABELS[pair.tested])
        assert pair.is_empty == ("four" in (pair.trained, pair.tested))
    # One training for every corpus and set of labels, and every pair that is not empty in one of them.
    kinds = [(one.corpus, set(one.labels)) for one in matrix.trainings]
    assert all(kinds.count(kind) == 1 for kind in kinds) and len(kinds) == 5
    assert {pair.name for one in matrix.trainings for pair in one.pairs} == {
        pair.name for pair in matrix.pairs if not pair.is_empty
    }
    assert len({one.folder for one in matrix.trainings}) == len({one.job for one in matrix.trainings}) == 5


def test_predictions_are_of_the_other_corpus_and_those_of_train_and_evaluate(
    corpora: dict[str, Path], finished: Path, tmp_path: Path
) -> None:
    table = read_predictions(finished / "cells" / "three_to_one" / "seed_0" / "predictions.csv")
    tested = [row for row in read_manifest(corpora["one"]) if row.emotion in ("happy", "neutral")]
    assert list(table.ids) == [row.id for row in tested] and list(table.truth) == [row.emotion for row in tested]
    assert table.speakers == tuple(f"one/{row.speaker}" for row in tested)
    assert table.classes == ("happy", "neutral") and set(table.folds) == {"three_to_one"}
    line = ["train", "--data.manifest", corpora["three"], "--method", "emo_clap", *SMALL, "-o", tmp_path / "three"]
    assert run(*line, "--data.emotions", "happy,neutral") == 0
    # `evaluate` cuts clips that are longer than those of training; a test within a run takes them as training does.
    config = tmp_path / "three" / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"clip_seconds": None}))
    assert run("evaluate", corpora["one"], "--model", tmp_path / "three" / "model", "-o", tmp_path / "scores") == 0
    expected = read_predictions(tmp_path / "scores" / "predictions.csv")
    assert expected.ids == table.ids and expected.prediction == table.prediction
    np.testing.assert_allclose(table.probabilities, expected.probabilities, atol=2e-6)
    model = load_emotion_model(finished / "trainings" / "three" / "happy-neutral" / "seed_0" / "model")
    assert model.config.trained_speakers == ["three/s01", "three/s02"]


def test_every_cell_says_which_code_made_it(finished: Path) -> None:
    cells = sorted((finished / "cells").rglob("predictions.csv"))
    made = [json.loads((cell.parent / "made.json").read_text()) for cell in cells]
    assert made and all(
        one["results"] == RESULTS and one["code"] == code_hash() and one["seconds"] >= 0 for one in made
    )


def test_the_figures_are_those_of_the_predictions(finished: Path) -> None:
    with open(finished / "crosscorpus.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        path = finished / "cells" / f"{row['trained_on']}_to_{row['tested_on']}" / "seed_0" / "predictions.csv"
        shared = set(LABELS[row["trained_on"]]) & set(LABELS[row["tested_on"]])
        assert int(row["labels"]) == len(shared) and path.is_file() == (len(shared) > 1)
        if path.is_file():
            table = read_predictions(path)
            truth, said = list(table.truth), list(table.prediction)
            assert row["state"] == "finished" and int(row["n"]) == len(table) and row["n_speakers"] == "2"
            assert float(row["war"]) == pytest.approx(accuracy_score(truth, said), abs=1e-6)
            assert float(row["uar"]) == pytest.approx(balanced_accuracy_score(truth, said), abs=1e-6)
        else:
            assert row["uar"] == "" and "shared" in row["state"]


def test_a_finished_matrix_is_read_once(
    corpora: dict[str, Path], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = counting(monkeypatch, crossing, "read_predictions")
    assert run(*command(corpora, finished)) == 0
    assert sorted(tables) == sorted((finished / "cells").rglob("predictions.csv")) and tables


def test_a_pair_that_is_lacking_is_tested_and_nothing_else(
    corpora: dict[str, Path], finished: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(finished, output)
    cell = Path("cells") / "two_to_one" / "seed_0" / "predictions.csv"
    shutil.rmtree((output / cell).parent)
    for log in (output / "trainings").rglob("log.jsonl"):
        log.write_text('{"epoch": 1, "seconds": 1000}\n')
    before = contents(output / "trainings") | contents(output / "cells")
    assert run(*command(corpora, output)) == 0
    after = contents(output / "trainings") | contents(output / "cells")
    assert {path: after[path] for path in before} == before and len(after) == len(before) + 2  # and made.json
    assert (output / cell).read_bytes() == (finished / cell).read_bytes()
    # A process that is killed between training and test leaves the same: its epochs count for the pair.
    assert 1000 < json.loads((output / cell).with_name("made.json").read_text())["seconds"] < 2000


def test_corpora_and_seeds_are_added(corpora: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(*command(corpora, output, "--keep_models", "false", names="one two")) == 0
    assert not list(output.rglob("model"))
    before = contents(output / "cells")
    assert run(*command(corpora, output, "--seeds", "0,1", names="one two three")) == 0
    after = contents(output / "cells")
    assert {path: after[path] for path in before} == before and len(after) == 6 * 2 * 2  # made.json too
    figures = json.loads((output / "crosscorpus.json").read_text())
    pair = next(one for one in figures["pairs"] if (one["trained_on"], one["tested_on"]) == ("three", "two"))
    uars = []
    for seed in (0, 1):
        table = read_predictions(output / "cells" / "three_to_two" / f"seed_{seed}" / "predictions.csv")
        uars.append(balanced_accuracy_score(list(table.truth), list(table.prediction)))
    assert pair["scores"]["uar"] == pytest.approx(sum(uars) / 2) and pair["finished_seeds"] == 2
    assert pair["scores"]["n"] == len(table)


def test_a_frozen_encoder_hears_each_clip_once_in_the_whole_matrix(
    corpora: dict[str, Path], tmp_path: Path, counted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def past_the_cache(*_: object) -> None:
        raise AssertionError("neither a training nor a test runs the encoder itself")

    line = [*command(corpora, tmp_path / "cached", names="one two three"), "--model.freeze", "all"]
    with monkeypatch.context() as patched:
        patched.setattr(SpeechEncoder, "forward", past_the_cache)
        assert run(*line) == 0
    used = {name: [row for row in read_manifest(corpora[name]) if row.emotion != "bored"] for name in LABELS}
    assert counted["layer_features"] == sum(len(used[name]) for name in ("one", "two", "three"))
    before = counted["layer_features"]
    assert run(*line, "-o", tmp_path / "plain", "--cache.layers", "never") == 0
    assert counted["layer_features"] == before
    cells = sorted((tmp_path / "cached" / "cells").rglob("predictions.csv"))
    assert len(cells) == 6
    for cell in cells:
        one, other = (
            read_predictions(path) for path in (cell, tmp_path / "plain" / cell.relative_to(tmp_path / "cached"))
        )
        assert one.ids == other.ids
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_two_processes_share_one_folder(corpora: dict[str, Path], finished: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "gemoclap", *command(corpora, tmp_path / "run")]
    started = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    shown = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], shown
    assert sum(error.count("epoch 2/2") for _, error in shown) == 5
    assert (tmp_path / "run" / "crosscorpus.csv").read_text() == (finished / "crosscorpus.csv").read_text()


def test_each_corpus_has_its_own_merges(corpora: dict[str, Path], tmp_path: Path) -> None:
    """IEMOCAP's excited is happy to it; to another corpus excited is a label of its own, which IEMOCAP's happy is not."""

    def as_excited(row: Utterance) -> str | None:
        return "excited" if row.emotion == "angry" else row.emotion

    iemocap = changed(corpora["one"], tmp_path / "iemo.jsonl", corpus="iemocap", emotion=as_excited)
    other = changed(corpora["two"], tmp_path / "other.jsonl", corpus="other", emotion=as_excited)
    matrix = planned([iemocap, other])
    assert matrix.corpora["iemo"].labels == ("happy", "neutral", "sad")
    assert matrix.corpora["other"].labels == ("excited", "happy", "neutral", "sad")
    assert {pair.labels for pair in matrix.pairs} == {("happy", "neutral", "sad")}
    happy = [row for row in matrix.corpora["iemo"].rows if row.emotion == "happy"]
    assert len(happy) == 8 and len(matrix.corpora["other"].of(("happy",))) == 4
    assert matrix.corpora["iemo"].settings_for(("happy", "sad")).merges == {"excited": "happy"}
    assert matrix.corpora["iemo"].settings_for(("neutral", "sad")).merges == {}
    # Told for all, the merges of one are those of the other.
    told = planned([iemocap, other], emotions=["happy", "sad"], merges={"excited": "happy"})
    assert len(told.corpora["other"].of(("happy",))) == 8


# What is refused, or said first.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["one"], "one corpus alone has nothing to be tested on"),
        (["one", "one"], "another manifest is called one too"),
        (["one", "four"], "no two corpora share two labels (one has angry, happy, neutral, sad; four has sad)"),
        (["one", "two", "--method", "egemaps_svm"], "method must be one of"),
        (["one", "two", "--data.manifest", "x.jsonl"], "the manifests are given without an option here"),
        (["one", "two", "--data.emotions", "happy"], "no two corpora share two labels"),
        (["one", "two", "--model.audio_encoder", "./nowhere"], "./nowhere: no such folder"),
        (["one", "two", "--seeds", "1,1"], "--seeds must be one or more numbers"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], says: str, corpora: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [str(corpora.get(word, word)) for word in arguments]
    assert says in complaint(capsys, "crosscorpus", *given, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def overlapping(corpora: dict[str, Path], tmp_path: Path, kind: str) -> Path:
    """Return a manifest that has a speaker of the first corpus, or copies of its sound under other names."""
    if kind == "speaker":
        return changed(corpora["two"], tmp_path / "other.jsonl", corpus="one")
    rows = read_manifest(corpora["one"])[:3]
    for row in rows:
        shutil.copy(row.path, tmp_path / f"copy_{Path(row.path).name}")
    copies = [
        replace(
            row, id=f"copy {row.id}", corpus="other", speaker="x", path=str(tmp_path / f"copy_{Path(row.path).name}")
        )
        for row in rows
    ]
    write_manifest(
        [*copies, *(replace(row, corpus="other") for row in read_manifest(corpora["two"]))], tmp_path / "o.jsonl"
    )
    return tmp_path / "o.jsonl"


@pytest.mark.parametrize(
    ("kind", "says"),
    [("speaker", "2 speaker(s) of one are in other too"), ("sound", "3 clip(s) of one sound the same")],
)
def test_what_is_trained_and_tested_on_is_refused_or_said_first(
    kind: str, says: str, corpora: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    manifest = overlapping(corpora, tmp_path, kind)
    line = ["crosscorpus", corpora["one"], manifest, *SMALL, "-o", tmp_path / "run"]
    shown = complaint(capsys, *line)
    assert says in shown and "--data.allow_speaker_overlap" in shown
    assert not (tmp_path / "run").exists()
    for _ in range(2):  # also when nothing is left to do
        assert run(*line, "--data.allow_speaker_overlap", "true") == 0
        page = (tmp_path / "run" / "crosscorpus.md").read_text().split("\n\n")
        assert page[1].startswith(f"**Beware: {says}") and "not speaker-independent" in page[1]
        assert says in capsys.readouterr().out


def test_an_encoder_that_knows_the_speakers_is_named(
    corpora: dict[str, Path], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = load_emotion_model(finished / "trainings" / "two" / "happy-neutral" / "seed_0" / "model")
    model.audio_encoder.model.config.labelled_speakers = ["one/s01"]
    model.audio_encoder.model.save_pretrained(tmp_path / "encoder")
    settings = Settings(model=ModelSettings(audio_encoder=str(tmp_path / "encoder")))
    matrix = CrossCorpus(settings, [str(corpora["one"]), str(corpora["two"])], "emo_clap", [0], tmp_path / "run")
    assert len(matrix.warnings) == 1 and "was trained with labels of speakers who are tested" in matrix.warnings[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[:-1], "has other utterances or labels than"),
        (lambda rows: [replace(rows[0], emotion=rows[-1].emotion), *rows[1:]], "has other utterances or labels than"),
    ],
)
def test_predictions_of_another_manifest_are_refused(
    change: Callable[[list[Utterance]], list[Utterance]],
    says: str,
    corpora: dict[str, Path],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    write_manifest(change(read_manifest(corpora["two"])), tmp_path / "two.jsonl")
    line = command({**corpora, "two": tmp_path / "two.jsonl"}, tmp_path / "run", names="one two")
    assert says in complaint(capsys, *line)


def test_other_settings_are_refused(corpora: dict[str, Path], finished: Path, capsys: pytest.CaptureFixture) -> None:
    before = contents(finished)
    assert "its train.epochs differs" in complaint(capsys, *command(corpora, finished, "--train.epochs", "3"))
    assert "its method differs" in complaint(capsys, *command(corpora, finished, "--method", "ce"))
    assert contents(finished) == before
