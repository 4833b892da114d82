"""The pages of results: their tables are what the records of runs give, and records are what runs give."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fakerun import make_run, told
from results_scripts import COMMAND, ROOT, TWO, answers, call, module, record, table, uar_of
from sklearn.metrics import accuracy_score, f1_score

from gemoclap.cli.commands import COMMANDS, parse
from gemoclap.errors import GemoclapError
from gemoclap.recipes.made import RESULTS

RECORDS = ROOT / "docs" / "records"


# What is in the repository.


def test_the_pages_are_what_the_records_give(scripts: ModuleType) -> None:
    pages = module("results_pages")
    records = pages.read_records(RECORDS)
    checked = 0
    for pattern in pages.PAGES:
        for path in ROOT.glob(pattern):
            text = path.read_text(encoding="utf-8")
            assert pages.filled(text, records, path.name) == text, f"{path.name}: run 'make results'"
            assert pages.named_records(text) <= set(records), path.name
            checked += len(pages.named_records(text))
    assert checked > 10


def test_every_picture_of_the_pages_can_be_drawn_again(scripts: ModuleType, tmp_path: Path) -> None:
    pictures, records = module("results_pictures"), module("results_pages").read_records(RECORDS)
    drawn = pictures.draw_pictures(records, tmp_path)
    assert {path.name for path in drawn} == set(pictures.PICTURES)
    assert all(path.stat().st_size > 5_000 and (ROOT / "docs" / "images" / path.name).is_file() for path in drawn)


def test_every_picture_of_a_record_is_there_and_on_a_page() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    shown = {Path(name).name for name in re.findall(r"\]\(([^)]*images/[^)]+)\)", pages)}
    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}


@cache
def output_of(command: str) -> str:
    """Return the folder that a command writes to, as its own parser reads it."""
    _, *words = shlex.split(command)
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)
    return parse(name, words[len(name.split()) :]).output


@pytest.mark.parametrize(
    "path", sorted({*RECORDS.glob("*.json")} - {RECORDS / "changes.json"}), ids=lambda path: path.stem
)
def test_a_record_has_figures_and_no_path_of_a_machine(path: Path, scripts: ModuleType) -> None:
    text = path.read_text(encoding="utf-8")
    found = json.loads(text)
    assert len(text) < 40_000
    assert {"form", "kind", "title", "commands", "made", "recorded", "settings", "interval", "rows"} <= set(found)
    assert found["form"] == 1 and found["kind"] in module("results_record").MAKERS and found["made"]["date"]
    assert not re.search(r'(?:["\s=,])(?:/|~|[A-Za-z]:\\\\)\w', text), "an absolute path"
    for name, row in found["rows"].items():
        for figure in ("uar", "war", "macro_f1"):
            value, low, high = row.get(figure, (0.5, 0.4, 0.6))
            assert 0 <= low <= value <= high <= 1, name
    for command in found["commands"]:
        if command.startswith("python "):
            assert (ROOT / command.split()[1]).is_file()
        else:
            assert output_of(command).startswith(("runs/", "demo/"))


@pytest.mark.parametrize("name", ["docs/results.md", "README.md"])
def test_no_figure_with_an_interval_is_typed(name: str, scripts: ModuleType) -> None:
    pages = module("results_pages")
    text = (ROOT / name).read_text(encoding="utf-8").partition("## The papers' own figures")[0]
    assert re.search(r"\d \[\d", text)
    rest = pages.FIGURE.sub("", pages.TABLE.sub("", text))
    assert not re.findall(r".*\d ?\[[-+\N{MINUS SIGN}]?\d.*", rest)


def test_a_change_of_results_is_described() -> None:
    changes = json.loads((RECORDS / "changes.json").read_text(encoding="utf-8"))
    assert [one["results"] for one in changes] == list(range(1, RESULTS + 1))
    assert all(one["what"] for one in changes)


# From a run to a page.


def test_a_run_is_recorded_with_its_own_scores(found: dict[str, Any], made: Path) -> None:
    assert found["corpus"]["speakers"] == 8 and set(found["corpus"]["folds"]) == {"fold_1", "fold_2"}
    assert str(made) not in json.dumps(found) and answers(made, "ce")[0]["id"] not in json.dumps(found)
    for method in ("emo_clap", "ce"):
        rows = answers(made, method)
        truth, said = ([row[name] for row in rows] for name in ("truth", "prediction"))
        row = found["rows"][method]
        assert row["uar"][0] == pytest.approx(uar_of(rows), abs=1e-6)
        assert row["war"][0] == pytest.approx(accuracy_score(truth, said), abs=1e-6)
        assert row["macro_f1"][0] == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-6)
        by_fold = [uar_of([one for one in rows if one["fold"] == fold]) for fold in ("fold_1", "fold_2")]
        assert row["mean_of_folds"]["uar"] == pytest.approx(np.mean(by_fold), abs=1e-6)
        assert row["mean_of_folds"]["uar_sd"] == pytest.approx(np.std(by_fold, ddof=1), abs=1e-6)
        for gender in ("female", "male"):
            own = [one for one in rows if one["gender"] == gender]
            assert row["by_gender"][gender] == pytest.approx(uar_of(own), abs=1e-6)


def test_the_tables_show_these_scores(found: dict[str, Any], made: Path) -> None:
    fill = module("results_pages").filled
    page = "Before.\n\n<!-- table: uar made -->\nold\n<!-- end -->\n\nSo <!--v made.ce.uar_ci-->0<!--/v--> it is.\n"
    text = fill(page, {"made": found}, "page")
    assert fill(text, {"made": found}, "page") == text
    header, first, second = table(text)
    assert header == ["method", "Made, 8 classes, 2 folds (8 speakers) \N{DAGGER}"]
    shown = {"Emo-CLAP": first[1], "Cross-entropy": second[1]}
    assert [first[0], second[0]] == list(shown)
    for method, title in (("emo_clap", "Emo-CLAP"), ("ce", "Cross-entropy")):
        assert shown[title].split()[0] == f"{100 * uar_of(answers(made, method)):.1f}"
        low, high = (f"{100 * bound:.1f}" for bound in found["rows"][method]["uar"][1:])
        assert shown[title].endswith(f"[{low}, {high}]")
    assert f"So <!--v made.ce.uar_ci-->{shown['Cross-entropy']}<!--/v--> it is." in text and "\nold\n" not in text


def test_differences_have_the_p_of_all_signs_of_the_speakers(found: dict[str, Any], made: Path) -> None:
    one, other = ({row["id"]: row for row in answers(made, method)} for method in ("ce", "emo_clap"))
    classes = sorted({row["truth"] for row in one.values()})
    size = {name: sum(row["truth"] == name for row in one.values()) for name in classes}
    shares: dict[str, float] = {}
    for key, row in one.items():
        gain = (row["prediction"] == row["truth"]) - (other[key]["prediction"] == row["truth"])
        shares[row["speaker"]] = shares.get(row["speaker"], 0.0) + gain / size[row["truth"]] / len(classes)
    each = np.array([*shares.values()])
    flipped = np.array([*product((-1, 1), repeat=len(each))]) @ each
    p = float(np.mean(np.abs(flipped) >= abs(each.sum()) - 1e-12))
    (pair,) = found["pairs"]
    assert pair["uar"][0] == pytest.approx(each.sum(), abs=1e-6) and pair["p"] == pytest.approx(p, abs=1e-6)
    records = {"made": found, "again": {**found, "title": "Again"}}
    header, *rows = table(module("results_pages").table("differences made again first=emo_clap", records))
    assert header[4] == "p, Holm over 2"
    assert [row[4] for row in rows] == [f"{min(1.0, 2 * p):.3f}"] * 2  # the smaller times two, then not below it
    figure = module("results_pages").figure
    assert figure("made.ce-emo_clap.uar", records) == f"{100 * each.sum():+.1f}".replace("-", "\N{MINUS SIGN}")
    forth, back = figure("made.ce-emo_clap.uar_ci", records), figure("made.emo_clap-ce.uar_ci", records)
    value, low, high = (float(word.strip("[],").replace("\N{MINUS SIGN}", "-")) for word in forth.split())
    assert [float(word.strip("[],").replace("\N{MINUS SIGN}", "-")) for word in back.split()] == [-value, -high, -low]


def test_seeds_are_averaged_and_shown(scripts: ModuleType, tmp_path: Path) -> None:
    for seed, accuracy in ((0, 0.4), (1, 0.6)):
        run = make_run(tmp_path / "run" / f"seed_{seed}", **{**TWO, "methods": ("ce",), "accuracy": (accuracy,)})
        told(run, train={"seed": seed})
    command = "gemoclap crossval made.jsonl --methods ce --seeds 0,1 -o runs/made"
    found = record(scripts, tmp_path / "run", tmp_path / "made.json", command)
    each = [uar_of(answers(tmp_path / "run" / f"seed_{seed}", "ce")) for seed in (0, 1)]
    assert [*found["rows"]["ce"]["seeds"].values()] == pytest.approx(each, abs=1e-6)
    assert found["rows"]["ce"]["uar"][0] == pytest.approx(np.mean(each), abs=1e-6)
    (_, (_, cell)) = table(module("results_pages").table("uar made seeds=each", {"made": found}))
    assert cell.endswith(f"({100 * each[0]:.1f}, {100 * each[1]:.1f})")


def test_two_runs_are_recorded_together(scripts: ModuleType, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, **{**TWO, "methods": ("ce",), "accuracy": (0.5,)}) for name in ("one", "two")]
    told(runs[0], model={"project_plain_heads": False})
    told(runs[1], model={"project_plain_heads": True})
    commands = [
        f"gemoclap crossval made.jsonl --methods ce{option} -o runs/x"
        for option in ("", " --model.project_plain_heads true")
    ]
    for run, inertias in zip(runs, ({"16": 42.8, "64": 1.0}, {"64": 3.0}), strict=True):
        clusters = run / "ce" / "fold_1" / "clusters"
        clusters.mkdir()
        (clusters / "quality.json").write_text(json.dumps({scale: {"inertia": one} for scale, one in inertias.items()}))
    found = module("results_record").make_record(runs, commands, "Made")
    assert list(found["rows"]) == ["ce", "ce@two"] and len(found["pairs"]) == 1
    assert {scale: one["inertia"] for scale, one in found["clusters"].items()} == {"16": 42.8, "64": 2.0}
    _, *rows = table(module("results_pages").table("clusters made", {"made": found}))
    assert [row[1] for row in rows] == ["42.80", "2.000"]  # four digits, as in a report


def test_gains_are_of_each_method_in_the_second_run(scripts: ModuleType, tmp_path: Path) -> None:
    methods = ("emo_clap", "ce", "am_softmax")
    runs = [
        make_run(tmp_path / "plain", **{**TWO, "methods": methods, "accuracy": (0.4, 0.5, 0.6)}),
        make_run(tmp_path / "adapted", **{**TWO, "methods": methods[:2], "accuracy": (0.7, 0.8)}),
    ]
    for run, kind in zip(runs, (True, "speaker"), strict=True):
        told(run, model={"standardize": kind, "freeze": "all", "layers": 3})
    frozen = "gemoclap crossval made.jsonl --model.freeze all --model.layers 3"
    commands = [
        f"{frozen} --methods {','.join(methods)} --model.standardize true -o runs/plain",
        f"{frozen} --methods {','.join(methods[:2])} --model.standardize speaker -o runs/adapted",
    ]
    found = module("results_record").make_record(runs, commands, "Made")
    header, *rows = table(module("results_pages").table("gains made second=by_speaker", {"made": found}))
    assert header[3] == "by speaker" and header[5] == "p, Holm over 2"
    assert [row[1] for row in rows] == ["Emo-CLAP", "Cross-entropy"]
    for method, row in zip(methods, rows, strict=False):
        plain, adapted = (100 * uar_of(answers(run, method)) for run in runs)
        assert row[2] == f"{plain:.1f}" and row[3].startswith(f"{adapted:.1f} [")
        gain = float(row[4].split()[0].replace("\N{MINUS SIGN}", "-"))
        assert gain == pytest.approx(adapted - plain, abs=0.06)


def test_a_version_that_one_fold_did_not_note_is_not_that_of_the_run(scripts: ModuleType, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", **TWO)
    folds = sorted(run.glob("*/fold_*"))
    for fold in folds:
        made = {"gemoclap": "1.2", "results": 1, "code": "abc", "date": "2026-01-02", "seconds": 1.0}
        (fold / "made.json").write_text(json.dumps(made))
    made = module("results_record").make_record([run], [COMMAND], "Made")["made"]
    assert (made["results"], made["code"], made["date"], made["seconds"]) == (["1"], ["abc"], ["2026-01-02"], 4.0)
    (folds[0] / "made.json").write_text(json.dumps({"gemoclap": "1.2", "date": "2026-01-01"}))
    made = module("results_record").make_record([run], [COMMAND], "Made")["made"]
    assert "results" not in made and "code" not in made and made["date"] == ["2026-01-01", "2026-01-02"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (f"{COMMAND} --train.epochs 7", "train.epochs is 25 in the run, and 7 by"),
        ("gemoclap crossval made.jsonl --methods emo_clap,am_softmax -o runs/made", "the command trains am_softmax"),
        ("gemoclap crossval made.jsonl --seeds 0,1 -o runs/made", "does not have the 2 seeds"),
        ("crossval made.jsonl -o runs/made", "give a command that starts with gemoclap"),
        ("gemoclap crosval made.jsonl -o runs/made", "give a command that starts with gemoclap"),
    ],
)  # fmt: skip
def test_a_command_that_is_not_the_runs_is_refused(
    command: str, words: str, scripts: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = told(make_run(tmp_path / "run", **TWO), train={"epochs": 25})
    arguments = ["record", str(run), "--command", command, "--title", "Made", "-o", str(tmp_path / "made.json")]
    assert call(scripts, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and not (tmp_path / "made.json").exists()


def test_a_run_that_is_not_finished_is_refused(scripts: ModuleType, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", **TWO)
    (run / "ce" / "fold_2" / "predictions.csv").unlink()
    with pytest.raises(GemoclapError, match=r"ce: fold_2 not finished"):
        module("results_record").make_record([run], [COMMAND], "Made")
    only = COMMAND.replace("emo_clap,ce", "emo_clap")
    assert list(module("results_record").make_record([run], [only], "Made")["rows"]) == ["emo_clap"]


# What a page may say.


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("<!-- table: ura made -->\n<!-- end -->", "page: no table is called 'ura'"),
        ("<!--v made.nobody.uar-->1<!--/v-->", "page: made.nobody.uar: no such figure"),
        ("<!--v other.ce.uar-->1<!--/v-->", "page: other.ce.uar: no such figure"),
        ("<!--v made.ce.far-->1<!--/v-->", "page: made.ce.far: no figure is called 'far'"),
    ],
)
def test_a_marker_that_means_nothing_is_an_error(marker: str, words: str, found: dict[str, Any]) -> None:
    with pytest.raises(GemoclapError, match=re.escape(words)):
        module("results_pages").filled(marker, {"made": found}, "page")


def test_a_marker_in_a_block_of_code_is_only_shown(scripts: ModuleType) -> None:
    pages = module("results_pages")
    text = "```html\n<!-- table: uar kitchen -->\n<!-- end -->\n```\n\nBetween `<!--v a.b.uar-->` and `<!--/v-->`.\n"
    assert pages.filled(text, {}, "page") == text and not pages.named_records(text)


def test_a_table_without_its_record_says_so(scripts: ModuleType) -> None:
    text = module("results_pages").filled("<!-- table: ems ems -->\n<!-- end -->\n", {}, "page")
    assert module("results_pages").NOT_YET in text


def test_development_scores_and_how_many_folds_chose_each_value(scripts: ModuleType) -> None:
    tables = module("results_tables")
    rows = [("emo_clap", "1", 0.5, 0.0123, 0), ("emo_clap", "3", 0.75, 0.02, 4), ("ce", "1", 0.61, 0.03, 1)]
    names = ("method", "model.layers", "development_uar", "development_uar_sd", "chosen")
    made = {
        "kind": "sweep",
        "title": "Made",
        "over": {"model.layers": ["1", "3"]},
        "rows": {"emo_clap": {}, "ce": {}},
        "made": {"results": ["1"]},
        "development": [dict(zip(names, row, strict=True)) for row in rows],
    }
    lines = tables.development({"made": made}, {}).splitlines()
    assert lines[2:4] == ["| 1 | 50.0 ± 1.2 | 61.0 ± 3.0 (1) |", "| 3 | 75.0 ± 2.0 (4) | \N{EN DASH} |"]
