"""`--methods dimensions` from a manifest to a report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import changed, complaint, contents, crossval, run

from gemoclap.corpora.manifest import Utterance
from gemoclap.errors import GemoclapError
from gemoclap.metrics.concordance import concordance, concordance_interval
from gemoclap.recipes.dimensions import DimensionTable
from gemoclap.reports.dimensions import is_dimension_run

AROUSAL = {"angry": 4.5, "happy": 4.0, "neutral": 2.5, "sad": 1.5}


def arousal_of(row: Utterance) -> float | None:
    """Return a made value, which one row in five does not have."""
    return None if len(row.id) % 5 == 0 and row.emotion == "sad" else AROUSAL[str(row.emotion)] + len(row.id) % 3 / 10


@pytest.fixture(scope="module")
def judged(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("judged") / "m.jsonl"
    valence: Callable[[Utterance], float] = lambda row: 4.0 if row.emotion == "happy" else 2.0  # noqa: E731
    return changed(small_manifest, target, arousal=arousal_of, valence=valence, emotion=None)


@pytest.fixture(scope="module")
def finished(judged: Path) -> Path:
    output = judged.parent / "run"
    assert run(*crossval(judged, "dimensions", output)) == 0
    return output


def test_the_report_has_the_figures_of_the_predictions(finished: Path) -> None:
    rows = []
    for path in sorted((finished / "dimensions").glob("*/predictions.csv")):
        with path.open(newline="") as file:
            rows += list(csv.DictReader(file))
    figures = {one["name"]: one for one in json.loads((finished / "results.json").read_text())["dimensions"]}
    assert set(figures) == {"valence", "arousal"} and len(rows) == 32
    for name, found in figures.items():
        known = [row for row in rows if row[f"{name}_truth"]]
        truth, prediction = ([float(row[column]) for row in known] for column in (f"{name}_truth", name))
        assert found["rows"] == len(known) and found["speakers"] == 4
        assert found["ccc"] == pytest.approx(concordance(truth, prediction))
        interval = concordance_interval(truth, prediction, [row["speaker"] for row in known])
        assert (found["low"], found["high"]) == pytest.approx(interval)
        errors = [(one - other) ** 2 for one, other in zip(truth, prediction, strict=True)]
        assert found["rmse"] == pytest.approx((sum(errors) / len(errors)) ** 0.5)
        assert 1 < np.mean(prediction) < 5  # on the scale of the corpus
    page = (finished / "report.md").read_text()
    assert f"| arousal | {figures['arousal']['ccc']:.3f} [" in page and "dominance |" not in page
    assert is_dimension_run(finished)


def test_a_finished_run_is_left_alone_and_its_report_can_be_written_again(judged: Path, finished: Path) -> None:
    before = contents(finished / "dimensions")
    assert run(*crossval(judged, "dimensions", finished)) == 0
    (finished / "report.md").unlink()
    assert run("report", finished) == 0
    assert contents(finished / "dimensions") == before and (finished / "report.md").is_file()
    assert not list(finished.rglob("checkpoint")) and not list(finished.rglob("*.safetensors"))


def test_what_cannot_be_cross_validated_is_refused(
    small_manifest: Path, judged: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [
        (crossval(small_manifest, "dimensions", tmp_path / "r"), "no row has valence or arousal or dominance"),
        (crossval(judged, "dimensions,ce", tmp_path / "r"), "not cross-validated beside other methods"),
        (crossval(judged, "dimensions", tmp_path / "r", "--seeds", "0,1"), "not cross-validated with --seeds"),
        (crossval(judged, "dimensions", tmp_path / "r", "--train.balance", "true"), "give --train.balance false"),
        (crossval(judged, "dimensions", tmp_path / "r", "--config", "paper"), "give --data.vocabulary null"),
        (
            crossval(judged, "dimensions", tmp_path / "r", "--data.emotions", "angry,sad"),
            "data.emotions is for classes",
        ),
        (crossval(judged, "dimensions", tmp_path / "r", "--data.dev_speakers", "1"), "give --data.dev_speakers 0"),
        (crossval(judged, "dimensions", finished, "--train.lr", "0.5"), "holds another run"),
        (["report", str(finished), str(finished), "-o", str(tmp_path / "r")], "whose report is written alone"),
    ]
    two = changed(judged, tmp_path / "two.jsonl", corpus=lambda row: f"corpus {row.speaker == 's01'}")
    cases.append((crossval(two, "dimensions", tmp_path / "r"), "their scales may differ"))
    for arguments, words in cases:
        assert words in complaint(capsys, *arguments)
    assert not (tmp_path / "r" / "report.md").exists()


def test_tables_come_back_and_others_are_refused(tmp_path: Path) -> None:
    table = DimensionTable(
        ("fold_1", "fold_1"), ("a", "b,c"), ("x/1", None), (None, "male"),
        {"valence": np.array([1.25, np.nan])}, {"valence": np.array([0.1 + 0.2, -3.0])},
    )  # fmt: skip
    table.write(tmp_path / "t.csv")
    again = DimensionTable.read(tmp_path / "t.csv")
    assert (again.folds, again.ids, again.speakers, again.genders) == (
        table.folds, table.ids, table.speakers, table.genders,
    )  # fmt: skip
    for one, other in ((again.truth, table.truth), (again.prediction, table.prediction)):
        assert list(one) == ["valence"] and np.array_equal(one["valence"], other["valence"], equal_nan=True)
    (tmp_path / "t.csv").write_text("fold,id,speaker,gender,p_angry\nfold_1,a,x,male,0.5\n")
    with pytest.raises(GemoclapError, match=r"t\.csv: not the predictions of a run of dimensions"):
        DimensionTable.read(tmp_path / "t.csv")


def test_a_setting_of_a_file_can_be_taken_back_as_the_message_says(judged: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("data: {vocabulary: iemocap4}\ntrain: {balance: true}\n")
    (tmp_path / "dev.yaml").write_text("data: {dev_speakers: 1}\n")
    options = ["--config", str(tmp_path / "mine.yaml"), "--data.vocabulary", "null", "--train.balance", "false"]
    options += ["--config", str(tmp_path / "dev.yaml"), "--data.dev_speakers", "0"]
    assert run(*crossval(judged, "dimensions", tmp_path / "run", *options)) == 0


def test_the_terminal_shows_a_drawn_table(finished: Path, capsys: pytest.CaptureFixture) -> None:
    capsys.readouterr()
    assert run("report", finished) == 0
    shown = capsys.readouterr().out
    for one in json.loads((finished / "results.json").read_text())["dimensions"]:
        assert (
            one["name"] in shown and f"{one['ccc']:.3f}" in shown and f"[{one['low']:.3f}, {one['high']:.3f}]" in shown
        )
    assert "CCC pooled" in shown and "|" not in shown and "concordance correlation" in shown
