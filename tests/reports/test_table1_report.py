"""The report of encoders by methods: finished, begun and absent cells, the paper's figures, and what the files agree on."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from fakerun import make_run, told
from rich.console import Console

from gemoclap.recipes.cost import Cost
from gemoclap.recipes.table1 import Table
from gemoclap.reports import collect
from gemoclap.reports.cost import print_costs
from gemoclap.reports.table1 import print_table1, write_table1
from gemoclap.reports.table1_cells import read_table1
from gemoclap.reports.tables import percent, with_interval

CLASSES = ("angry", "happy", "neutral", "sad")
ENCODERS = {"hubert-large-ll60k": "facebook/hubert-large-ll60k", "my_own": "runs/mine"}


def cell(output: Path, encoder: str, method: str, seed: int = 0, accuracy: float = 0.6) -> Path:
    folder = output / "cells" / encoder / method / f"seed_{seed}"
    made = make_run(folder, (method,), n_folds=3, classes=CLASSES, epochs=1, accuracy=(accuracy,))
    return told(made, model={"audio_encoder": ENCODERS[encoder]}, train={"seed": seed})


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Of six cells four are finished, one lacks a fold and one has not begun."""
    for place, (encoder, method) in enumerate((name, method) for name in ENCODERS for method in ("emo_clap", "ce")):
        cell(tmp_path, encoder, method, accuracy=0.4 + 0.1 * place)
    unfinished = cell(tmp_path, "hubert-large-ll60k", "sl_gemo_clap")
    (unfinished / "sl_gemo_clap" / "fold_2" / "predictions.csv").unlink()
    return Table(tmp_path, ENCODERS, ("emo_clap", "sl_gemo_clap", "ce"), (0,), is_iemocap=True)


def rows_under(page: str, heading: str) -> list[list[str]]:
    text = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_every_file_has_the_figures_of_the_cells(table: Table) -> None:
    page = write_table1(read_table1(table)).read_text()
    with open(table.output / "table1.csv", newline="") as file:
        rows = {(row["encoder"], row["method"]): row for row in csv.DictReader(file)}
    cells = json.loads((table.output / "table1.json").read_text())["cells"]
    latex = (table.output / "table1.tex").read_text()
    pooled = {row[0]: row[1:] for row in rows_under(page, "All test utterances together")}
    for encoder, method, place in (("hubert-large-ll60k", "emo_clap", 0), ("my_own", "ce", 2)):
        (run,) = collect(table.output / "cells" / encoder / method / "seed_0").methods
        assert run.pooled is not None
        war, uar = (
            with_interval(run.pooled.war, run.pooled.war_interval),
            with_interval(run.pooled.uar, run.pooled.uar_interval),
        )
        assert pooled[encoder][place] == f"{war} / {uar}"
        assert float(rows[encoder, method]["uar"]) == pytest.approx(run.pooled.uar, abs=1e-6)
        data = next(one for one in cells if (one["encoder"], one["method"]) == (encoder, method))
        assert data["war"] == run.pooled.war and data["n"] == run.pooled.n
        line = next(line for line in latex.splitlines() if line.startswith(encoder.replace("_", r"\_")))
        plain = re.sub(r"\{\\scriptsize (.*?)\}", r"\1", line)
        assert f"{war} & {uar}" in plain


def test_the_protocol_says_how_the_encoders_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "default" / "ce" / "seed_0"
    made = make_run(folder, ("ce",), n_folds=3, classes=CLASSES, epochs=1)
    told(made, model={"audio_encoder": "default", "freeze": "all", "layers": 3}, train={"seed": 0})
    page = write_table1(read_table1(Table(tmp_path, {"default": "default"}, ("ce",), (0,)))).read_text()
    assert "| audio encoder | default; frozen: all, output of layer 3 |" in page


def test_unfinished_cells_say_so_and_have_no_figures(table: Table) -> None:
    page = write_table1(read_table1(table)).read_text()
    assert "**Unfinished:** 2 of 6 cells" in page
    rows = {row[0]: row[1:] for row in rows_under(page, "All test utterances together")}
    assert rows["hubert-large-ll60k"][1] == "2 of 3 folds" and rows["my_own"][1] == "not begun"
    assert r"\multicolumn{2}{c}{2 of 3 folds}" in (table.output / "table1.tex").read_text()
    with open(table.output / "table1.csv", newline="") as file:
        lacking = [row for row in csv.DictReader(file) if row["method"] == "sl_gemo_clap"]
    assert [(row["state"], row["war"]) for row in lacking] == [("2 of 3 folds", ""), ("not begun", "")]


def test_the_papers_figures_stand_beside_in_both_readings(table: Table) -> None:
    rows = rows_under(write_table1(read_table1(table)).read_text(), "Comparison with the paper")
    assert [row[:2] for row in rows] == [
        ["hubert-large-ll60k", "here"],
        ["HuBERT-large", "the paper, labelled as in its Table 2"],
        ["HuBERT-large", "the paper, labelled as in its Table 1"],
    ]
    dash = "\N{EN DASH}"
    assert rows[1][2:] == ["72.43 / 73.79", "74.29 / 74.92", dash] and rows[2][2:] == [
        "73.79 / 72.43",
        "74.92 / 74.29",
        dash,
    ]


def test_on_another_corpus_the_papers_figures_are_nowhere(table: Table) -> None:
    other = Table(table.output, table.encoders, table.methods, table.seeds, is_iemocap=False)
    page = write_table1(read_table1(other)).read_text()
    texts = [page, *((table.output / f"table1.{kind}").read_text() for kind in ("csv", "json", "tex"))]
    assert not any("72.43" in text or "0.7243" in text or "Pan et al." in text for text in texts)


def test_several_seeds_are_a_mean(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.4, 0.6, 0.8)):
        cell(tmp_path, "my_own", "ce", seed, accuracy)
    table = Table(tmp_path, {"my_own": "runs/mine"}, ("ce",), (0, 1, 2))
    write_table1(read_table1(table))
    (data,) = json.loads((tmp_path / "table1.json").read_text())["cells"]
    runs = [collect(one.folder).methods[0] for one in table.cells]
    for figure in ("war", "uar"):
        assert data[figure] == pytest.approx(sum(getattr(run.pooled, figure) for run in runs) / 3)
        means = [getattr(run.mean, figure) for run in runs]
        assert data[f"{figure}_mean_of_folds"] == pytest.approx(sum(means) / 3)


def test_before_anything_is_finished_there_is_a_page(tmp_path: Path) -> None:
    page = write_table1(read_table1(Table(tmp_path, ENCODERS, ("ce",), (0,)))).read_text()
    assert "2 of 2 cells" in page and page.count("not begun") == 4


def test_what_others_have_filled_is_there_too(table: Table) -> None:
    few = Table(table.output, {"my_own": "runs/mine"}, ("ce",), (0,))
    found = few.with_found()
    assert list(found.encoders.items()) == [
        ("my_own", "runs/mine"),
        ("hubert-large-ll60k", "facebook/hubert-large-ll60k"),
    ]
    assert set(found.methods) == {"ce", "emo_clap", "sl_gemo_clap"} and found.methods[0] == "ce"


def test_where_the_tables_of_two_commands_cross_nothing_is_unfinished(tmp_path: Path) -> None:
    """A row with one seed and one method, then another row with two of each: half of the first nobody ever asked for."""
    cell(tmp_path, "hubert-large-ll60k", "ce")
    asked = Table(tmp_path, {"my_own": "runs/mine"}, ("emo_clap", "ce"), (0, 1))
    for seed in asked.seeds:
        for method in asked.methods:
            cell(tmp_path, "my_own", method, seed)
    page = write_table1(read_table1(asked)).read_text()
    assert "Unfinished" not in page
    rows = {row[0]: row[1:] for row in rows_under(page, "All test utterances together")}
    assert rows["hubert-large-ll60k"][0] == "\N{EN DASH}"
    assert rows["hubert-large-ll60k"][1].endswith("(1 of 2 seeds)") and "seeds" not in "".join(rows["my_own"])
    with open(tmp_path / "table1.csv", newline="") as file:
        found = {(row["encoder"], row["method"]): (row["state"], row["seeds"]) for row in csv.DictReader(file)}
    assert found.pop(("hubert-large-ll60k", "emo_clap")) == ("not requested", "0")
    assert found.pop(("hubert-large-ll60k", "ce")) == ("finished", "1")
    assert set(found.values()) == {("finished", "2")}
    # What another command has begun and not finished is still said.
    next((tmp_path / "cells" / "hubert-large-ll60k").rglob("fold_2/predictions.csv")).unlink()
    page = write_table1(read_table1(asked)).read_text()
    assert "**Unfinished:** 1 of 3 cells" in page and "2 of 3 folds" in page


def shown(show: object) -> str:
    output = io.StringIO()
    show(Console(file=output, width=100))  # type: ignore[operator]
    return output.getvalue()


def test_the_terminal_has_every_figure(table: Table) -> None:
    text = shown(lambda console: print_table1(read_table1(table), console))
    for one in (run for run in table.cells if run.method == "ce"):
        (method,) = collect(one.folder).methods
        assert method.pooled is not None and percent(method.pooled.uar) in text
    assert "not begun" in text and "2 of 3 folds" in text and max(map(len, text.splitlines())) <= 100


def test_few_speakers_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "my_own" / "ce" / "seed_0"
    made = make_run(folder, ("ce",), n_folds=3, speakers_a_fold=1, classes=CLASSES, epochs=1)
    told(made, model={"audio_encoder": ENCODERS["my_own"]}, train={"seed": 0})
    few = Table(tmp_path, {"my_own": "runs/mine"}, ("ce",), (0,))
    said = "there are only 3 speakers: with so few, an interval covers the true figure at most 75 times in 100"
    assert f"**Beware: {said}" in write_table1(read_table1(few)).read_text()
    assert said in " ".join(shown(lambda console: print_table1(read_table1(few), console)).split())


def test_hours_are_steps_times_seconds() -> None:
    costs = [Cost("a", "ce", 2.0, {"ce": 1800, "emo_clap": 0}), Cost("b", "ce", 0.5, {"ce": 7200, "emo_clap": 72000})]
    assert [one.hours for one in costs] == [{"ce": 1.0, "emo_clap": 0.0}, {"ce": 1.0, "emo_clap": 10.0}]
    text = shown(lambda console: print_costs(costs, "8 utterances on cpu", console))
    assert "12.0 hours in total for 81,000 steps" in " ".join(text.split())
    assert re.search(r" a +2 +1\.00 +0\.00 +1\.00", text) and re.search(r" b +0\.5 +1\.00 +10\.0 +11\.0", text)
    little = shown(lambda console: print_costs([Cost("a", "ce", 0.1, {"ce": 9})], "8 utterances on cpu", console))
    assert "0.015 minutes in total for 9 steps" in " ".join(little.split())
