"""How old a record is, and what a table says of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakerun import make_run
from results_scripts import COMMAND, TWO, call, module, record
from table_files import read_table, write_table

from gemoclap.recipes.made import RESULTS


def with_results(folder: Path, results: int) -> Path:
    """Write into every fold of a folder which `RESULTS` the code had that made it."""
    for path in folder.rglob("predictions.csv"):
        made = {"gemoclap": "0.1.0", "results": results, "date": "2026-11-29", "seconds": 1.0}
        (path.parent / "made.json").write_text(json.dumps(made))
    return folder


def test_a_table_says_what_is_older_than_the_code(found: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tables = module("results_tables")
    assert "trained by an earlier version of this code" in tables.age(found)
    assert tables.scores({"made": found}, {}).split("\n\n")[1] == (
        "\N{DAGGER} The models were trained by an earlier version of this code; scores and intervals are computed from their "
        "predictions by a later version."
    )
    assert "computed from" not in tables.age({**found, "kind": "layers"})  # the benchmark scored them
    new = {**found, "made": {"date": ["2026-11-29"], "results": ["2"]}}
    assert tables.age(new) == "" and "\N{DAGGER}" not in tables.scores({"made": new}, {})
    changes = [
        {"results": 3, "affects": ["ce"], "what": "another loss"},
        {"results": 4, "affects": ["gmp_tl"], "what": "no"},
    ]
    monkeypatch.setattr(tables, "_changes", lambda: changes)
    assert tables.age(new) == "the models were trained before a change of the code: another loss"
    newest = {**new, "title": "Newest", "made": {"date": ["2026-11-29"], "results": ["4"]}}
    shown = tables.scores({"made": new, "b": new | {"title": "B"}, "newest": newest}, {})
    assert "\N{DAGGER} Made, 8 classes; B: the models were trained before a change of the code: another loss." in shown


def test_a_repeated_run_whose_answers_are_the_same_is_not_old(scripts: ModuleType, made: Path, tmp_path: Path) -> None:
    tables = module("results_tables")
    whole = with_results(make_run(tmp_path / "whole", **TWO), RESULTS)
    found = record(scripts, made, tmp_path / "made.json", COMMAND, "--again", str(whole))
    assert found["repeated"]["folds"] == 4 and found["repeated"]["same"] == found["repeated"]["answers"] == 2 * 8 * 24
    assert tables.age(found) == "" and found["repeated"]["results"] == RESULTS
    later = [{"results": RESULTS + 1, "affects": ["ce"], "what": "another loss"}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_changes", lambda: later)
        assert tables.age(found) == "the models were trained before a change of the code: another loss"
    (whole / "ce" / "fold_2" / "predictions.csv").unlink()
    path = whole / "ce" / "fold_1" / "predictions.csv"
    rows = read_table(path)
    rows[0]["prediction"] = next(name for name in {row["truth"] for row in rows} if name != rows[0]["prediction"])
    write_table(path, rows)
    found = record(scripts, made, tmp_path / "made.json", COMMAND, "--again", str(whole))
    assert tables.age(found).endswith(
        ". Repeated by a later version: 3 of 4 trainings; 287 of 288 predictions stayed the same"
    )


@pytest.mark.parametrize("results", [RESULTS - 1, RESULTS + 1, None])
def test_a_repetition_by_code_with_other_results_proves_nothing(
    results: int | None, scripts: ModuleType, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    again = with_results(make_run(tmp_path / "again", **TWO), RESULTS)
    last = sorted(again.glob("*/fold_*"))[-1]
    if results is None:
        (last / "made.json").unlink()
    else:
        with_results(last, results)
    arguments = ["record", str(made), "--command", COMMAND, "--title", "Made", "-o", str(tmp_path / "made.json")]
    assert call(scripts, *arguments, "--again", str(again)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    which = "code that does not note its RESULTS" if results is None else f"RESULTS {results}"
    assert line.startswith(
        f"{last}: was made with {which}, not with today's {RESULTS}; repeat the run into an empty folder"
    )
    assert not (tmp_path / "made.json").exists()


@pytest.mark.parametrize(
    ("kind", "rows", "method"),
    [("table1", ["tiny/ce"], None), ("crosscorpus", ["a_to_b"], "ce"), ("crossval", ["ce", "ce@other"], None)],
)
def test_a_change_of_a_method_makes_every_kind_of_record_old(
    kind: str, rows: list[str], method: str | None, scripts: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = module("results_tables")
    found = {"kind": kind, "made": {"results": ["1"]}, "rows": dict.fromkeys(rows, {}), "method": method}
    for affects, is_old in (("ce", True), (kind, True), ("gmp_tl", False), ("tiny_ce", False)):
        changes = [{"results": 2, "affects": [affects], "what": "another loss"}]
        monkeypatch.setattr(tables, "_changes", lambda changes=changes: changes)
        assert bool(tables.age(found)) is is_old
