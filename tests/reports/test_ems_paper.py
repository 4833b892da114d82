"""EMS beside plain pre-training: the gains are those of the probes' predictions, and the paper's gain stands beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from papers_runs import ems_run
from sklearn.metrics import balanced_accuracy_score
from small import complaint, run
from table_files import read_table, write_table

from gemoclap.predictions import concatenate, read_predictions
from gemoclap.reports.ems_paper import read_ems, write_ems_beside

ACCURACIES = {"mockingjay": 0.5, "mockingjay_ems": 0.7, "npc5": 0.55, "npc5_ems": 0.5}


def uar(folder: Path, variant: str, seed: int) -> float:
    paths = sorted((folder / "probe" / "labelled" / variant / f"seed_{seed}").rglob("predictions.csv"))
    table = concatenate([read_predictions(path) for path in paths])
    return balanced_accuracy_score(list(table.truth), list(table.prediction))


def test_gains_are_differences_of_the_probes(tmp_path: Path) -> None:
    folder = ems_run(tmp_path / "run", ACCURACIES)
    (trial,) = read_ems([str(folder)]).trials
    found = {(one.ems, one.plain): one.uar for one in trial.gains}
    assert set(found) == {("mockingjay_ems", "mockingjay"), ("npc5_ems", "npc5")}
    for (ems, plain), one in found.items():
        expected = np.mean([uar(folder, ems, seed) - uar(folder, plain, seed) for seed in (0, 1)])
        assert one.value == pytest.approx(expected) and one.low <= one.value <= one.high
    for name, row in trial.rows.items():
        assert row.scores is not None
        assert row.scores.uar == pytest.approx(np.mean([uar(folder, name, seed) for seed in (0, 1)]))


def test_the_page_has_the_papers_gain_and_the_protocol_of_the_probe(tmp_path: Path) -> None:
    folder = ems_run(tmp_path / "run", ACCURACIES)
    page = write_ems_beside(read_ems([str(folder)]), tmp_path / "out").read_text()
    assert "| EMS − plain, as reported on IEMOCAP | up to about +7 [S] |" in page
    assert "linear layer of 256, mean over frames, linear layer; 2000 steps" in page and "features rescaled" in page
    assert "| seeds | 0, 1 | not known to us |" in page and "cannot be compared" not in page
    assert "--probe.head.rescale false" in page
    kinds = [row["kind"] for row in read_table(tmp_path / "out" / "ems.csv")]
    assert [kinds.count(kind) for kind in ("published", "difference", "here")] == [1, 2, 4]
    data = json.loads((tmp_path / "out" / "ems.json").read_text())
    assert data["published"]["largest_gain_in_points"] == 7 and data["here"]["labelled"]["comparable"]
    assert "MockingJay, EMS $-$ MockingJay" in (tmp_path / "out" / "ems.tex").read_text()
    assert "up to about +7 [S]" in (tmp_path / "out" / "ems.html").read_text()


def test_another_corpus_is_said_first(tmp_path: Path) -> None:
    folder = ems_run(tmp_path / "run", ACCURACIES, corpus="emodb")
    page = write_ems_beside(read_ems([str(folder)]), tmp_path / "out").read_text()
    assert page.split("\n\n")[1].startswith("**Beware: labelled is of emodb with 4 classes")


def test_unfinished_probes_are_left_out_and_seeds_are_paired(tmp_path: Path) -> None:
    folder = ems_run(tmp_path / "run", ACCURACIES)
    next((folder / "probe" / "labelled" / "mockingjay_ems" / "seed_1").rglob("predictions.csv")).unlink()
    beside = read_ems([str(folder)])
    one = next(one for one in beside.trials[0].gains if one.plain == "mockingjay")
    assert one.uar.value == pytest.approx(uar(folder, "mockingjay_ems", 0) - uar(folder, "mockingjay", 0))
    assert "**Unfinished:** 1 probe of labelled are left out" in write_ems_beside(beside, tmp_path / "out").read_text()


def test_one_speaker_gives_no_interval_and_seeds_are_in_order_of_number(tmp_path: Path) -> None:
    folder = ems_run(tmp_path / "run", {"mockingjay": 0.5, "mockingjay_ems": 0.7}, seeds=(2, 10))
    for path in folder.rglob("predictions.csv"):
        write_table(path, [{**row, "speaker": "iemocap/one"} for row in read_table(path)])
    beside = read_ems([str(folder)])
    assert [list(row.members) for row in beside.trials[0].rows.values()] == [[2, 10]] * 2
    write_ems_beside(beside, tmp_path / "out")
    assert "NaN" not in (tmp_path / "out" / "ems.json").read_text()
    data = json.loads((tmp_path / "out" / "ems.json").read_text())
    gain = data["here"]["labelled"]["uar_gains"]["mockingjay_ems - mockingjay"]
    assert gain["value"] > 0 and gain["interval"] == [None, None]
    (row,) = [row for row in read_table(tmp_path / "out" / "ems.csv") if row["kind"] == "difference"]
    assert float(row["uar_difference"]) == pytest.approx(gain["value"], abs=1e-6)
    assert [row[name] for name in ("uar_difference_low", "uar_difference_high", "p")] == ["", "", ""]


def test_what_is_no_comparison_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = ems_run(tmp_path / "run", {"log_mel": 0.5}, seeds=(0,))
    assert run("papers", "ems", folder, "-o", tmp_path / "out") == 0
    assert "No pair of encoders is finished yet." in capsys.readouterr().out
    probe = folder / "probe" / "labelled" / "log_mel" / "seed_0"
    assert "is not the folder of a comparison" in complaint(capsys, "papers", "ems", probe)
    assert "2 folders are named" in complaint(capsys, "papers", "ems", folder, folder)
    next(probe.rglob("fold_1/*/predictions.csv")).unlink()
    assert "no probe is finished yet" in complaint(capsys, "papers", "ems", folder)
