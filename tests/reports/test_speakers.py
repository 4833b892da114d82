"""The scores of each speaker, in the reports of cross-validations and evaluations."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from fakerun import ONE, make_run
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from written_pages import table_after

from gemoclap.predictions import PredictionTable, read_predictions
from gemoclap.reports import write_report, write_scores
from gemoclap.reports.rows import score_table
from gemoclap.reports.speakers import SpeakerScore, Spread, draw_speakers, scores_by_speaker


def test_every_speaker_has_scores_of_its_own(full_run):
    """A speaker's UAR is over the classes that the speaker has, as scikit-learn's balanced accuracy is."""
    rows = [
        row for path in full_run.glob("emo_clap/*/predictions.csv") for row in csv.DictReader(path.open(newline=""))
    ]
    with (full_run / "speakers.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["method"] == "emo_clap"]
    assert [row["speaker"] for row in found] == [f"{number:02d}" for number in range(1, 21)]
    for one in found:
        own = [row for row in rows if row["speaker"] == one["speaker"]]
        truth, said = [row["truth"] for row in own], [row["prediction"] for row in own]
        assert (one["n"], one["gender"]) == (str(len(own)), own[0]["gender"])
        assert float(one["war"]) == pytest.approx(accuracy_score(truth, said), abs=1e-6)
        assert float(one["uar"]) == pytest.approx(balanced_accuracy_score(truth, said), abs=1e-6)
    uars = {row["speaker"]: 100 * float(row["uar"]) for row in found}
    cells = table_after((full_run / "report.md").read_text(), "### Speakers")[1]
    lowest, highest = min(uars, key=uars.__getitem__), max(uars, key=uars.__getitem__)
    assert cells[2:4] == [f"{uars[lowest]:.1f} ({lowest})", f"{np.quantile(list(uars.values()), 0.25):.1f}"]
    assert cells[6] == f"{uars[highest]:.1f} ({highest})"


def test_scores_of_speakers_are_means_over_seeds_and_need_two_known_speakers():
    def of_seed(said: str) -> PredictionTable:
        truth = "aabb" + "ab"
        return PredictionTable(
            ("a", "b"), tuple("123456"), (None,) * 6, (*["one"] * 4, None, None), ("female", "male", *[None] * 4),
            tuple(truth), tuple(said), np.full((6, 2), np.nan),
        )  # fmt: skip

    assert scores_by_speaker([of_seed("aabbab"), of_seed("abaaba")]) == [SpeakerScore("one", None, 4, 0.625, 0.625)]
    assert scores_by_speaker([replace(of_seed("aabbab"), speakers=(None,) * 6)]) == []


def test_seeds_of_two_versions_may_spell_speakers_and_order_rows_differently():
    """Their names are those of the first seed, as in all other figures of such a row; the report could not be written."""

    def of_seed(order: str, said: dict[str, str], speakers: dict[str, str]) -> PredictionTable:
        truth = dict(zip("1234", "abab", strict=True))
        columns = [tuple(of[one] for one in order) for of in (speakers, truth, said)]
        return PredictionTable(
            ("a", "b"), tuple(order), ("fold_1",) * 4, columns[0], ("male",) * 4, *columns[1:], np.full((4, 2), np.nan)
        )

    first = of_seed("1234", dict(zip("1234", "abbb", strict=True)), dict(zip("1234", "xxyy", strict=True)))
    other = of_seed(
        "4321", dict(zip("1234", "aaab", strict=True)), dict(zip("1234", ["c/x", "c/x", "c/y", "c/y"], strict=True))
    )
    assert scores_by_speaker([first, other]) == [
        SpeakerScore("x", "male", 2, (1.0 + 0.5) / 2, (1.0 + 0.5) / 2),
        SpeakerScore("y", "male", 2, (0.5 + 1.0) / 2, (0.5 + 1.0) / 2),
    ]


def test_a_report_without_speakers_has_no_table_of_them(tmp_path):
    run = make_run(tmp_path / "run", known_speakers=False, **ONE)
    page = write_report(run).read_text()
    assert "### Speakers" not in page and not list(run.glob("speakers.*"))


def test_an_evaluation_shows_the_same_of_its_speakers(full_run, tmp_path):
    """What a fold's model gets for its test speakers is what `evaluate` reports of the same predictions."""
    table = read_predictions(full_run / "emo_clap" / "fold_1" / "predictions.csv")
    page = write_scores(score_table(table), table, tmp_path / "out", "m on n").read_text()
    read = [
        list(csv.DictReader(path.open(newline="")))
        for path in (full_run / "speakers.csv", tmp_path / "out" / "speakers.csv")
    ]
    of_run = {row["speaker"]: row for row in read[0] if row.pop("method") == "emo_clap"}
    assert {row["speaker"] for row in read[1]} == set(table.speakers)
    assert all(row == of_run[row["speaker"]] for row in read[1])
    header, cells = table_after(page, "## Speakers")
    assert header[0] == "speakers" and cells[0] == str(len(read[1]))


@pytest.mark.parametrize("speakers", [("one",), (None,)])
def test_an_evaluation_of_one_speaker_or_unknown_ones_has_no_such_table(speakers, full_run, tmp_path):
    table = read_predictions(full_run / "emo_clap" / "fold_1" / "predictions.csv")
    table = replace(table, speakers=speakers * len(table))
    page = write_scores(score_table(table), table, tmp_path / "out", "m on n").read_text()
    assert "## Speakers" not in page and not (tmp_path / "out" / "speakers.png").exists()
    assert len(list(csv.DictReader((tmp_path / "out" / "speakers.csv").open(newline="")))) == len(
        set(speakers) - {None}
    )


@pytest.mark.parametrize("name", ["7", "corpus/" + "interview_with_a_long_name_" * 6])
def test_the_name_in_the_picture_leaves_room_for_it(name, tmp_path, monkeypatch):
    """The name of a recording, in place of a speaker's, took half of the picture and covered the names of the methods."""
    drawn = []
    monkeypatch.setattr("gemoclap.reports.speakers.save", lambda figure, *_: drawn.append(figure))
    scores = [SpeakerScore(one, None, 9, uar, uar) for one, uar in ((name, 0.2), ("8", 0.6), ("9", 0.9))]
    draw_speakers([Spread("ce", "Cross-entropy", scores)], 4, tmp_path / "speakers.png")
    figure = drawn[0]
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_position().width > 0.7
    method, label = axes.get_yticklabels()[0].get_window_extent(), axes.texts[0].get_window_extent()
    assert label.x0 > method.x1 and label.x1 < figure.bbox.x1
