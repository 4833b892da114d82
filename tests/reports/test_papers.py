"""Our rows beside the published ones: which are shown, what compares, the protocol, and that the docs have the same figures."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fakerun import make_run, told
from papers_runs import FOUR, ems_run, iemocap_run, of_iemocap
from small import complaint, run

from gemoclap.reports import collect
from gemoclap.reports.ems_paper import read_ems
from gemoclap.reports.papers import read_beside, write_beside
from gemoclap.reports.protocol import combined_hash, is_iemocap4, protocol_of
from gemoclap.reports.published import EMS_GAIN, GMP_TL, LATER, PAPERS, TABLE_1, TABLE_2
from gemoclap.reports.tables import with_interval, with_points

ROOT = Path(__file__).parents[2]


@pytest.fixture
def paper_run(tmp_path: Path) -> Path:
    return iemocap_run(tmp_path / "paper")


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the cells of all tables under a heading, without their headers."""
    text = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for place, row in enumerate(rows) if not row[0].startswith(":") and not _is_header(rows, place)]


def _is_header(rows: list[list[str]], place: int) -> bool:
    return place + 1 < len(rows) and rows[place + 1][0].startswith(":")


# The docs.


def docs_section() -> str:
    return (ROOT / "docs" / "results.md").read_text(encoding="utf-8").split("## The papers' own figures\n")[1]


def docs_tables() -> list[dict[str, list[str]]]:
    tables: list[dict[str, list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", docs_section(), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()]
        tables.append({row[0]: row[1:] for row in rows[2:]})
    return tables


def test_the_docs_have_the_figures_of_the_command() -> None:
    first, second = docs_tables()
    assert first == {
        encoder: [f"{one:.2f} / {other:.2f}" for one, other in methods.values()] for encoder, methods in TABLE_1.items()
    }

    def words(figure: float | None) -> str:
        return "-" if figure is None else f"{figure:.2f}"

    assert second == {name: [words(uar), words(war)] for name, (war, uar) in TABLE_2.items()}
    text = " ".join(docs_section().split())
    assert f"WAR {LATER[0]} and UAR {LATER[1]} for SL-GEmo-CLAP with WavLM-large" in text
    assert f"WAR {GMP_TL[0]} and UAR {GMP_TL[1]} on IEMOCAP" in text and f"by up to about {EMS_GAIN} points" in text
    for paper in PAPERS.values():
        assert paper.reference.split("arXiv ")[1] in text


# What is shown.


def test_the_page_has_the_published_rows_and_ours(paper_run: Path, tmp_path: Path) -> None:
    page = write_beside(read_beside("gemo-clap", [str(paper_run)]), tmp_path / "out").read_text()
    rows = rows_of(page, "Figures")
    assert ["ML-GEmo-CLAP", "WavLM-large", "77.03 / 80.42", "80.42 / 77.03", "–", "Table 1"] in rows
    assert ["SL-GEmo-CLAP", "WavLM-large", "83.16 / 81.43", "–", "–", "a later version"] in rows
    assert ["P-TAPT", "–", "– / 80.20", "–", "–", "Table 2"] in rows
    assert ["W2B-CA-Aux", "–", "78.42 / 79.71", "–", "–", "Table 2"] in rows
    assert len(rows) == 12 + 1 + 7 + 2 and "Other corpora" not in page
    for row in collect(paper_run).rows:
        assert row.scores is not None
        pairs = ((row.scores.war, row.scores.war_interval), (row.scores.uar, row.scores.uar_interval))
        (own,) = [cells for cells in rows if cells[0] == f"{row.title} (here)"]
        assert own[1:3] == ["wavlm-large", " / ".join(with_interval(*pair) for pair in pairs)]
        # Two columns would look like two results: only the paper's labels have another reading.
        assert own[3] == "–" and own[5] == str(paper_run)
    assert "the paper labels them in two ways" in page and "Our rows have one reading" in page


def test_gmp_tl_is_quoted_as_it_is_and_what_is_unknown_is_said(paper_run: Path, tmp_path: Path) -> None:
    page = write_beside(read_beside("gmp-tl", [str(paper_run)]), tmp_path / "out").read_text()
    assert ["GMP-TL", "HuBERT-base", "80.0 / 82.0", "–", "Pan et al., arXiv 2405.02151"] in rows_of(page, "Figures")
    assert "are not known to us, so they are left out" in page and "other reading" not in page


def test_a_run_of_another_corpus_stands_apart_and_a_warning_comes_first(paper_run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "ravdess", ("emo_clap",), 2)
    page = write_beside(read_beside("gemo-clap", [str(other), str(paper_run)]), tmp_path / "out").read_text()
    assert page.split("\n\n")[1].startswith(f"**Beware: {other} is of an unnamed corpus with 8 classes")
    published, apart = page.split("## Protocol")[0].split("Other corpora or classes: not to be compared")
    assert str(other) in apart and "83.16" not in apart and f"| {other} |" not in published
    assert f"| {paper_run} |" in published
    with open(tmp_path / "out" / "gemo-clap.csv", newline="") as file:
        kinds = {row["source"]: row["kind"] for row in csv.DictReader(file)}
    assert kinds[str(other)] == "here, not comparable" and kinds[str(paper_run)] == "here"
    assert r"\emph{Here, not comparable}" in (tmp_path / "out" / "gemo-clap.tex").read_text()


@pytest.mark.parametrize(
    ("vocabulary", "corpus", "merges", "compares"),
    [
        ("iemocap4", "iemocap", {}, True),
        ("iemocap4", "msppodcast", {}, False),
        ("custom", "iemocap", {"excited": "happy"}, True),
        ("custom", "iemocap", {}, False),  # without excited it is another set of utterances
        ("custom", "emodb", {"excited": "happy"}, False),
    ],
)
def test_corpus_and_classes_decide_what_compares(
    vocabulary: str, corpus: str, merges: dict[str, str], compares: bool, tmp_path: Path
) -> None:
    made = of_iemocap(make_run(tmp_path / "run", ("ce",), 2, FOUR), vocabulary, corpus)
    told(made, data={"folds": "session", "merges": merges})
    assert is_iemocap4(collect(made)) is compares


def test_other_utterances_and_folds_are_caveats(
    paper_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write_beside(read_beside("gmp-tl", [str(paper_run)]), tmp_path / "out").read_text()
    assert "tests 120 utterances, not the 5,531" in page and "does not leave one session out" not in page
    monkeypatch.setattr("gemoclap.reports.papers.IEMOCAP_UTTERANCES", 120)
    assert "Beware" not in write_beside(read_beside("gmp-tl", [str(paper_run)]), tmp_path / "out").read_text()
    told(paper_run, data={"folds": "kfold", "merges": {}})
    page = write_beside(read_beside("gmp-tl", [str(paper_run)]), tmp_path / "out").read_text()
    assert "does not leave one session out in each fold" in page
    more = of_iemocap(make_run(tmp_path / "more", ("ce",), 4, FOUR))
    page = write_beside(read_beside("gmp-tl", [str(paper_run), str(more)]), tmp_path / "out").read_text()
    assert "the runs do not have the same folds" in page


# The protocol.


def test_the_protocol_is_that_of_the_run(paper_run: Path) -> None:
    for fold in (paper_run / "emo_clap").iterdir():
        made = {"gemoclap": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "device": "cpu", "seconds": 2.0}
        (fold / "made.json").write_text(json.dumps(made))
    results = collect(paper_run)
    facts = protocol_of(results)
    assert facts["corpus"] == "iemocap; manifest iemocap.jsonl, SHA-256 0123456789ab"
    assert facts["classes"] == "4: angry, happy, neutral, sad; excited merged into happy"
    assert (facts["utterances"], facts["speakers"], facts["seeds"]) == ("120", "10", "0")
    assert facts["folds"] == "5, one session left out in each"
    assert all(fold.hash in facts["hash of the folds"] for fold in results.folds)
    assert combined_hash(results) in facts["hash of the folds"]
    assert facts["epoch reported"].startswith("the last epoch") and facts["training"].startswith("50 epochs")
    for words in ("gemoclap 0.1.0", "torch 2.13.0", "transformers 5.23.0"):
        assert words in facts["versions"]
    assert facts["speakers in both training and test"] == "none"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({}, ""),
        ({"freeze": "none"}, ", fine-tuned"),
        ({"freeze": "all", "layers": 3, "pooling": "mean_std"}, ", frozen: all, output of layer 3, pooling mean_std"),
        ({"freeze": "all", "layers": [2, 3]}, ", frozen: all, output of layers [2, 3]"),
        ({"freeze": "front_end", "layers": "last"}, ", frozen: front_end, output of the last layer"),
        ({"freeze": "all", "layers": "weighted", "lora_rank": 8},
         ", frozen: all, LoRA adapters of rank 8, learned weighted sum of all layers"),
    ],
)  # fmt: skip
def test_the_protocol_says_how_the_encoder_is_used(model: dict, says: str, paper_run: Path) -> None:
    results = collect(paper_run)
    config = {**results.config, "model": {"audio_encoder": "openai/whisper-base", **model}}
    config.pop("encoder_weights", None)
    assert protocol_of(replace(results, config=config))["audio encoder"] == f"openai/whisper-base{says}"


@pytest.mark.parametrize(
    ("methods", "says"), [(("ce", "am_softmax"), "none"), (("ce", "emo_clap"), "minilm"), (("gmp_tl",), "none")]
)
def test_methods_without_prompts_have_no_text_encoder(methods: tuple[str, ...], says: str, tmp_path: Path) -> None:
    made = told(
        make_run(tmp_path / "run", methods, 2, FOUR), model={"audio_encoder": "compact", "text_encoder": "minilm"}
    )
    assert protocol_of(collect(made))["text encoder"] == says


def test_what_a_run_or_a_paper_does_not_say_is_said(tmp_path: Path) -> None:
    shared = make_run(tmp_path / "run", ("ce",), 2, FOUR, shared_speakers=["01"])
    facts = protocol_of(collect(shared))
    assert facts["versions"] == facts["seeds"] == "not recorded"
    assert facts["speakers in both training and test"] == "1 speaker: the figures are not speaker-independent"
    page = write_beside(read_beside("gemo-clap", [str(shared)]), tmp_path / "out").read_text()
    rows = {row[0]: row[1:] for row in rows_of(page, "Protocol")}
    assert rows["epoch reported"][1].startswith("not known to us; the paper names no development set")
    assert rows["folds"][1:] == [
        "5, one session left out in each [P]",
        "not known to us",
        "they differ between systems; the table does not say how",
    ]
    assert "Speakers are shared between training and test" in page.split("## Figures")[0]


# The files.


def test_every_file_has_both_readings_and_ours(paper_run: Path, tmp_path: Path) -> None:
    write_beside(read_beside("gemo-clap", [str(paper_run)]), tmp_path)
    with open(tmp_path / "gemo-clap.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    (sl,) = [row for row in rows if (row["system"], row["audio_encoder"]) == ("SL-GEmo-CLAP", "HuBERT-large")]
    assert [float(sl[name]) for name in ("war", "uar", "war_other_reading", "uar_other_reading")] == [
        0.7429, 0.7492, 0.7492, 0.7429,
    ]  # fmt: skip
    data = json.loads((tmp_path / "gemo-clap.json").read_text())
    (ours,) = [one for one in data["here"] if one["system"] == "Emo-CLAP"]
    assert ours["comparable"] and ours["scores"]["n"] == 120 and len(data["published"]) == 20
    latex = (tmp_path / "gemo-clap.tex").read_text()
    assert "SL-GEmo-CLAP & HuBERT-large & 74.29 & 74.92 & 74.92 & 74.29" in latex
    assert re.search(r"^Emo-CLAP & wavlm-large & [^-].* & [^-].* & -- & -- ", latex, re.MULTILINE)
    assert "% Protocol of" in latex and "hash of the folds" in latex and latex.count("&") % 5 == 0


def test_the_web_page_needs_no_other_file(paper_run: Path, tmp_path: Path) -> None:
    write_beside(read_beside("gemo-clap", [str(paper_run)]), tmp_path)
    text = (tmp_path / "gemo-clap.html").read_text()
    assert "<script" not in text and not re.search(r"(?:src|href)=\"(?!#|data:)", text)
    for system in PAPERS["gemo-clap"].systems:
        assert f">{system.name}</th>" in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert 'id="protocol"' in text and 'href="#protocol"' in text


# The command.


def test_the_command_prints_and_writes(paper_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("papers", "gemo-clap", paper_run) == 0
    shown = capsys.readouterr().out
    assert "| BAM |" in shown and "(gemo-clap.csv)" not in shown and not (tmp_path / "out").exists()
    for paper in ("gemo-clap", "gmp-tl"):
        for _ in range(2):  # an earlier table may be written again
            assert run("papers", paper, paper_run, "-o", tmp_path / "out") == 0
    assert {path.suffix for path in (tmp_path / "out").glob("gmp-tl.*")} == {".md", ".html", ".csv", ".json", ".tex"}


class Terminal(io.StringIO):
    """Standard output that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("paper", ["gemo-clap", "gmp-tl", "ems"])
def test_a_terminal_shows_drawn_tables(paper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    made = iemocap_run(Path("paper")) if paper != "ems" else ems_run(Path("ems"), {"npc5": 0.5, "npc5_ems": 0.7})
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert run("papers", paper, made) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert not re.search(r"^\||\*\*|^#", shown, re.MULTILINE) and "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * 9 in shown
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())
    if paper == "ems":
        (gain,) = read_ems(["ems"]).trials[0].gains
        figures = with_points(gain.uar).split(" ", 1)
    else:
        scores = [row.scores for row in collect(made).rows]
        pairs = [pair for one in scores if one for pair in ((one.war, one.war_interval), (one.uar, one.uar_interval))]
        figures = [part for pair in pairs for part in with_interval(*pair).split(" ", 1)]
    # Every figure and every interval is whole, and beside the protocol and the reading there are the sentences before them.
    assert all(re.search(rf"(?<!\d){re.escape(figure)}(?!\d)", shown) for figure in figures)
    assert "Beware: " in shown and "How to read this" in shown and f"({paper}.csv)" not in shown


def test_several_seeds_are_one_row(tmp_path: Path) -> None:
    for seed in (0, 1):
        told(iemocap_run(tmp_path / "run" / f"seed_{seed}", ("emo_clap",)), train={"seed": seed})
    page = write_beside(read_beside("gmp-tl", [str(tmp_path / "run")]), tmp_path / "out").read_text()
    (own,) = [row for row in rows_of(page, "Figures") if "here" in row[0]]
    assert own[0] == "Emo-CLAP, mean of 2 seeds (here)"
    assert {row[0]: row[1] for row in rows_of(page, "Protocol")}["seeds"] == "0, 1"


def test_what_is_no_run_is_one_line(paper_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "table" / "cells").mkdir(parents=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "is not the folder of a cross-validation" in complaint(capsys, "papers", "gmp-tl", tmp_path / "nowhere")
    assert "is a folder of several trainings" in complaint(capsys, "papers", "gmp-tl", tmp_path / "table")
    assert "is named twice" in complaint(capsys, "papers", "gmp-tl", paper_run, f"{paper_run}/")
    (tmp_path / "link").symlink_to(paper_run)
    assert "is named twice" in complaint(capsys, "papers", "gmp-tl", paper_run, tmp_path / "link")
    assert "holds files of something else" in complaint(capsys, "papers", "gmp-tl", paper_run, "-o", tmp_path / "full")
    assert "gemo-clap" in complaint(capsys, "papers", "gemoclap", paper_run)
