"""All corpora but one, and each corpus within itself: who is trained on what, what is compared, and what is resumed."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from results_scripts import load, module
from sklearn.metrics import balanced_accuracy_score
from small import changed, complaint, contents, run
from test_crosscorpus import SMALL, command, corpora, planned

from gemoclap.config import DataSettings, ModelSettings, Settings
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.errors import GemoclapError
from gemoclap.models import load_emotion_model
from gemoclap.predictions import concatenate, read_predictions
from gemoclap.recipes.crosscorpus import CrossCorpus
from gemoclap.recipes.made import code_hash
from gemoclap.recipes.several_corpora import left_out_pair, read_corpora, write_together
from gemoclap.recipes.sharing import share

__all__ = ["corpora"]  # a fixture
FOLDS = ("--data.folds", "kfold", "--data.n_folds", "2")
WHOLE = (*FOLDS, "--leave_one_out", "--within", "train", "--keep_models", "true")


@pytest.fixture(scope="module")
def whole(corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("together") / "run"
    assert run(*command(corpora, output, *WHOLE, names="one two three")) == 0
    return output


def results_in(output: Path) -> dict[str, tuple[str, int]]:
    """Return path -> hash and time of every file, except the plans of folds, which are written again as they are."""
    found = contents(output / "trainings") | contents(output / "cells") | contents(output / "within")
    return {path: one for path, one in found.items() if not path.endswith("folds.json")}


def rows_of(output: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(output / "crosscorpus.csv", newline="") as file:
        return {(row["kind"], row["trained_on"], row["tested_on"]): row for row in csv.DictReader(file)}


# The plan.


def test_a_label_counts_if_the_tested_corpus_and_another_have_it(corpora: dict[str, Path]) -> None:
    found = planned(list(corpora.values())).corpora
    expected = {
        "one": ("three+two", {"angry", "happy", "neutral", "sad"}),  # four shares one label alone
        "two": ("one+three", {"angry", "happy", "neutral", "sad"}),
        "three": ("one+two", {"happy", "neutral"}),  # nobody else has bored
        "four": ("", set()),
    }
    for name, (trained, labels) in expected.items():
        pair = left_out_pair(found, name)
        assert (pair.trained, set(pair.labels), pair.tested) == (trained, labels, name)
        assert pair.is_empty == (not labels) and "+".join(pair.together) == trained
    # The order of the command line decides nothing.
    other = planned(list(reversed(corpora.values()))).corpora
    assert left_out_pair(other, "one").trained == "three+two"


@pytest.mark.parametrize("letter", ["a", "\N{CYRILLIC SMALL LETTER ZHE}", "\N{GRINNING FACE}"])
@pytest.mark.parametrize("n_bytes", [152, 248])
def test_a_file_system_takes_every_name(letter: str, n_bytes: int, corpora: dict[str, Path], tmp_path: Path) -> None:
    paths = []
    for ending in "xyz":
        name = letter * ((n_bytes - 1) // len(letter.encode())) + ending
        paths.append(corpora["one"].parent / f"{name}.jsonl")
        write_manifest([replace(row, corpus=ending) for row in read_manifest(corpora["one"])], paths[-1])
    data = DataSettings(folds="kfold", n_folds=2, allow_speaker_overlap=True)
    settings = Settings(data=data, model=ModelSettings())
    matrix = CrossCorpus(
        settings, [str(one) for one in paths], "ce", [0], tmp_path / "run", leave_one_out=True, within=True
    )
    cells = {matrix.predictions_path(pair, 0) for pair in [*matrix.pairs, *matrix.left_out]}
    trained = {one.folder for one in matrix.trainings}
    within = {matrix.within_folder(name, 0) for name in matrix.within}
    assert (len(cells), len(trained), len(within)) == (9, 6, 3)
    for path in (*cells, *trained, *within):
        path.mkdir(parents=True)
    together = {str(matrix._data_together(one).manifest) for one in matrix.trainings if one.together}
    assert len(together) == 3 and all(Path(path).is_file() for path in together)
    jobs = [*(one.job for one in matrix.trainings), *(f"cross-validate {name} seed 0" for name in matrix.within)]
    assert share({job: partial(str, job) for job in jobs}, tmp_path / "run", print) == jobs
    assert len([*(tmp_path / "run" / "locks").iterdir()]) == len(jobs)


def test_with_one_corpus_left_it_is_the_pair(corpora: dict[str, Path]) -> None:
    matrix = planned([corpora[name] for name in ("one", "two", "four")])
    assert left_out_pair(matrix.corpora, "one") in matrix.pairs


def test_the_manifest_of_several_has_the_classes_of_each(corpora: dict[str, Path], tmp_path: Path) -> None:
    def votes(row: Utterance) -> dict[str, float]:
        return {"excited": 2.0, "sad": 1.0}

    def as_excited(row: Utterance) -> str | None:
        return "excited" if row.emotion == "angry" else row.emotion

    iemocap = changed(corpora["one"], tmp_path / "iemo.jsonl", corpus="iemocap", emotion=as_excited, votes=votes)
    other = changed(corpora["one"], tmp_path / "other.jsonl", corpus="other", emotion=as_excited, votes=votes)
    found = read_corpora(DataSettings(), [str(iemocap), str(other)])
    rows = read_manifest(write_together(list(found.values()), tmp_path / "both.jsonl"))
    assert [row.id for row in rows if row.corpus == "iemocap"] == [f"iemo/{row.id}" for row in read_manifest(iemocap)]
    by_corpus = {corpus: [row for row in rows if row.corpus == corpus] for corpus in ("iemocap", "other")}
    assert {row.emotion for row in by_corpus["iemocap"]} == {"happy", "neutral", "sad"}
    assert {row.emotion for row in by_corpus["other"]} == {"excited", "happy", "neutral", "sad"}
    assert all(row.votes == {"happy": 2.0, "sad": 1.0} for row in by_corpus["iemocap"])
    assert all(row.votes == {"excited": 2.0, "sad": 1.0} for row in by_corpus["other"])
    assert all(Path(row.path).is_file() for row in rows)


def test_ids_that_are_clear_are_kept(corpora: dict[str, Path], tmp_path: Path) -> None:
    other = changed(corpora["two"], tmp_path / "two.jsonl", id=lambda row: f"second {row.id}")
    found = read_corpora(DataSettings(), [str(corpora["one"]), str(other)])
    rows = read_manifest(write_together(list(found.values()), tmp_path / "both.jsonl"))
    assert {row.id for row in rows} == {row.id for path in (corpora["one"], other) for row in read_manifest(path)}


@pytest.mark.parametrize("name", ["One ", None])
def test_corpora_of_one_name_count_as_one_and_this_is_said(
    name: str | None, corpora: dict[str, Path], tmp_path: Path
) -> None:
    def another(row: Utterance) -> str:
        return f"another {row.speaker}"

    first = changed(corpora["one"], tmp_path / "first.jsonl", corpus="one" if name else None)
    second = changed(corpora["two"], tmp_path / "second.jsonl", corpus=name, speaker=another)
    manifests = [str(first), str(second), str(corpora["three"])]
    matrix, pairs = (
        CrossCorpus(Settings(), manifests, "emo_clap", [0], Path("nowhere"), leave_one_out=leave_one_out)
        for leave_one_out in (True, False)
    )
    (warning,) = matrix.warnings
    assert warning.startswith(
        f"in the manifests of first and second, utterances have the same corpus ({'one' if name else 'none'})"
    )
    assert pairs.warnings == []


# What is trained and tested.


def test_all_but_one_is_what_train_does_on_their_manifest(
    corpora: dict[str, Path], whole: Path, tmp_path: Path
) -> None:
    rows = [row for name in ("one", "two") for row in read_manifest(corpora[name])]
    write_manifest([replace(row, id=f"{row.corpus}/{row.id}") for row in rows], tmp_path / "both.jsonl")
    line = ["train", tmp_path / "both.jsonl", "--method", "emo_clap", *SMALL, "-o", tmp_path / "run"]
    assert run(*line, "--data.emotions", "happy,neutral") == 0
    (made,) = (whole / "trainings" / "one+two").glob("*/seed_0/model/model.safetensors")
    assert made.read_bytes() == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    model = load_emotion_model(made.parent)
    assert model.config.trained_speakers == ["one/s01", "one/s02", "two/s01", "two/s02"]
    table = read_predictions(whole / "cells" / "one+two_to_three" / "seed_0" / "predictions.csv")
    assert {name.split("/")[0] for name in table.speakers if name} == {"three"} and set(table.truth) == {
        "happy",
        "neutral",
    }


def test_the_diagonal_is_the_cross_validation(corpora: dict[str, Path], whole: Path, tmp_path: Path) -> None:
    line = ["crossval", corpora["three"], "--methods", "emo_clap", *SMALL, *FOLDS, "-o", tmp_path / "run"]
    assert run(*line, "--keep_models", "false") == 0
    for fold in ("fold_1", "fold_2"):
        paths = [
            folder / "emo_clap" / fold / "predictions.csv"
            for folder in (tmp_path / "run", whole / "within/three/seed_0")
        ]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert not list((whole / "within").rglob("model.safetensors"))
    # The same run, named by the user, gives the same cell.
    output = tmp_path / "again"
    shutil.copytree(whole, output)
    given = command(corpora, output, *FOLDS, "--within", str(tmp_path / "run"), names="one two three")
    assert run(*given) == 0
    key = ("within", "three", "three")
    assert rows_of(output)[key] == rows_of(whole)[key]
    assert ("within", "one", "one") not in rows_of(output)


def test_the_figures_are_those_of_the_predictions(whole: Path) -> None:
    rows = rows_of(whole)
    assert len(rows) == 6 + 3 + 3 and all(row["state"] == "finished" for row in rows.values())
    for (kind, trained, tested), row in rows.items():
        if kind == "within":
            paths = sorted((whole / "within" / tested / "seed_0").rglob("predictions.csv"))
        else:
            paths = [whole / "cells" / f"{trained}_to_{tested}" / "seed_0" / "predictions.csv"]
        table = concatenate([read_predictions(path) for path in paths])
        assert float(row["uar"]) == pytest.approx(
            balanced_accuracy_score(list(table.truth), list(table.prediction)), abs=1e-6
        )
        assert int(row["n"]) == len(table)


def test_crossing_is_compared_on_the_same_labels_and_utterances(whole: Path) -> None:
    found = json.loads((whole / "crosscorpus.json").read_text())["across_minus_within"]
    assert len(found) == 6 + 3
    (one,) = [cell for cell in found if (cell["trained_on"], cell["tested_on"]) == ("three", "one")]
    paths = sorted((whole / "within" / "one" / "seed_0").rglob("predictions.csv"))
    table = concatenate([read_predictions(path) for path in paths])
    columns = [table.classes.index(label) for label in ("happy", "neutral")]
    places = [place for place, truth in enumerate(table.truth) if truth in ("happy", "neutral")]
    said = [("happy", "neutral")[int(table.probabilities[place][columns].argmax())] for place in places]
    within = balanced_accuracy_score([table.truth[place] for place in places], said)
    across = read_predictions(whole / "cells" / "three_to_one" / "seed_0" / "predictions.csv")
    expected = balanced_accuracy_score(list(across.truth), list(across.prediction))
    assert one["uar_within"] == pytest.approx(within) and one["uar_across"] == pytest.approx(expected)
    assert one["uar_difference"] == pytest.approx(expected - within)


def test_the_pages_have_the_row_and_the_diagonal(whole: Path) -> None:
    page = (whole / "crosscorpus.md").read_text()
    uar = page.split("## UAR\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in uar.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["one", "two", "three", "all others"]
    for number, row in enumerate(rows[2:]):
        for column, cell in enumerate(row[1:]):
            assert re.match(r"within: \d+\.\d" if number == column else r"\d+\.\d", cell)
    assert "## Within the corpus and across" in page and "Unfinished" not in page
    text = (whole / "crosscorpus.html").read_text()
    assert "<script" not in text and not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "data:image/svg+xml" in text and ">all others</th>" in text


def test_what_is_lacking_is_done_by_two_processes_and_nothing_else(
    corpora: dict[str, Path], whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    lost = [output / "trainings" / "one+two", output / "cells" / "one+two_to_three", output / "within" / "one"]
    for folder in lost:
        shutil.rmtree(folder)
    before = results_in(output)
    line = [sys.executable, "-m", "gemoclap", *command(corpora, output, *WHOLE, names="one two three")]
    started = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    shown = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], shown
    assert sum(error.count("epoch 2/2") for _, error in shown) == 3  # one training of two corpora, and two folds
    after = results_in(output)
    assert {path: after[path] for path in before} == before
    assert rows_of(output) == rows_of(whole)


def test_a_record_of_the_run_has_every_cell(whole: Path) -> None:
    load()
    line = (
        "crosscorpus one.jsonl two.jsonl three.jsonl --leave_one_out --within train --data.folds kfold --data.n_folds 2"
    )
    text = shlex.join(["gemoclap", *line.split(), *SMALL, "-o", "runs/whole"])
    found = module("results_record").make_record([whole], [text], "")
    shown = {}
    for (kind, trained, tested), row in rows_of(whole).items():
        names = {"pair": f"{trained}_to_{tested}", "within": f"within/{tested}", "left out": f"all_others/{tested}"}
        shown[names[kind]] = [float(row[name]) for name in ("uar", "uar_low", "uar_high")]
    assert {name: row["uar"] for name, row in found["rows"].items()} == {
        name: pytest.approx(uar, abs=1e-6) for name, uar in shown.items()
    }
    costs = json.loads((whole / "crosscorpus.json").read_text())["across_minus_within"]
    assert [row["difference"][0] for row in found["across_minus_within"]] == [
        pytest.approx(cost["uar_difference"], abs=1e-6) for cost in costs
    ]
    assert found["made"]["code"] == [code_hash()]


# What is refused.


def test_what_cannot_be_done_is_one_line(
    corpora: dict[str, Path], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    two = command(corpora, tmp_path / "run", names="one two")
    assert "name three or more" in complaint(capsys, *two, "--leave_one_out")
    assert "is not the folder of a cross-validation" in complaint(capsys, *two, "--within", str(tmp_path))
    assert "gemoclap: one: data.n_folds is 99" in complaint(capsys, *two, "--within", "train", "--data.n_folds", "99")
    assert "give train alone" in complaint(capsys, *two, "--within", f"train,{tmp_path}")
    elsewhere = str(whole / "within" / "three")
    assert "which is none of the manifests here" in complaint(capsys, *two, "--within", elsewhere)
    own = str(whole / "within" / "one")
    assert "as another run is" in complaint(capsys, *two, "--within", f"{own},{own}")
    assert "has no ce, which is the method here" in complaint(capsys, *two, "--method", "ce", "--within", own)
    assert not (tmp_path / "run").exists()


def test_a_corpus_that_cannot_be_divided_is_said_before_anything_is_trained(
    corpora: dict[str, Path], tmp_path: Path
) -> None:
    nobody = changed(corpora["two"], tmp_path / "nobody.jsonl", speaker=None)
    with pytest.raises(GemoclapError, match="speaker"):
        CrossCorpus(
            Settings(model=ModelSettings()),
            [str(corpora["one"]), str(nobody)],
            "emo_clap",
            [0],
            tmp_path / "run",
            within=True,
        )
    assert not (tmp_path / "run").exists()


def test_a_run_with_other_settings_is_said(
    corpora: dict[str, Path], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = [
        "crossval",
        corpora["one"],
        "--methods",
        "emo_clap",
        *SMALL,
        *FOLDS,
        "-o",
        tmp_path / "own",
        "--train.epochs",
        "1",
    ]
    assert run(*line) == 0
    shutil.copytree(whole, tmp_path / "run")
    given = command(corpora, tmp_path / "run", *FOLDS, "--within", str(tmp_path / "own"), names="one two three")
    assert run(*given) == 0
    page = (tmp_path / "run" / "crosscorpus.md").read_text()
    assert "has other settings than the matrix (train.epochs differs" in page
