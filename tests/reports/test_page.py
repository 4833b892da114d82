"""The written report: its first line, its figures, its files."""

import csv
import json
import re
import shutil

import matplotlib.image
import pytest
from fakerun import CLASSES, make_run
from sklearn.metrics import accuracy_score, recall_score

from gemoclap.predictions import read_predictions
from gemoclap.reports import collect, write_report, write_scores
from gemoclap.reports.results import score_table

ONE = {"methods": ("emo_clap",), "n_folds": 2, "epochs": 3}


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def sklearn_percent(paths):
    """Return WAR and UAR in percent with one decimal from predictions.csv files, without the code under test."""
    rows = [row for path in paths for row in csv.DictReader(path.open(newline=""))]
    truth, prediction = [row["truth"] for row in rows], [row["prediction"] for row in rows]
    return (
        f"{100 * accuracy_score(truth, prediction):.1f}",
        f"{100 * recall_score(truth, prediction, average='macro'):.1f}",
    )


def table_after(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first Markdown table after a heading, ruler left out."""
    lines = page.split(heading, 1)[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


@pytest.fixture(scope="module")
def full_run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("full") / "run")
    write_report(run)
    return run


def test_every_file_is_there_and_no_other_is_left(full_run):
    methods = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap")
    pictures = {f"{kind}_{method}.png" for kind in ("confusion", "curves") for method in methods}
    expected = {"config.yaml", "folds.json", *methods, "report.md", "results.json", "results.csv", "comparison.png"}
    assert {path.name for path in full_run.iterdir()} == expected | pictures
    linked = set(re.findall(r"\]\(([^)#]+)\)", (full_run / "report.md").read_text()))
    assert linked == pictures | {"comparison.png", "config.yaml", "folds.json", "results.json", "results.csv"}
    for name in [*pictures, "comparison.png"]:
        assert matplotlib.image.imread(full_run / name).std() > 0.01


def test_summary_and_fold_tables_equal_sklearn(full_run):
    page = (full_run / "report.md").read_text()
    assert page.startswith("# Cross-validation on made-up8: 8 classes, 5 folds\n")
    header, *rows = table_after(page, "## Results")
    assert header[:3] == ["method", "WAR pooled [95 % CI]", "UAR pooled [95 % CI]"]
    names = {"Emo-CLAP": "emo_clap", "SL-GEmo-CLAP": "sl_gemo_clap", "ML-GEmo-CLAP": "ml_gemo_clap"}
    assert [row[0] for row in rows] == list(names)
    for row in rows:
        war, uar = sklearn_percent((full_run / names[row[0]]).glob("*/predictions.csv"))
        assert row[1].startswith(f"{war} [") and row[2].startswith(f"{uar} [")
    _, *folds = table_after(page, "### Folds")
    for row, fold in zip(folds, json.loads((full_run / "folds.json").read_text())["folds"], strict=True):
        assert row[:2] == [fold["name"], f"`{fold['hash']}`"] and row[3] == str(len(fold["test"]))
        for cell, name in zip(row[4:], names.values(), strict=True):
            assert cell == " / ".join(sklearn_percent([full_run / name / fold["name"] / "predictions.csv"]))
    assert [row[0] for row in table_after(page, "### Differences")[1:]] == [
        "SL-GEmo-CLAP less Emo-CLAP",
        "ML-GEmo-CLAP less Emo-CLAP",
    ]
    assert table_after(page, "### Recall by class")[0] == ["method", *CLASSES]


def test_json_and_csv_agree_with_the_run(full_run):
    data = json.loads((full_run / "results.json").read_text(), parse_constant=refuse)
    results = collect(full_run)
    with (full_run / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (2 + 5)
    for method in results.methods:
        mine = [row for row in rows if row["method"] == method.name]
        assert [row["aggregate"] for row in mine] == ["pooled", "mean_of_folds", *["fold"] * 5]
        assert float(mine[0]["uar"]) == pytest.approx(method.pooled.uar, abs=1e-6)
        assert float(mine[1]["uar_sd"]) == pytest.approx(method.mean.uar_sd, abs=1e-6)
        assert [row["fold_hash"] for row in mine[2:]] == [fold.hash for fold in results.folds]
        assert data["methods"][method.name]["pooled"]["uar"] == method.pooled.uar
        assert data["methods"][method.name]["mean_of_folds"]["war"] == method.mean.war


def test_shared_speakers_are_the_first_line(tmp_path):
    page = write_report(make_run(tmp_path / "run", shared_speakers=("02", "01"), **ONE)).read_text()
    assert page.splitlines()[0] == (
        "**Speakers are shared between training and test in this run (01, 02): "
        "the figures are not speaker-independent.**"
    )
    assert "no speaker is both trained and tested on" not in page


def test_a_partial_run_says_so_and_what_is_missing(tmp_path):
    run = make_run(tmp_path / "run", methods=("emo_clap", "sl_gemo_clap", "egemaps_svm"), n_folds=3, epochs=2)
    shutil.rmtree(run / "emo_clap" / "fold_2")
    shutil.rmtree(run / "egemaps_svm")
    page = write_report(run).read_text()
    assert "**Partial results:** Emo-CLAP lacks fold_2; eGeMAPS + SVM lacks all folds." in page
    assert "| Emo-CLAP (2 of 3 folds) |" in page
    assert json.loads((run / "results.json").read_text())["methods"]["emo_clap"]["missing_folds"] == ["fold_2"]
    assert not (run / "confusion_egemaps_svm.png").exists()


def test_one_method_with_nothing_known_of_speakers(tmp_path):
    run = make_run(tmp_path / "run", known_speakers=False, known_genders=False, **ONE)
    page = write_report(run).read_text()
    assert "Differences from" not in page.replace("**Differences**", "")
    assert "the speaker of 192 tested utterances is unknown" in page
    json.loads((run / "results.json").read_text(), parse_constant=refuse)


def test_a_method_without_a_log_has_no_curves(tmp_path):
    run = make_run(tmp_path / "run", methods=("egemaps_svm",), n_folds=2)
    page = write_report(run).read_text()
    assert "curves" not in page and not list(run.glob("curves*")) and "confusion_egemaps_svm.png" in page


def test_a_report_is_written_again_alike(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    first = {path.name: path.read_bytes() for path in write_report(run).parent.glob("re*")}
    assert first == {path.name: path.read_bytes() for path in write_report(run).parent.glob("re*")}


def test_report_of_one_evaluation(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    table = read_predictions(run / "emo_clap" / "fold_1" / "predictions.csv")
    page = write_scores(score_table(table), table, tmp_path / "out", "a model on made-up.jsonl").read_text()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"scores.json", "scores.csv", "report.md", "confusion.png"}
    war, uar = sklearn_percent([run / "emo_clap" / "fold_1" / "predictions.csv"])
    figures = table_after(page, "# Evaluation: a model on made-up.jsonl")[1]
    assert figures[0] == "96" and figures[1].startswith(war) and figures[2].startswith(uar)
    mistakes = table_after(page, "## Most confident mistakes")[1:]
    wrong = {
        row["id"]: float(row[f"p_{row['prediction']}"])
        for row in csv.DictReader((run / "emo_clap" / "fold_1" / "predictions.csv").open(newline=""))
        if row["truth"] != row["prediction"]
    }
    assert [row[0] for row in mistakes] == sorted(wrong, key=wrong.__getitem__, reverse=True)[:10]
    assert json.loads((tmp_path / "out" / "scores.json").read_text(), parse_constant=refuse)["n"] == 96


def test_the_page_names_the_encoder_and_how_it_was_trained(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    settings = {
        "model": {"audio_encoder": "enc", "layers": 3, "freeze": "all", "pooling": "mean", "lora_rank": None},
        "train": {"select": "last", "epochs": 30, "lr": 0.001, "seed": 4},
        "methods": ["emo_clap"],
    }
    (run / "config.yaml").write_text(json.dumps(settings))
    write_report(run)
    line = "- Audio encoder: `enc` (layers 3, freeze all, pooling mean); 30 epochs, learning rate 0.001, seed 4"
    assert line in (run / "report.md").read_text()
