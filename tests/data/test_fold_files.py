"""Folds that are read from files of EmoBox."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from fold_corpora import TWO, corpus, ids, speakers

from gemoclap.config import DataSettings
from gemoclap.data.folds import make_folds
from gemoclap.errors import GemoclapError


def write_emobox(folder: Path, folds: dict[int, tuple[list[str], list[str]]], suffix: str = ".jsonl") -> Path:
    for number, parts in folds.items():
        (folder / f"fold_{number}").mkdir(parents=True)
        for part, names in zip(("train", "test"), parts, strict=True):
            path = folder / f"fold_{number}" / f"toy_{part}_fold_{number}{suffix}"
            if suffix == ".jsonl":
                path.write_text("".join(json.dumps({"key": f"toy-{n}", "dataset": "toy"}) + "\n" for n in names))
            else:
                path.write_text(json.dumps({f"toy-{n}": {"dataset": "toy"} for n in names}))
    return folder


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_fold_files(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = corpus(3)
    by_speaker = {name: sorted(ids([row for row in rows if row.speaker == name])) for name in ("s1", "s2", "s3")}
    split = {10: (by_speaker["s1"], by_speaker["s2"]), 9: (by_speaker["s2"], by_speaker["s1"])}
    settings = DataSettings(folds="files", fold_files=str(write_emobox(tmp_path / "toy", split, suffix)))
    with caplog.at_level(logging.WARNING):
        folds = make_folds(rows, settings, TWO)
    assert [fold.name for fold in folds] == ["fold_9", "fold_10"]
    assert speakers(folds[1].train) == {"s1"} and speakers(folds[1].test) == {"s2"}
    assert len(folds[0].train) == 8  # the bored ones take no part
    assert "in no fold: 8 rows of the manifest" in caplog.text and "s3_" in caplog.text


@pytest.mark.parametrize(
    ("train", "test", "says"),
    [
        (["s1_angry0", "nobody"], ["s2_angry0"], "toy_train_fold_1.jsonl: id 'nobody' is not in the manifest"),
        (["s1_angry0", "s2_angry0"], ["s2_angry0"], "'s2_angry0' is already in toy_train"),
        (["s1_angry0", "s1_excited0"], [], "fold_1: the test part is empty"),
        (
            ["s1_angry0", "s1_excited0"],
            ["s1_angry1"],
            r"are on both sides of the split \(s1\).*allow_speaker_overlap",
        ),
    ],
)
def test_bad_fold_files(tmp_path: Path, train: list[str], test: list[str], says: str) -> None:
    settings = DataSettings(folds="files", fold_files=str(write_emobox(tmp_path / "toy", {1: (train, test)})))
    with pytest.raises(GemoclapError, match=says):
        make_folds(corpus(2), settings, TWO)


def test_broken_or_missing_fold_files(tmp_path: Path) -> None:
    folder = write_emobox(tmp_path / "toy", {1: (["s1_angry0"], ["s2_angry0"])})
    settings = DataSettings(folds="files", fold_files=str(folder))
    (folder / "fold_1" / "toy_train_fold_1.jsonl").write_text('{"key": "half\n')
    with pytest.raises(GemoclapError, match="toy_train_fold_1.jsonl: not an EmoBox fold file"):
        make_folds(corpus(2), settings, TWO)
    (folder / "fold_1" / "toy_train_fold_1.jsonl").unlink()
    with pytest.raises(GemoclapError, match=r"no file \*_train_fold_1"):
        make_folds(corpus(2), settings, TWO)
    for wrong in (str(folder / "fold_1"), str(tmp_path / "nowhere")):
        with pytest.raises(GemoclapError, match="no fold_1, fold_2"):
            make_folds(corpus(2), replace(settings, fold_files=wrong), TWO)
