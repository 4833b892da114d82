"""docs/quickstart.md, typed section by section, and compared with what the page says that one should see."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from contextlib import chdir, redirect_stdout
from io import StringIO

import pytest
from matplotlib.figure import Figure
from pages import ROOT, blocks_of, gemoclap_of, recorded, text_of
from walking import Walk, undrawn
from world import prepared, save_hub, save_other_toolkits

from gemoclap.cli import main
from gemoclap.corpora.manifest import read_manifest
from gemoclap.corpora.synthetic import generate

PAGE = "docs/quickstart.md"
EMS = "## Pre-train an encoder on unlabelled speech (EMS)"
GMP = "## Pseudo-labels of frames, and emotion over time (GMP-TL)"


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    place = tmp_path_factory.mktemp("quickstart")
    for name, folder in prepared(place, "ravdess", "emodb", "nemo", "iemocap"):
        if name != "ravdess":  # "made in the same way"
            assert main(["prepare", name, str(folder), "-o", str(place / f"{name}.jsonl")]) == 0
    assert main(["prepare", "ravdess", str(place / "path/to/RAVDESS"), "-o", str(place / "r.jsonl")]) == 0
    save_other_toolkits(read_manifest(place / "r.jsonl"), place / "baseline.csv")
    return Walk(PAGE, place)


@pytest.fixture(autouse=True)
def hub(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    save_hub(walk.place / "hub", monkeypatch)
    monkeypatch.setattr(Figure, "savefig", undrawn)


def line_of(start: str) -> int:
    """Return the number of the first line of the page that begins so."""
    return next(number for number, line in enumerate(text_of(PAGE).splitlines(), 1) if line.startswith(start))


def same_but_for_numbers(shown: str, page: str) -> bool:
    """Whether two texts differ in nothing but their numbers."""
    pattern = re.sub(r"\d[\d,]*(\\\.\d+)?", r"[\\d.,]+", re.escape(page))
    return re.search(pattern, shown) is not None


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_demo(walk: Walk) -> None:
    """The commands that ``make demo`` runs, as make itself lists them, on a smaller corpus; then that of the page."""
    listed = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = listed.replace(".venv/bin/", "").replace("|| true", "").splitlines()
    generate(walk.place / "demo" / "synthetic", speakers=4, sentences=1, takes=1)
    started = [command for command in recorded("Makefile", dict(enumerate(lines, 1)), walk.place)]
    for command in started:
        if words := gemoclap_of(command.words):
            if words[0] != "predict":
                walk.run(command, words)
        elif command.words[:2] == ("python", "-c") and "read_manifest" in command.words[2]:
            with chdir(walk.place), redirect_stdout(StringIO()) as clip:
                exec(command.words[2], {})
    assert [command.words[1] for command in started if command.words[0] == "gemoclap"] == [
        "prepare", "inspect", "crossval", "report", "predict",
    ]  # fmt: skip
    assert (walk.place / "demo" / "synthetic-run" / "report.html").is_file()
    (shown,) = [block.text for block in blocks_of(PAGE) if block.text.lstrip().startswith("demo/synthetic/wav/")]
    predict = next(command for command in started if "predict" in command.words)
    printed = walk.run(predict, ["predict", clip.getvalue().strip()])
    # Which emotion comes out is the model's business; its classes and their order are those of the page.
    assert re.findall(r"([a-z]+) [\d.]+", printed) == re.findall(r"([a-z]+) [\d.]+", shown)
    assert same_but_for_numbers(printed, shown.partition(":")[0])


def test_predictions_and_timelines(walk: Walk) -> None:
    walk.go(line_of("## Predict with the model that comes"), line_of("## From a corpus to a table"))
    checked_rows(walk, "emotions.csv", "office.csv", "more.csv")


def checked_rows(walk: Walk, *names: str) -> None:
    """Check that each file has the columns that the page names, and no error."""
    (columns,) = re.findall(r"one row per clip: `(path, emotion, confidence)`", text_of(PAGE))
    for name in names:
        rows = [*csv.DictReader(walk.text(name).splitlines())]
        assert [*rows[0]][:3] == columns.split(", ") and [*rows[0]][-2:] == ["error", "remark"]
        assert not any(row["error"] for row in rows)


def test_from_a_corpus_to_comparisons(walk: Walk) -> None:
    walk.go(line_of("## From a corpus to a table"), line_of("## Train on one corpus, test on another"))
    page = text_of(PAGE)
    (shown,) = re.findall(r"`(ravdess\.jsonl: [\d,]+ utterances.*?)`", page)
    assert same_but_for_numbers(walk.printed[line_of("    gemoclap prepare ravdess")], shown)
    table = page.partition("`crossval` writes to `runs/ravdess`:")[2].partition("You can stop")[0]
    named = [
        name
        for row in table.splitlines()[4:]
        if row.startswith("|")
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]
    assert len(named) > 9
    for name in named:
        found = [*(walk.place / "runs" / "ravdess").glob(name.replace("METHOD/FOLD", "*/*"))]
        assert found, name
    assert (walk.place / "runs" / "ravdess" / "report.html").is_file()
    assert "model.pooling: mean" in walk.text("runs/together/report.md")  # named after what differs
    assert (walk.place / "runs" / "seeds" / "seed_0" / "report.md").is_file()
    assert "baseline" in walk.text("runs/pairs/comparison.md")


def test_pre_training(walk: Walk) -> None:
    walk.go(line_of(EMS), line_of(GMP))
    assert (walk.place / "runs" / "intensity" / "model" / "README.md").is_file()
    assert "log_mel" in walk.printed[line_of("    gemoclap probe")]
    assert (walk.place / "runs" / "ems" / "ems.md").is_file()


def test_pseudo_labels(walk: Walk) -> None:
    walk.go(line_of(GMP))
    (written,) = re.findall(r"The steps write (.*?)\. Run all", text_of(PAGE), re.DOTALL)
    first, *others = re.findall(r"`([^`]+)`", written)
    for name in (first, *(f"runs/steps/{name}" for name in others)):
        assert (walk.place / name).is_dir(), name


def test_tables_over_corpora_encoders_and_settings(walk: Walk) -> None:
    walk.go(line_of("## Train on one corpus, test on another"), line_of("## A model of your own"))
    for name in ("crosscorpus.md", "crosscorpus.png", "crosscorpus.csv", "crosscorpus.json"):
        assert (walk.place / "runs" / "across" / name).is_file(), name
    assert (walk.place / "runs/across/cells/ravdess_to_emodb/seed_0/predictions.csv").is_file()
    for paper in ("gemo-clap", "gmp-tl", "ems"):
        assert {".md", ".html", ".csv", ".json", ".tex"} <= {
            one.suffix for one in (walk.place / "runs/beside").glob(f"{paper}.*")
        }
    for name in ("table1.md", "table1.tex", "table1.csv", "table1.json"):
        assert (walk.place / "runs" / "mine" / name).is_file(), name
    assert (walk.place / "runs" / "alpha" / "sweep.md").is_file() and (walk.place / "runs/layers/sweep.png").is_file()


def test_a_model_of_your_own(walk: Walk) -> None:
    walk.go(line_of("## A model of your own"), line_of(EMS))
    checked_rows(walk, "mine.csv")
    assert same_but_for_numbers(walk.printed[line_of("    gemoclap predict clip.wav calls/")], "mine.csv: 12 rows")
    assert "UAR" in walk.printed[line_of("    gemoclap evaluate")] and (walk.place / "runs/other/report.md").is_file()
