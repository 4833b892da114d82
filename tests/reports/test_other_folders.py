"""A folder that is no cross-validation: every command that reads one says what the folder is and which to name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fakerun import make_run
from small import complaint

from gemoclap.config import Settings
from gemoclap.config.ems import IntensitySettings, PretrainModelSettings, PretrainSettings
from gemoclap.errors import GemoclapError
from gemoclap.recipes.calibration import predictions_of_run
from gemoclap.recipes.run_folder import claim
from gemoclap.reports import collect_together, write_report


def left_by(command: str, folder: Path) -> Path:
    """Make the folder that a command which trains one model leaves, with the config.yaml that its recipe claims."""
    encoder = PretrainModelSettings(intensity_model="intensity/model")
    configs: dict[str, dict[str, Any]] = {
        "gmp": {**Settings().to_dict(), "method": "gmp_tl"},
        "train": {**Settings().to_dict(), "method": "ce"},
        "pretrain intensity": asdict(IntensitySettings()),
        "pretrain ems": asdict(PretrainSettings(speech=["a.jsonl"], model=encoder)),
    }
    folder.mkdir()
    claim(folder, configs[command])
    for name in ("features/model", "clusters") if command == "gmp" else ("model",):
        (folder / name).mkdir(parents=True)
    return folder


SAYS = {
    "gmp": ("the steps of GMP-TL for one model", "name the folder of a 'gemoclap crossval MANIFEST --methods gmp_tl'"),
    "train": ("one model, which was trained on all speakers", "gemoclap evaluate MANIFEST --model"),
    "pretrain intensity": ("a model of intensity", "name the folder of a 'gemoclap crossval'"),
    "pretrain ems": ("an encoder", "or 'gemoclap probe'"),
}


@pytest.mark.parametrize("command", SAYS)
@pytest.mark.parametrize("reader", ["report", "report of several", "compare", "papers"])
def test_what_trains_one_model_is_named(
    command: str, reader: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = left_by(command, tmp_path / "left")
    run = make_run(tmp_path / "run", ("ce",), 2)
    arguments = {
        "report": ["report", folder],
        "report of several": ["report", run, folder, "-o", tmp_path / "joined"],
        "compare": ["compare", run, folder],
        "papers": ["papers", "gmp-tl", folder],
    }[reader]
    line = complaint(capsys, *arguments)
    assert line.startswith(f"gemoclap: {folder}: has ") and all(words in line for words in SAYS[command])


def test_a_part_of_a_run_names_the_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = make_run(tmp_path / "run", ("gmp_tl",), 2)
    for part in (run / "gmp_tl", run / "gmp_tl" / "fold_1"):
        assert f"{part}: is a part of the run in {run}; name {run}" in complaint(capsys, "report", part)
        assert f"{part}: is a part of the run in {run}; name {run}" in complaint(capsys, "papers", "gmp-tl", part)
    steps = left_by("gmp", tmp_path / "steps")
    line = complaint(capsys, "report", steps / "clusters")
    assert f"{steps / 'clusters'}: is a part of {steps}, which has the steps of GMP-TL" in line
    assert "no such file" in complaint(capsys, "report", run / "nowhere")


def test_a_folder_of_runs_names_one(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = make_run(tmp_path / "runs" / "one", ("ce",), 2)
    for command in ("report", "compare"):
        arguments = [command, tmp_path / "runs", *([run] if command == "compare" else [])]
        assert f"has runs in it; name one or several of them, such as {run}" in complaint(capsys, *arguments)


def test_reports_name_their_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = [make_run(tmp_path / name, ("ce",), 2) for name in ("one", "two")]
    write_report(collect_together(runs, tmp_path / "joined"))
    line = complaint(capsys, "report", tmp_path / "joined")
    assert line.endswith(f"name the runs: {runs[0]} {runs[1]}\n")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "scores.json").write_text(json.dumps({"title": "made"}))
    assert "has one evaluation, whose report is" in complaint(capsys, "report", tmp_path / "evaluation")


def test_a_run_of_dimensions_has_no_classes_to_show(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = make_run(tmp_path / "run", ("dimensions",), 2)
    for command in (["compare", run, make_run(tmp_path / "other", ("ce",), 2)], ["papers", "gmp-tl", run]):
        assert f"{run}: is a run of dimensions, which has no classes" in complaint(capsys, *command)


def test_a_temperature_is_not_fitted_on_such_a_folder(tmp_path: Path) -> None:
    folder = left_by("gmp", tmp_path / "steps")
    with pytest.raises(GemoclapError, match="has the steps of GMP-TL"):
        predictions_of_run(folder, {}, "ce", ("happy", "sad"))
