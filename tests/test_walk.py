"""The whole way of a newcomer, through the command line, on a synthetic corpus that the test makes itself."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from gemoclap import Predictor
from gemoclap.cli import main
from gemoclap.corpora.manifest import read_manifest, write_manifest
from gemoclap.corpora.synthetic import generate

SMALL = [
    "--model.audio_options",
    '{"hidden_size": 32, "num_hidden_layers": 1, "stem_channels": 8}',
    "--train.epochs",
    "2",
    "--train.warmup_epochs",
    "0",
]
METHODS = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap", "egemaps_svm")
EMOTIONS = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walk")
    write_manifest(generate(folder / "corpus", speakers=6, sentences=2, takes=1), folder / "corpus.jsonl")
    return folder / "corpus.jsonl"


def test_from_a_corpus_to_a_table_and_a_prediction(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    corpus = manifest.parent / "corpus"
    assert main(["prepare", "synthetic", str(corpus), "-o", str(tmp_path / "m.jsonl")]) == 0
    assert {row.id for row in read_manifest(tmp_path / "m.jsonl")} == {row.id for row in read_manifest(manifest)}
    assert main(["inspect", str(manifest), "-o", str(tmp_path / "counts.json")]) == 0
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["emotions"] == dict.fromkeys(EMOTIONS, 12)

    run = tmp_path / "run"
    folds = ["--data.manifest", str(manifest), "--data.folds", "kfold", "--data.n_folds", "2"]
    picked = ["--data.dev_speakers", "1", "--train.select", "dev"]
    methods = json.dumps(METHODS)
    assert main(["crossval", *folds, *SMALL, *picked, "--methods", methods, "-o", str(run)]) == 0
    check_run(run, manifest)
    shown = capsys.readouterr().out
    assert "pooled" in shown and "mean" in shown
    assert main(["report", str(run), "--html"]) == 0
    page = (run / "report.html").read_text()
    # Three methods have embeddings, each in two folds, coloured by emotion, gender and speaker.
    assert page.count("coloured by emotion</figcaption>") == 6 and page.count("coloured by speaker</figcaption>") == 6
    assert "<audio controls" in page
    capsys.readouterr()
    assert main(["compare", str(run)]) == 0
    assert capsys.readouterr().out.count(" minus ") == 6  # every pair of the four methods

    whole = tmp_path / "whole"
    train = ["train", "--method", "ml_gemo_clap", "--data.manifest", str(manifest), *SMALL, "-o", str(whole)]
    assert main(train) == 0
    check_model(whole / "model", manifest, tmp_path)


def check_run(run: Path, manifest: Path) -> None:
    """Every utterance is tested once, by each method, by a model that never met its speaker."""
    folds = {fold["name"]: fold for fold in json.loads((run / "folds.json").read_text())["folds"]}
    speaker = {row.id: f"{row.corpus}/{row.speaker}" for row in read_manifest(manifest)}
    results = json.loads((run / "results.json").read_text())
    for method in METHODS:
        tested: list[dict[str, str]] = []
        for name, fold in folds.items():
            with (run / method / name / "predictions.csv").open() as file:
                rows = list(csv.DictReader(file))
            seen = {speaker[one] for one in (*fold["train"], *fold["dev"])}
            assert not seen & {row["speaker"] for row in rows}
            assert not {speaker[one] for one in fold["train"]} & {speaker[one] for one in fold["dev"]}
            tested += rows
        assert sorted(row["id"] for row in tested) == sorted(speaker)
        right = np.mean([row["truth"] == row["prediction"] for row in tested])
        assert results["methods"][method]["pooled"]["war"] == pytest.approx(right)
        assert (run / f"confusion_{method}.png").stat().st_size > 5000
    assert (run / "emo_clap" / "fold_1" / "model" / "model.safetensors").is_file()
    assert not list(run.rglob("checkpoint"))
    page = (run / "report.md").read_text()
    assert all(fold["hash"] in page for fold in folds.values())
    log = [json.loads(line) for line in (run / "ml_gemo_clap" / "fold_1" / "log.jsonl").read_text().splitlines()]
    assert {"loss", "emotion", "gender", "dev_uar"} <= log[-1].keys() and sum(row["selected"] for row in log) == 1


def check_model(model: Path, manifest: Path, tmp_path: Path) -> None:
    rows = read_manifest(manifest)
    assert main(["evaluate", str(manifest), "--model", str(model), "-o", str(tmp_path / "scores")]) == 0
    page = (tmp_path / "scores" / "report.md").read_text()
    assert page.startswith("**The model was trained on speakers scored here")
    with (tmp_path / "scores" / "predictions.csv").open() as file:
        evaluated = {row["id"]: row for row in csv.DictReader(file)}
    (tmp_path / "noise.wav").write_text("not audio")
    table = tmp_path / "out.csv"
    assert (
        main(
            [
                "predict",
                str(manifest.parent / "corpus"),
                str(tmp_path / "noise.wav"),
                "--model",
                str(model),
                "-o",
                str(table),
            ]
        )
        == 1
    )
    with table.open() as file:
        predicted = {row["path"]: row for row in csv.DictReader(file)}
    assert list(next(iter(predicted.values()))) == ["path", "emotion", "confidence", *EMOTIONS, "error", "remark"]
    assert "noise.wav" in predicted.pop(str(tmp_path / "noise.wav"))["error"]
    assert len(predicted) == len(rows)
    for row in rows:
        line = predicted[str(Path(row.path))]
        assert line["emotion"] == evaluated[row.id]["prediction"]
        assert float(line["confidence"]) == max(float(line[emotion]) for emotion in EMOTIONS)
    predictor = Predictor.from_pretrained(model)
    prediction = predictor(rows[0].path)
    assert prediction.emotion == evaluated[rows[0].id]["prediction"]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert np.linalg.norm(prediction.embedding) == pytest.approx(1, rel=1e-5)
    assert set(predictor(rows[0].path, labels=["bored", "excited"]).probabilities) == {"bored", "excited"}
