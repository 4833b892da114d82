"""What is said of scores by gender where a gender is not known, or lacks a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small import SMALL, run

from gemoclap.predictions import PredictionTable
from gemoclap.reports.genders import gender_remarks

UNKNOWN = "the gender of {} utterances is not known"
F, M = "female", "male"


def table(genders: list[str | None], truth: list[str]) -> PredictionTable:
    n, classes = len(truth), ("angry", "sad")
    ids = tuple(map(str, range(n)))
    return PredictionTable(classes, ids, ids, ids, tuple(genders), tuple(truth), tuple(truth), np.full((n, 2), 0.5))


@pytest.mark.parametrize(
    ("genders", "truth", "begin"),
    [
        ([F, F, M, M], ["angry", "sad", "angry", "sad"], []),
        ([None] * 3, ["angry", "sad", "angry"], []),  # the columns are empty
        ([F, F, M, M, None], ["angry", "sad", "angry", "sad", "sad"], [UNKNOWN.format("1 of 5")]),
        ([F, F, M, M], ["angry", "sad", "sad", "sad"], ["no utterance of a male speaker is angry:"]),
        (
            [F, M, None],
            ["angry", "sad", "sad"],
            [
                UNKNOWN.format("1 of 3"),
                "no utterance of a female speaker is sad:",
                "no utterance of a male speaker is angry:",
            ],
        ),
        ([F, F], ["angry", "sad"], []),  # there is no gap
    ],
)
def test_what_scores_by_gender_leave_out_is_said(genders: list[str | None], truth: list[str], begin: list[str]) -> None:
    remarks = gender_remarks(table(genders, truth))
    assert [one[: len(start)] for one, start in zip(remarks, begin, strict=True)] == begin


def test_a_report_says_of_how_many_utterances_the_gender_is_not_known(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [json.loads(line) for line in small_manifest.read_text().splitlines()]
    speaker = rows[0]["speaker"]
    unknown = [row for row in rows if row["speaker"] == speaker]
    for row in unknown:
        row["gender"] = None
    manifest = small_manifest.with_name("half.jsonl")
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("crossval", manifest, *SMALL, "--methods", "ce", "-o", tmp_path / "run") == 0
    said = f"Beware: the gender of {len(unknown)} of {len(rows)} utterances is not known"
    assert said in " ".join(capsys.readouterr().out.split())
    assert f"**{said}" in (tmp_path / "run" / "report.md").read_text()
    command = ("evaluate", manifest, "--model", tmp_path / "run" / "ce" / "fold_1" / "model", "-o", tmp_path / "scores")
    assert run(*command) == 0
    assert f"**{said}" in (tmp_path / "scores" / "report.md").read_text()
