"""README.md, typed from its first command to its last."""

from __future__ import annotations

import csv

import pytest
from matplotlib.figure import Figure
from walking import Walk, undrawn
from world import prepared, save_hub, save_other_toolkits

from gemoclap.cli import main
from gemoclap.corpora.manifest import read_manifest
from gemoclap.labels import get_vocabulary


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    place = tmp_path_factory.mktemp("readme")
    for name, folder in prepared(place, "ravdess", "emodb", "nemo", "cremad", "iemocap"):
        if name in ("emodb", "nemo", "cremad"):  # "or any other corpus"
            assert main(["prepare", name, str(folder), "-o", str(place / f"{name}.jsonl")]) == 0
    classes = get_vocabulary("emodb4").emotions
    rows = [row for row in read_manifest(place / "emodb.jsonl") if row.emotion in classes]
    save_other_toolkits(rows, place / "runs" / "other_toolkit.csv")
    return Walk("README.md", place)


@pytest.fixture(autouse=True)
def hub(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    save_hub(walk.place / "hub", monkeypatch)
    monkeypatch.setattr(Figure, "savefig", undrawn)


def test_all_commands(walk: Walk) -> None:
    walk.go()
    assert len(walk.commands) > 30
    of = {" ".join(command.words[1:3]): walk.printed[command.line] for command in walk.commands}
    assert "no faults" in of["inspect ravdess.jsonl"] and "clip.wav: " in of["predict clip.wav"]
    rows = [*csv.DictReader(walk.text("emotions.csv").splitlines())]
    assert len(rows) == len([*(walk.place / "calls").iterdir()]) and not any(row["error"] for row in rows)
    for file in (
        "runs/ravdess/report.md",
        "runs/gmp/report.html",
        "runs/pairs/comparison.md",
        "runs/ablation/report.md",
    ):
        assert (walk.place / file).is_file(), file
    assert ".wav" in of["search someone sounds furious"]
