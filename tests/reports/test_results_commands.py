"""Records of the commands that fill whole tables, and what pages show of them."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from fakerun import CLASSES, make_run
from results_scripts import TWO, answers, module, table, uar_of
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from table_files import read_table, write_table

from gemoclap.errors import GemoclapError


def test_encoders_by_methods_are_recorded(scripts: ModuleType, tmp_path: Path) -> None:
    run = tmp_path / "table1"
    cells = {}
    for encoder, accuracy in (("a", 0.4), ("b", 0.6)):
        cells[encoder] = make_run(
            run / "cells" / encoder / "ce" / "seed_0", **{**TWO, "methods": ("ce",), "accuracy": (accuracy,)}
        )
    (run / "config.yaml").write_text("train: {epochs: 30}\n")
    (run / "table1.json").write_text("{}")
    command = "gemoclap table1 made.jsonl --encoders a,b --methods ce --train.epochs 30 -o runs/table1"
    found = module("results_record").make_record([run], [command], "Made")
    shown = table(module("results_pages").table("table1 made", {"made": found}))
    assert [row[0] for row in shown[1:]] == ["a", "b"]
    for row, cell in zip(shown[1:], cells.values(), strict=True):
        truth, said = ([one[name] for one in answers(cell, "ce")] for name in ("truth", "prediction"))
        war, uar = 100 * accuracy_score(truth, said), 100 * uar_of(answers(cell, "ce"))
        assert row[1].startswith(f"{war:.1f} / {uar:.1f} [")


def test_a_matrix_of_corpora_is_recorded_and_drawn(scripts: ModuleType, tmp_path: Path) -> None:
    run, pairs = tmp_path / "cross", []
    source = make_run(tmp_path / "source", **{**TWO, "methods": ("ce",)})
    for one, other in (("a", "b"), ("b", "a")):
        target = run / "cells" / f"{one}_to_{other}" / "seed_0"
        target.mkdir(parents=True)
        fold = "fold_1" if one == "a" else "fold_2"
        (target / "predictions.csv").write_bytes((source / "ce" / fold / "predictions.csv").read_bytes())
        pairs.append({"trained_on": one, "tested_on": other, "labels": ["sad", "happy"], "state": "finished"})
    pairs.append({"trained_on": "a", "tested_on": "c", "labels": ["sad"], "state": "only sad shared"})
    corpora = {
        name: {"manifest": f"/somewhere/{name}.jsonl", "utterances": 1, "speakers": 4, "labels": []} for name in "ab"
    }
    data = {"method": "emo_clap", "seeds": [0], "pairs": pairs, "corpora": corpora}
    (run / "crosscorpus.json").write_text(json.dumps(data))
    (run / "config.yaml").write_text("train: {epochs: 30}\n")
    command = "gemoclap crosscorpus a.jsonl b.jsonl --train.epochs 30 -o runs/cross"
    found = module("results_record").make_record([run], [command], "")
    assert found["corpora"]["a"]["manifest"] == "a.jsonl"
    header, first, second = table(module("results_pages").table("crosscorpus made", {"made": found}))
    assert header[1:] == ["a", "b"] and [first[1], second[2]] == ["\N{EN DASH}"] * 2
    for fold, cell in (("fold_1", first[2]), ("fold_2", second[1])):
        own = [row for row in answers(source, "ce") if row["fold"] == fold]
        assert cell.split()[0] == f"{100 * uar_of(own):.1f}"
    module("results_pictures").draw_crosscorpus(found, tmp_path / "cross.png")
    assert (tmp_path / "cross.png").read_bytes().startswith(b"\x89PNG")


def matrix_run(folder: Path, method: str = "ce") -> Path:
    """Write the folder of `crosscorpus --leave_one_out --within train` of three corpora, with random predictions.

    Only happy and sad are common to a and b; c shares nothing with them and is only trained on, together with another.
    """
    source = make_run(folder / "source", **{**TWO, "methods": (method, "emo_clap")})
    run, labels = folder / "run", ["happy", "sad"]
    cells = {"a_to_b": (method, "fold_1"), "b_to_a": (method, "fold_2"), "a+c_to_b": ("emo_clap", "fold_1")}
    for name, fold in cells.items():
        target = run / "cells" / name / "seed_0"
        target.mkdir(parents=True)
        rows = [row for row in answers(source, fold[0]) if row["fold"] == fold[1] and row["truth"] in labels]
        write_table(target / "predictions.csv", rows)
    for number, name in enumerate("ab"):
        one = {**TWO, "methods": (method,), "accuracy": (0.4 + 0.3 * number,)}
        make_run(run / "within" / name / "seed_0", **one)

    def cell(trained: str, tested: str, names: list[str], state: str = "finished") -> dict[str, Any]:
        return {"trained_on": trained, "tested_on": tested, "labels": names, "state": state}

    data = {
        "method": method,
        "seeds": [0],
        "pairs": [cell("a", "b", labels), cell("b", "a", labels), cell("a", "c", ["sad"], "only sad shared")],
        "left_out": [cell("b", "a", labels), cell("a+c", "b", labels), cell("", "c", [], "no label shared")],
        "within": [cell(name, name, list(CLASSES)) for name in "ab"],
        "corpora": {
            name: {"manifest": f"/somewhere/{name}.jsonl", "utterances": 1, "speakers": 4, "labels": []}
            for name in "abc"
        },
    }
    (run / "crosscorpus.json").write_text(json.dumps(data))
    (run / "config.yaml").write_text("train: {epochs: 30}\nmodel: {audio_encoder: default}\n")
    return run


MATRIX = (
    "gemoclap crosscorpus a.jsonl b.jsonl c.jsonl --method ce --train.epochs 30 --model.audio_encoder default "
    "--leave_one_out --within train -o runs/cross"
)


def cell_uar(run: Path, name: str) -> float:
    """Return the UAR of a cell, in which only two of the eight labels are true, but all may be predicted."""
    rows = read_table(run / "cells" / name / "seed_0" / "predictions.csv")
    with warnings.catch_warnings(action="ignore"):  # of labels that are predicted, but never true
        return float(balanced_accuracy_score([row["truth"] for row in rows], [row["prediction"] for row in rows]))


def test_all_others_and_the_diagonal_are_recorded_and_set_off(scripts: ModuleType, tmp_path: Path) -> None:
    run = matrix_run(tmp_path)
    found = module("results_record").make_record([run], [MATRIX], "")
    assert found["settings"]["runs/cross"]["model.audio_encoder"] == "default"
    text = module("results_pages").table("crosscorpus made", {"made": found})
    header, *rows = table(text)
    assert header[1:] == ["a", "b", "c"] and [row[0] for row in rows] == ["a", "b", "c", "all others"]
    within = {name: uar_of(answers(run / "within" / name / "seed_0", "ce")) for name in "ab"}
    expected = {
        (0, 1): f"within: {100 * within['a']:.1f}", (0, 2): f"{100 * cell_uar(run, 'a_to_b'):.1f}",
        (1, 1): f"{100 * cell_uar(run, 'b_to_a'):.1f}", (1, 2): f"within: {100 * within['b']:.1f}",
        (3, 1): f"{100 * cell_uar(run, 'b_to_a'):.1f}", (3, 2): f"{100 * cell_uar(run, 'a+c_to_b'):.1f}",
    }  # fmt: skip
    for number, row in enumerate(rows):
        for column, shown in enumerate(row[1:], 1):
            words = expected.get((number, column), "\N{EN DASH}")
            assert shown.partition(" [")[0] == words
    assert "marks a cross-validation of one corpus" in text and "'all others' is one model of all corpora but" in text
    figure = module("results_pages").figure
    assert figure("made.within/b.uar", {"made": found}) == f"{100 * within['b']:.1f}"
    assert figure("made.all_others/b.uar", {"made": found}) == f"{100 * cell_uar(run, 'a+c_to_b'):.1f}"
    module("results_pictures").draw_crosscorpus(found, tmp_path / "cross.png")
    assert (tmp_path / "cross.png").read_bytes().startswith(b"\x89PNG")


def test_crossing_is_compared_with_the_same_labels_and_utterances(scripts: ModuleType, tmp_path: Path) -> None:
    run = matrix_run(tmp_path)
    found = module("results_record").make_record([run], [MATRIX], "")
    header, *rows = table(module("results_pages").table("crossing made", {"made": found}))
    assert header[3:5] == ["within the tested corpus", "across"]
    named = {(row[0], row[1]): row[2:] for row in rows}
    assert set(named) == {("a", "b"), ("b", "a"), ("all others", "a"), ("all others", "b")}
    tested = {row["id"] for row in read_table(run / "cells" / "a_to_b" / "seed_0" / "predictions.csv")}
    own = [row for row in answers(run / "within" / "b" / "seed_0", "ce") if row["id"] in tested]
    said = [{**row, "prediction": max(("happy", "sad"), key=lambda name: float(row[f"p_{name}"]))} for row in own]
    assert len(said) == len(tested)
    labels, within, across, _ = named["a", "b"]
    assert labels == "2" and within.split()[0] == f"{100 * uar_of(said):.1f}"
    # The random models may say another label than the two; restricted to them they may not.
    assert across.split()[0] == f"{100 * restricted_uar(run / 'cells/a_to_b/seed_0/predictions.csv'):.1f}"


def test_all_others_are_recorded_without_a_diagonal(scripts: ModuleType, tmp_path: Path) -> None:
    run = matrix_run(tmp_path)
    data = json.loads((run / "crosscorpus.json").read_text()) | {"within": [], "across_minus_within": []}
    (run / "crosscorpus.json").write_text(json.dumps(data))
    found = module("results_record").make_record([run], [MATRIX.replace(" --within train", "")], "")
    text = module("results_pages").table("crosscorpus made", {"made": found})
    last = table(text)[-1]
    assert last[0] == "all others" and last[2].startswith(f"{100 * cell_uar(run, 'a+c_to_b'):.1f} [")
    assert "within" not in text and "across_minus_within" not in found
    with pytest.raises(GemoclapError, match="no diagonal to compare with; its run needs --within train"):
        module("results_pages").table("crossing made", {"made": found})


def restricted_uar(path: Path) -> float:
    rows = read_table(path)
    return uar_of(
        [{**row, "prediction": max(("happy", "sad"), key=lambda name: float(row[f"p_{name}"]))} for row in rows]
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (" --leave_one_out", "", "--leave_one_out is true in the run, and false by the command"),
        (" --within train", "", "--within train is true in the run, and false by the command"),
        ("--within train", "--within runs/a,runs/b", "repeat the run with --within train"),
        ("--method ce ", "", '--method is "ce" in the run, and "emo_clap" by the command'),
        (" c.jsonl", "", 'manifests is ["a", "b", "c"] in the run, and ["a", "b"] by the command'),
        (" -o", " --seeds 0,1 -o", "--seeds is [0] in the run, and [0, 1] by the command"),
    ],
)
def test_a_command_that_trains_other_cells_is_refused(
    old: str, new: str, words: str, scripts: ModuleType, tmp_path: Path
) -> None:
    run = matrix_run(tmp_path)
    with pytest.raises(GemoclapError) as error:
        module("results_record").make_record([run], [MATRIX.replace(old, new)], "")
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("lost", ["cells/a+c_to_b/seed_0/predictions.csv", "within/b/seed_0/ce/fold_2/predictions.csv"])
def test_a_matrix_that_is_not_finished_is_refused(lost: str, scripts: ModuleType, tmp_path: Path) -> None:
    run = matrix_run(tmp_path)
    (run / lost).unlink()
    with pytest.raises(GemoclapError, match=r"(all_others|within)/b is not finished; repeat the run's command first"):
        module("results_record").make_record([run], [MATRIX], "")


def test_ways_to_pre_train_are_recorded_and_drawn(scripts: ModuleType, tmp_path: Path) -> None:
    run = tmp_path / "ems"
    run.mkdir()
    uar = {"log_mel": (0.7, 0.71, 0.72), "npc5": (0.6, 0.65, 0.7), "npc5_ems": (0.62, 0.66, 0.73)}
    with open(run / "ems.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "corpus", "variant", "seed", "war", "uar"])
        writer.writerows(
            ("probe", "emodb", name, seed, 0.5, value)
            for name, values in uar.items()
            for seed, value in enumerate(values)
        )
    (run / "ems.json").write_text(json.dumps({"interval": "95 %, Student's t over seeds", "warnings": []}))
    (run / "config.yaml").write_text("{}\n")
    command = "gemoclap compare ems --config ems --speech a.jsonl --probe.manifests emodb.jsonl -o runs/ems"
    found = module("results_record").make_record([run], [command], "")
    text = module("results_pages").table("ems made", {"made": found})
    rows = {row[0]: row[1] for row in table(text)}
    assert rows["log-mel, no encoder"].split()[0] == "71.0" and "(images/made.png)" in text  # named after the record
    # Student's t with two degrees of freedom: 4.302653.
    half = 4.302653 * np.std(uar["npc5"], ddof=1) / np.sqrt(3)
    assert rows["NPC 5"] == f"65.0 [{100 * (0.65 - half):.1f}, {100 * (0.65 + half):.1f}]"
    gain = 100 * np.mean(np.subtract(uar["npc5_ems"], uar["npc5"]))
    assert rows["NPC 5, EMS \N{MINUS SIGN} NPC 5"].startswith(f"{gain:+.1f} [")
    module("results_pictures").draw_ems(found, tmp_path / "ems.png")
    assert (tmp_path / "ems.png").read_bytes().startswith(b"\x89PNG")


def test_values_of_a_setting_are_recorded_and_drawn(scripts: ModuleType, tmp_path: Path) -> None:
    run = tmp_path / "sweep"
    run.mkdir()
    test = {"n": "40", "n_clusters": 8} | {
        key: value
        for name in ("war", "uar", "macro_f1")
        for key, value in ((name, "0.611111"), (f"{name}_interval", [0.5, 0.7]))
    }
    rows = [
        {"method": "ce", "train.lr": value, "development_uar": uar, "development_uar_sd": 0.05, "chosen": 0}
        for value, uar in (("0.1", 0.4), ("0.2", 0.6))
    ]
    data = {
        "over": {"train.lr": ["0.1", "0.2"]}, "seeds": [0], "folds": [{"name": "fold_1", "hash": "a"}], "interval": "95 %",
        "methods": {"ce": {"best": "x", "test": test}}, "combinations": rows,
    }  # fmt: skip
    (run / "sweep.json").write_text(json.dumps(data))
    (run / "config.yaml").write_text(yaml.safe_dump({"train": {"epochs": 30}}))
    command = "gemoclap sweep made.jsonl --over train.lr=0.1,0.2 --methods ce --train.epochs 30 -o runs/sweep"
    found = module("results_record").make_record([run], [command], "Made")
    _, *shown = table(module("results_pages").table("development made", {"made": found}))
    assert shown == [["0.1", "40.0 ± 5.0"], ["0.2", "60.0 ± 5.0"]]
    assert module("results_pages").figure("made.ce.uar_ci", {"made": found}) == "61.1 [50.0, 70.0]"
    module("results_pictures").draw_sweep(found, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
