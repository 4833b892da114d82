"""What is read from a run's folder, against scikit-learn on the CSV files and against the folder's own plan."""

import csv
import json
import shutil

import numpy as np
import pytest
from fakerun import make_run
from sklearn.metrics import accuracy_score, f1_score, recall_score

from gemoclap.errors import GemoclapError
from gemoclap.metrics import unweighted_average_recall
from gemoclap.reports.results import collect


def read_columns(*paths):
    """Return truth and prediction of some predictions.csv, read without the code under test."""
    rows = [row for path in paths for row in csv.DictReader(path.open(newline=""))]
    return [row["truth"] for row in rows], [row["prediction"] for row in rows], rows


def test_pooled_and_mean_of_folds_equal_sklearn(tmp_path):
    run = make_run(tmp_path / "run")
    results = collect(run)
    assert [method.name for method in results.methods] == ["emo_clap", "sl_gemo_clap", "ml_gemo_clap"]
    assert not results.partial and not results.speaker_overlap
    for method in results.methods:
        files = [run / method.name / f"fold_{number}" / "predictions.csv" for number in range(1, 6)]
        truth, prediction, rows = read_columns(*files)
        assert method.pooled.war == pytest.approx(accuracy_score(truth, prediction))
        assert method.pooled.uar == pytest.approx(recall_score(truth, prediction, average="macro"))
        assert method.pooled.macro_f1 == pytest.approx(f1_score(truth, prediction, average="macro"))
        female = [(row["truth"], row["prediction"]) for row in rows if row["gender"] == "female"]
        assert method.pooled.uar_by_gender["female"] == pytest.approx(
            recall_score(*zip(*female, strict=True), average="macro")
        )
        uars = [recall_score(*read_columns(file)[:2], average="macro") for file in files]
        assert method.mean.uar == pytest.approx(np.mean(uars))
        assert method.mean.uar_sd == pytest.approx(np.std(uars, ddof=1))
        assert method.mean.n_folds == 5


def test_folds_and_counts_are_those_of_the_plan(tmp_path):
    run = make_run(tmp_path / "run")
    plan = json.loads((run / "folds.json").read_text())
    results = collect(run)
    assert [(fold.name, fold.hash, fold.n_test) for fold in results.folds] == [
        (fold["name"], fold["hash"], len(fold["test"])) for fold in plan["folds"]
    ]
    assert results.folds[0].test_speakers == ("01", "06", "11", "16")
    truth = read_columns(*(run / "emo_clap").glob("*/predictions.csv"))[0]
    assert results.class_counts == {name: truth.count(name) for name in results.classes}


def test_missing_folds_are_named_and_differences_use_common_folds(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "emo_clap" / "fold_2" / "predictions.csv").unlink()
    shutil.rmtree(run / "sl_gemo_clap" / "fold_5")
    shutil.rmtree(run / "ml_gemo_clap")
    results = collect(run)
    assert results.partial
    assert [method.missing for method in results.methods] == [
        ("fold_2",),
        ("fold_5",),
        ("fold_1", "fold_2", "fold_3", "fold_4", "fold_5"),
    ]
    assert results.methods[2].pooled is None and results.methods[2].mean is None
    assert [method.name for method in results.scored] == ["emo_clap", "sl_gemo_clap"]
    (difference,) = results.differences
    common = ["fold_1", "fold_3", "fold_4"]
    uar = {
        name: recall_score(
            *read_columns(*(run / name / fold / "predictions.csv" for fold in common))[:2], average="macro"
        )
        for name in ("emo_clap", "sl_gemo_clap")
    }
    assert (difference.baseline, difference.method, difference.n) == ("emo_clap", "sl_gemo_clap", 3 * 96)
    assert difference.uar.value == pytest.approx(uar["sl_gemo_clap"] - uar["emo_clap"])
    assert difference.uar.low < difference.uar.value < difference.uar.high


def test_unknown_speakers_and_genders(tmp_path):
    results = collect(make_run(tmp_path / "run", known_speakers=False, known_genders=False))
    pooled = results.methods[0].pooled
    assert pooled.n_clusters == pooled.n == 480
    assert pooled.uar_by_gender == {} and pooled.gender_gap is None
    assert results.folds[0].test_speakers == ()


def test_shared_speakers_mark_the_run(tmp_path):
    assert collect(make_run(tmp_path / "run", shared_speakers=("01",))).speaker_overlap


def test_one_fold_has_no_standard_deviation(tmp_path):
    results = collect(make_run(tmp_path / "run", methods=("emo_clap",), n_folds=1))
    assert np.isnan(results.methods[0].mean.uar_sd) and results.differences == ()
    assert results.methods[0].mean.uar == pytest.approx(results.methods[0].pooled.uar)


def test_fold_without_some_class_averages_the_others(tmp_path):
    run = make_run(tmp_path / "run", methods=("emo_clap",), n_folds=3, speakers_a_fold=1, utterances_a_speaker=5)
    truth, prediction, _ = read_columns(run / "emo_clap" / "fold_1" / "predictions.csv")
    assert len(set(truth)) < 8
    scores = collect(run).methods[0].folds["fold_1"]
    assert scores.uar == pytest.approx(recall_score(truth, prediction, labels=sorted(set(truth)), average="macro"))
    assert scores.uar == pytest.approx(unweighted_average_recall(truth, prediction))


def break_nothing_finished(run):
    for path in run.glob("*/*/predictions.csv"):
        path.unlink()


def break_test_utterances(run):
    shutil.copy(run / "emo_clap" / "fold_2" / "predictions.csv", run / "emo_clap" / "fold_1" / "predictions.csv")


def break_classes(run):
    plan = json.loads((run / "folds.json").read_text())
    plan["vocabulary"]["emotions"].reverse()
    (run / "folds.json").write_text(json.dumps(plan))


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (break_nothing_finished, r"run: no fold is finished yet"),
        (break_test_utterances, r"fold_1/predictions\.csv: its utterances are not the 96 test utterances"),
        (break_classes, r"predictions\.csv: its classes are not those of folds\.json"),
        (lambda run: (run / "config.yaml").unlink(), r"config\.yaml: no such file"),
        (lambda run: (run / "config.yaml").write_text("methods: []"), r"config\.yaml: names no methods"),
        (lambda run: (run / "config.yaml").write_text("a: [b"), r"config\.yaml: not YAML"),
        (lambda run: (run / "folds.json").unlink(), r"folds\.json: no such file"),
        (lambda run: (run / "folds.json").write_text("{"), r"folds\.json: not JSON"),
        (lambda run: (run / "folds.json").write_text("{}"), r"folds\.json: has no 'vocabulary'"),
        (
            lambda run: (run / "emo_clap/fold_1/log.jsonl").write_text('{"epoch": 1}\n{'),
            r"log\.jsonl:2: not a line of JSON",
        ),
    ],
)
def test_a_faulty_folder_is_one_line_that_names_the_file(tmp_path, breakage, message):
    run = make_run(tmp_path / "run", methods=("emo_clap",), n_folds=2, epochs=2)
    breakage(run)
    with pytest.raises(GemoclapError, match=message) as caught:
        collect(run)
    assert "\n" not in str(caught.value)
