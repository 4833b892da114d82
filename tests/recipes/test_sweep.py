"""`gemoclap sweep`: what is chosen, by whom, and that test speakers have no part in it."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import recall_score
from small import SMALL, changed, complaint, contents, counting, run

from gemoclap.cli.tables import _axis, _split
from gemoclap.config import DataSettings, Settings
from gemoclap.corpora.manifest import read_manifest
from gemoclap.recipes import sweep as sweeping
from gemoclap.recipes.sweep import Sweep, Value, _name, best_of_each_fold
from gemoclap.reports.sweep import read_sweep, write_sweep
from gemoclap.training.evaluate import table_of

OVER = ("--over", "objective.alpha=0.5,0.9", "--over", "train.epochs=1,3")
OPTIONS = (*SMALL, "--methods", "sl_gemo_clap,ce", "--data.dev_speakers", "1")
CELLS = [f"objective.alpha={alpha},train.epochs={epochs}" for alpha in ("0.5", "0.9") for epochs in (1, 3)]


@pytest.fixture(scope="module")
def swept(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "run"
    assert run("sweep", small_manifest, *OVER, *OPTIONS, "-o", folder) == 0
    return folder


def development(folder: Path, method: str) -> np.ndarray:
    """Return the UAR of the last epoch of each combination and fold, as the logs have it."""

    def last(path: Path) -> float:
        return json.loads(path.read_text().splitlines()[-1])["dev_uar"]

    folds = ("fold_1", "fold_2")
    return np.array(
        [[last(folder / "cells" / cell / "seed_0" / method / fold / "log.jsonl") for fold in folds] for cell in CELLS]
    )


def trained(folder: Path) -> dict[str, tuple[str, int]]:
    """Return hash and time of every log and table of predictions."""
    return {
        name: of for name, of in contents(folder / "cells").items() if name.endswith(("log.jsonl", "predictions.csv"))
    }


def test_each_combination_is_a_run_with_its_own_settings(swept: Path) -> None:
    assert sorted(path.name for path in (swept / "cells").iterdir()) == CELLS
    for cell in CELLS:
        rows = (swept / "cells" / cell / "seed_0" / "sl_gemo_clap" / "fold_1" / "log.jsonl").read_text().splitlines()
        assert len(rows) == int(cell[-1])
        assert run("report", swept / "cells" / cell / "seed_0") == 0
    alpha = (swept / "cells" / CELLS[2] / "seed_0" / "config.yaml").read_text()
    assert "alpha: 0.9" in alpha


@pytest.mark.parametrize("method", ["sl_gemo_clap", "ce"])
def test_means_are_those_of_the_logs(swept: Path, method: str) -> None:
    uar = development(swept, method)
    with (swept / "sweep.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == method]
    assert [(row["objective.alpha"], row["train.epochs"]) for row in rows] == [
        ("0.5", "1"), ("0.5", "3"), ("0.9", "1"), ("0.9", "3"),
    ]  # fmt: skip
    np.testing.assert_allclose([float(row["development_uar"]) for row in rows], uar.mean(1), atol=1e-6)
    np.testing.assert_allclose([float(row["development_uar_sd"]) for row in rows], uar.std(1, ddof=1), atol=1e-6)
    found = json.loads((swept / "sweep.json").read_text())["methods"][method]
    assert found["best"] == CELLS[int(uar.mean(1).argmax())].replace("=", " ").replace(",", ", ")


def test_each_fold_is_tested_with_the_choice_of_its_own_development_speakers(
    small_manifest: Path, tmp_path: Path
) -> None:
    """Made logs and predictions, so that the two folds choose differently."""
    data = DataSettings(manifest=str(small_manifest), folds="kfold", n_folds=2, dev_speakers=1)
    values = {"train.lr": [Value("0.1", 0.1), Value("1e-3", 1e-3), Value("0", 0.0)]}
    sweep = Sweep(Settings(data=data), values, ["ce"], [0], tmp_path)
    development = np.array([[0.7, 0.2], [0.3, 0.9], [0.7, 0.5]])  # of equal ones, the first is chosen
    draws = np.random.default_rng(0)
    tables = {}
    for number, combination in enumerate(sweep.combinations):
        for place, fold in enumerate(sweep.folds):
            folder = sweep.fold_folder(combination, 0, "ce", fold.name)
            folder.mkdir(parents=True)
            (folder / "log.jsonl").write_text(json.dumps({"epoch": 1, "dev_uar": development[number, place]}) + "\n")
            scores = draws.dirichlet(np.ones(4), len(fold.test))
            classes = sweep.vocabulary.emotions
            tables[number, place] = table_of(fold.test, scores, classes, sweep.vocabulary.resolve, fold.name)
            tables[number, place].write(folder / "predictions.csv")
    assert best_of_each_fold(sweep.development_uar("ce", 0)) == [0, 1]
    (one,) = read_sweep(sweep)
    assert one.chosen == [1, 1, 0] and one.scores is not None
    chosen = [tables[0, 0], tables[1, 1]]
    truth, answers = ([label for table in chosen for label in getattr(table, name)] for name in ("truth", "prediction"))
    assert one.scores.uar == pytest.approx(recall_score(truth, answers, average="macro"))
    assert one.scores.n == len(truth) == 32
    assert sweep.combinations[one.best or 0].title == "train.lr 0.001"


def test_the_page_shows_no_test_score_of_a_single_combination(swept: Path) -> None:
    page = (swept / "sweep.md").read_text()
    assert "**Beware: there are only 4 speakers: with so few, an interval covers" in page
    of_development, of_test = page.split("## On test speakers")
    assert of_development.count("| 0.5 |") == of_development.count("| 0.9 |") == 2 and "sweep.png" in of_development
    assert (swept / "sweep.png").is_file() and "**" in of_development
    table = [line for line in of_test.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(table) == 3 and table[1].startswith("| SL-GEmo-CLAP |")  # a header, and a row a method


def test_a_finished_sweep_trains_nothing_and_values_can_be_added(
    swept: Path, small_manifest: Path, capsys: pytest.CaptureFixture
) -> None:
    before = trained(swept)
    assert run("sweep", small_manifest, *OVER, *OPTIONS, "-o", swept) == 0
    assert "epoch" not in capsys.readouterr().err
    assert trained(swept) == before
    more = ("--over", "objective.alpha=0.5,0.7,0.9", "--over", "train.epochs=1")
    assert run("sweep", small_manifest, *more, *OPTIONS, "-o", swept) == 0
    assert (swept / "cells" / "objective.alpha=0.7,train.epochs=1").is_dir()
    now = trained(swept)
    assert {name: now[name] for name in before} == before
    assert run("sweep", small_manifest, *OVER, *OPTIONS, "-o", swept) == 0  # the page of the first values again


def test_a_finished_sweep_is_read_once(swept: Path, small_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = counting(monkeypatch, sweeping, "read_log")
    tables = counting(monkeypatch, sweeping, "read_predictions")
    assert run("sweep", small_manifest, *OVER, *OPTIONS, "-o", swept) == 0
    assert sorted(logs) == sorted(path for cell in CELLS for path in (swept / "cells" / cell).rglob("log.jsonl"))
    assert len(tables) == 2 * 2  # one for each method and fold


def test_a_combination_is_known_by_its_settings_whatever_its_folder_is_called(
    swept: Path, small_manifest: Path, tmp_path: Path
) -> None:
    """Earlier versions named folders as the values were typed."""
    copy = shutil.copytree(swept, tmp_path / "run", copy_function=shutil.copy2)
    for cell in CELLS:
        (copy / "cells" / cell).rename(copy / "cells" / cell.replace("0.5", ".50").replace("=1", "=01"))
    before = trained(copy)
    otherwise = ("--over", "objective.alpha=5e-1,0.90", "--over", "train.epochs=1,3")
    assert run("sweep", small_manifest, *otherwise, *OPTIONS, "-o", copy) == 0
    assert trained(copy) == before
    assert (copy / "sweep.csv").read_text() == (swept / "sweep.csv").read_text()
    # Nor does the order of the settings matter.
    assert run("sweep", small_manifest, *otherwise[2:], *otherwise[:2], *OPTIONS, "-o", copy) == 0
    assert trained(copy) == before


def test_a_fold_with_a_development_part_of_its_own_needs_no_number(small_manifest: Path, tmp_path: Path) -> None:
    rows = read_manifest(small_manifest)
    parts = dict(zip(sorted({str(row.speaker) for row in rows}), ("train", "train", "dev", "test1"), strict=True))
    given = changed(
        small_manifest, tmp_path / "m.jsonl", partition=lambda row: parts[row.speaker], path=lambda row: row.path
    )
    data = DataSettings(manifest=str(given), folds="partitions")
    values = {"train.epochs": [Value("1", 1), Value("3", 3)]}
    sweep = Sweep(Settings(data=data), values, ["ce"], [0], tmp_path / "run")
    assert len(sweep.folds) == 1 and {row.speaker for row in sweep.folds[0].dev} == {"s03"}
    assert "1 fold with 8 development utterances or more each" in write_sweep(sweep, read_sweep(sweep)).read_text()


def test_nothing_is_chosen_before_all_are_finished(small_manifest: Path, tmp_path: Path) -> None:
    data = DataSettings(manifest=str(small_manifest), folds="kfold", n_folds=2, dev_speakers=1)
    values = {"train.epochs": [Value("1", 1), Value("3", 3)]}
    sweep = Sweep(Settings(data=data), values, ["ce"], [0, 1], tmp_path)
    (one,) = read_sweep(sweep)
    assert one.development.shape == (2, 4) and np.isnan(one.development).all()
    assert (one.chosen, one.scores, one.best, one.means) == (None, None, None, [None, None])
    assert "**Unfinished:** 8 trainings are not finished" in write_sweep(sweep, read_sweep(sweep)).read_text()
    folder = sweep.fold_folder(sweep.combinations[0], 0, "ce", "fold_1")
    folder.mkdir(parents=True)
    rows = [{"epoch": 1, "dev_uar": 0.7, "selected": True}, {"epoch": 2, "dev_uar": 0.5, "selected": False}]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "predictions.csv").write_text("")
    assert sweep.development_uar("ce", 0)[0, 0] == 0.7  # of the epoch that was kept
    assert best_of_each_fold(sweep.development_uar("ce", 0)) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            ["--over", "objective.alph=0.5,0.9"],
            "no setting is called 'objective.alph' (did you mean 'objective.alpha'?)",
        ),
        (["--over", "objective.alpha=0.5,x"], "objective.alpha must be a number, not 'x'"),
        (["--over", "objective.alpha=0.5,1.5"], "objective.alpha"),
        (["--over", "objective.alpha"], "has no values; give objective.alpha=A,B,..."),
        (["--over", "objective.alpha=0.5"], "there is nothing to choose from"),
        (
            ["--over", "objective.alpha=0.5,0.5"],
            "--over objective.alpha: 0.5 and 0.5 are one value; give each value once",
        ),
        (["--over", "train.lr=1e-3,2e-3,0.001"], "1e-3 and 0.001 are one value"),
        (["--over", "train.epochs=1,2", "--methods", "ce,ce"], "method 'ce' is given twice"),
        (
            ["--over", "objective.alpha=0.5,0.9", "--methods", "ce"],
            "objective.alpha: has no effect on ce, only on sl_gemo_clap",
        ),
        (["--over", "gmp.hidden_share=0.5,0.9"], "has no effect on"),
        (["--over", "model.projection_dim=4,8", "--methods", "ce"], "has no effect on ce, only on emo_clap"),
        (["--over", "train.seed=0,1"], "train.seed cannot be tried out here"),
        (["--over", "model.layers=1,7"], "there is no layer 7"),
        (["--over", "model.layers=1,[1,7]"], "there is no layer 7"),
        (["--over", "model.layers=1,[0, 1],[0,1]"], "[0, 1] and [0,1] are one value"),
        (["--over", "data.n_folds=2,5"], "data.n_folds cannot be tried out here"),
        (["--over", "data.allow_speaker_overlap=true,false"], "data.allow_speaker_overlap cannot be tried out here"),
        (["--over", "data.audio.max_seconds=4,8"], "data.audio.max_seconds cannot be tried out here"),
        (["--over", "objective.alpha=0.5,0.9", "--over", "objective.alpha=0.7"], "give each setting once"),
        (["--over", "train.epochs=1,2", "--methods", "gmp_tl"], "no method that can be swept is called 'gmp_tl'"),
        (["--over", "train.epochs=1,2", "--data.dev_speakers", "0"], "set --data.dev_speakers to 1 or more"),
    ],
)
def test_what_is_refused(
    given: list[str], says: str, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert says in complaint(capsys, "sweep", small_manifest, *OPTIONS, *given, "-o", tmp_path / "run")
    assert not (tmp_path / "run" / "cells").exists()


def test_a_sweep_is_no_run_to_report_or_to_compare(swept: Path, capsys: pytest.CaptureFixture) -> None:
    for command in (["report", swept], ["compare", swept, swept], ["report", swept, "-o", swept.parent / "joined"]):
        line = complaint(capsys, *command)
        assert f"{swept}: is the folder of a 'gemoclap sweep', not one cross-validation" in line
        one = line.split("such as ")[1].strip()
        assert Path(one).parent.parent == swept / "cells" and (Path(one) / "folds.json").is_file()


@pytest.mark.parametrize("line", ["not json", "[1]", '{"epoch": 1, "dev_uar": "x"}'])
def test_a_damaged_log_is_named_with_its_line(
    line: str, swept: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = shutil.copytree(swept, tmp_path / "copy")
    log = copy / "cells" / CELLS[0] / "seed_0" / "ce" / "fold_1" / "log.jsonl"
    log.write_text(log.read_text() + line + "\n")
    assert f"{log}:2: " in complaint(capsys, "sweep", small_manifest, *OVER, *OPTIONS, "-o", copy)


def test_the_name_of_a_combination_fits_into_a_file_system() -> None:
    axes = {"model.emotion_prompt": [], "train.epochs": []}
    for prompt in ("\u611f" * 60, "a/b", "two\nlines", "x" * 300):
        name = _name(axes, [Value(prompt, prompt), Value("1", 1)])
        assert len(os.fsencode(name)) <= 100 and "/" not in name and "\n" not in name


def test_a_list_or_a_mapping_is_one_value() -> None:
    assert _split("3,[2, 3],{a: 0.1, b: [1,{c: 2,d: 3}]},{}") == ["3", "[2, 3]", "{a: 0.1, b: [1,{c: 2,d: 3}]}", "{}"]
    assert _split("1e-3,last") == ["1e-3", "last"]


def test_a_value_has_one_spelling_in_every_table_however_it_was_typed(small_manifest: Path, tmp_path: Path) -> None:
    data = DataSettings(manifest=str(small_manifest), folds="kfold", n_folds=2, dev_speakers=1)
    axes = dict(map(_axis, ["model.layers=1,[0,1],[ 1,2 ]", "objective.alpha=.5,0.70"]))
    sweep = Sweep(Settings(data=data), axes, ["sl_gemo_clap"], [0], tmp_path)
    page = write_sweep(sweep, read_sweep(sweep)).read_text()
    # What is tried out is not said to be the same in all.
    about = next(line for line in page.splitlines() if line.startswith("Manifest "))
    assert "2 folds with 1 development speaker each, encoder `compact`, fine-tuned, pooling mean_std" in about
    assert "output of" not in about and ", 25 epochs, seed 0;" in about
    rows = [line.split(" | ")[:2] for line in page.splitlines() if line.startswith(("| 1", "| ["))]
    assert rows == [[f"| {layers}", alpha] for layers in ("1", "[0, 1]", "[1, 2]") for alpha in ("0.5", "0.7")]
    with (tmp_path / "sweep.csv").open() as file:
        assert [row["model.layers"] for row in csv.DictReader(file)][::2] == ["1", "[0, 1]", "[1, 2]"]
    assert json.loads((tmp_path / "sweep.json").read_text())["over"]["objective.alpha"] == ["0.5", "0.7"]
    # A folder is found again, whichever way the list was typed.
    again = Sweep(
        Settings(data=data), dict([_axis("model.layers=1,[0, 1]")]), ["sl_gemo_clap"], [0], tmp_path / "again"
    )
    assert [one.name for one in again.combinations] == ["model.layers=1", "model.layers=[0,1]"]
