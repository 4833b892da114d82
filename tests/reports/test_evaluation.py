"""The report of one evaluation."""

import csv
import json
from dataclasses import replace

import numpy as np
from fakerun import ONE, make_run
from written_pages import refuse, sklearn_percent, table_after

from gemoclap.metrics.calibration import apply_temperature, class_numbers, confidence_of
from gemoclap.predictions import PredictionTable, read_predictions
from gemoclap.reports import write_scores
from gemoclap.reports.rows import score_table


def test_report_of_one_evaluation(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    table = read_predictions(run / "emo_clap" / "fold_1" / "predictions.csv")
    page = write_scores(score_table(table), table, tmp_path / "out", "a model on made-up.jsonl").read_text()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {f"{name}.{kind}" for name in ("confusion", "reliability", "speakers") for kind in ("png", "svg")}
    assert names == {"scores.json", "scores.csv", "speakers.csv", "report.md"} | pictures
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


def test_an_evaluation_says_which_answers_cannot_be_right(tmp_path):
    classes = ("angry", "calm", "fearful", "sad")
    rng = np.random.default_rng(0)
    truth = [("angry", "sad")[one] for one in rng.integers(0, 2, 40)]
    probabilities = rng.dirichlet(np.ones(4), 40)
    said = [classes[one] for one in probabilities.argmax(axis=1)]
    table = PredictionTable(
        classes, tuple(map(str, range(40))), (None,) * 40, tuple("abcdefgh" * 5), (None,) * 40, tuple(truth), tuple(said),
        probabilities, tuple(f"{n}.wav" for n in range(40)),
    )  # fmt: skip
    page = write_scores(score_table(table), table, tmp_path, "m on n", unknown={"bored": 7, "tired": 1}).read_text()
    lost = sum(one in ("calm", "fearful") for one in said)
    assert f"calm, fearful: no utterance has these classes of the model, so {lost} of 40 predictions" in page
    assert "bored 7, tired 1: the model does not know these labels, so such utterances are left out" in page
    data = json.loads((tmp_path / "scores.json").read_text())
    assert (data["answers_that_cannot_be_right"], data["absent_classes"]) == (lost, ["calm", "fearful"])
    header, first, *_ = table_after(page, "## Most confident mistakes")
    assert header[-1] == "probability (no temperature was fitted)" and first[1].endswith(".wav")
    assert [row[0] for row in table_after(page, "## Confidence")[1:]] == ["no temperature was fitted"]


def test_an_evaluation_names_the_only_class_that_a_model_predicts(tmp_path):
    table = read_predictions(make_run(tmp_path / "run", **ONE) / "emo_clap" / "fold_1" / "predictions.csv")
    same = replace(table, prediction=("calm",) * len(table), probabilities=np.full_like(table.probabilities, np.nan))
    assert "**Beware: the model predicts calm for every utterance" in write_scores(
        score_table(same), same, tmp_path, "m on n"
    ).read_text(encoding="utf-8")
    right = replace(same, truth=same.prediction)  # there is nothing else to predict
    assert "for every utterance" not in write_scores(score_table(right), right, tmp_path, "m on n").read_text()


def test_an_evaluation_shows_the_confidence_before_and_after_the_models_temperature(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    table = read_predictions(run / "emo_clap" / "fold_1" / "predictions.csv")
    calibrated = replace(table, probabilities=apply_temperature(table.probabilities, 2.5))
    calibration = {"temperature": 2.5, "fitted_on": "the development speakers", "utterances": 9}
    page = write_scores(score_table(table), calibrated, tmp_path / "out", "m on n", calibration=calibration).read_text()
    _, before, after = table_after(page, "## Confidence")
    truth = class_numbers(table.truth, table.classes)
    for row, probabilities in ((before, table.probabilities), (after, calibrated.probabilities)):
        expected = confidence_of(probabilities, truth)
        assert row[1:] == [f"{100 * expected.ece:.1f}", f"{expected.nll:.3f}", f"{expected.brier:.3f}"]
    assert "temperature is 2.50, fitted on the development speakers" in page
    assert table_after(page, "## Most confident mistakes")[0][-1] == "probability"
