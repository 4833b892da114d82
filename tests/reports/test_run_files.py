"""What a run wrote about itself, in whatever shape it comes back: read, or one line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakerun import make_run

from gemoclap.errors import GemoclapError
from gemoclap.recipes.run_files import last_row, read_plan
from gemoclap.reports.page import report_sections
from gemoclap.reports.results import collect

STRANGE = (None, 3, -1.5, "x", "", [], [3], {}, {"x": 1}, True)
NO_TEXT = (b"\xff\xfe", b"", b"[]", b"3", b"null", b"{", b'{"folds": 1, "folds": 2}', b"[" * 10_000)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    return make_run(folder, ["emo_clap", "ce"], n_folds=2, speakers_a_fold=2, utterances_a_speaker=2, epochs=2)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def one_line(path: Path, read: Callable[[], Any]) -> str | None:
    """Return the complaint, which names the file in one line; None where there is none."""
    try:
        read()
    except GemoclapError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return str(error)
    return None


def changed(data: Any) -> Iterator[Any]:
    """Yield plain data with one value after the other exchanged for every strange one, or left out."""
    for key in [*data] if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        for value in STRANGE:
            copy = json.loads(json.dumps(data))
            copy[key] = value
            yield copy
        if isinstance(data, dict):
            yield {name: value for name, value in data.items() if name != key}
        for inner in changed(data[key]):
            copy = json.loads(json.dumps(data))
            copy[key] = inner
            yield copy


def test_any_shape_of_the_configuration(run: Path) -> None:
    path = run / "config.yaml"
    config = {**yaml.safe_load(path.read_text()), "data": {"audio": {"max_seconds": 1}}, "model": {}, "gmp": {}}
    config["train"] |= {"epochs": 3, "lr": 1e-3, "seed": 0}
    complaints = []
    for strange in changed(config):
        path.write_text(yaml.safe_dump(strange))
        complaints.append(one_line(path, lambda: report_sections(collect(run), {})))
    assert any(complaints) and None in complaints


def test_any_shape_of_the_plan(run: Path) -> None:
    path = run / "folds.json"
    notes = {"encoder_speakers": {"wavlm": {"labelled": ["a"], "heard": []}}, "left_out": {"bored": 3}}
    plan = json.loads(path.read_text()) | notes
    for fold in plan["folds"]:
        del fold["test"][1:]
    path.write_text(json.dumps(plan))
    read_plan(path)
    complaints = []
    for strange in changed(plan):
        path.write_text(json.dumps(strange))
        complaints.append(one_line(path, lambda: read_plan(path)))
        if not complaints[-1]:  # what is read can be reported, or does not fit the predictions
            with suppress(GemoclapError):
                report_sections(collect(run), {})
    assert sum(map(bool, complaints)) > 100 and None in complaints


def test_the_report_counts_what_no_class_has_a_label_for(run: Path) -> None:
    def lines() -> list[str]:
        return [line for line in "\n".join(report_sections(collect(run), {})).split("\n") if "Neither trained" in line]

    path = run / "folds.json"
    plan = json.loads(path.read_text())
    assert "left_out" not in plan and not lines()  # a run of an earlier version
    path.write_text(json.dumps({**plan, "left_out": {"bored": 1_081, "no label": 1}}))
    (line,) = lines()
    assert line.endswith("because the label is not one of the classes: 1,082 utterances (bored 1,081, no label 1)")


def test_any_shape_of_the_log(run: Path) -> None:
    path = run / "ce" / "fold_1" / "log.jsonl"
    row = json.loads(path.read_text().splitlines()[0])
    for strange in changed(row):
        path.write_text(json.dumps(strange) + "\n")
        one_line(path, lambda: last_row(path))
    path.write_text("")
    assert one_line(path, lambda: last_row(path))


@pytest.mark.parametrize("raw", NO_TEXT)
@pytest.mark.parametrize("name", ["config.yaml", "folds.json", "ce/fold_1/log.jsonl", "ce/fold_1/predictions.csv"])
def test_what_is_no_such_file_at_all(name: str, raw: bytes, run: Path) -> None:
    (run / name).write_bytes(raw)
    complaint = one_line(run / name, lambda: collect(run))
    assert complaint or (name.endswith("log.jsonl") and not raw), "only a log may be empty"


OUTSIDE = ["../../x", "..", ".", "", "/etc", "a/../../x", "..\\x", "C:\\x", "x\n", "\0", 3, None]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_method_leads_out_of_the_run(name: object, run: Path) -> None:
    make_run(run.parent / "x", n_folds=2)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "methods": ["ce", name]}))
    complaint = one_line(run / "config.yaml", lambda: collect(run))
    assert complaint and "is not the name of a folder below the run's" in complaint


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_fold_leads_out_of_the_run(name: object, run: Path) -> None:
    plan = json.loads((run / "folds.json").read_text())
    plan["folds"][1]["name"] = name
    (run / "folds.json").write_text(json.dumps(plan))
    assert one_line(run / "folds.json", lambda: collect(run))
