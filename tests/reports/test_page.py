"""The written report: its first line, its figures, its files."""

import csv
import json
import re
import shutil
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from fakerun import CLASSES, ONE, make_run, told
from written_pages import refuse, sklearn_percent, table_after

import gemoclap.reports
from gemoclap.errors import GemoclapError
from gemoclap.predictions import PredictionTable, read_predictions
from gemoclap.reports import collect, write_report
from gemoclap.reports.page import report_title
from gemoclap.reports.protocol import protocol_of


def test_every_file_is_there_and_no_other_is_left(full_run):
    methods = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap")
    pictures = {f"{kind}_{method}.png" for kind in ("confusion", "curves") for method in methods}
    pictures |= {"comparison.png", "reliability.png", "speakers.png"}
    beside = {name.replace(".png", kind) for name in pictures for kind in (".svg",)}
    expected = {
        "config.yaml",
        "folds.json",
        *methods,
        "report.md",
        "results.json",
        "results.csv",
        "results.tex",
        "speakers.csv",
    }
    assert {path.name for path in full_run.iterdir()} == expected | pictures | beside
    linked = set(re.findall(r"\]\(([^)#]+)\)", (full_run / "report.md").read_text()))
    assert linked == pictures | {
        "config.yaml",
        "folds.json",
        "results.json",
        "results.csv",
        "results.tex",
        "speakers.csv",
    }
    for name in pictures:
        assert matplotlib.image.imread(full_run / name).std() > 0.01
        assert (full_run / name).with_suffix(".svg").read_text().rstrip().endswith("</svg>")


def test_the_comparison_comes_first_on_the_page(full_run):
    page = (full_run / "report.md").read_text()
    assert page.index("](comparison.png)") < page.index("- Manifest:") < page.index("## Results")
    assert page.index("](reliability.png)") > page.index("## Pictures")


@pytest.mark.parametrize(
    ("vocabulary", "title"),
    [("custom", "my.calls"), ("manifest", "my.calls"), ("ravdess8", "ravdess8")],
)
def test_a_title_names_the_manifest_where_the_set_of_classes_has_no_name(full_run, vocabulary, title):
    results = replace(collect(full_run), vocabulary=vocabulary, manifest="corpora/my.calls.jsonl")
    assert report_title(results) == f"Cross-validation on {title}: 8 classes, 5 folds"


def test_summary_and_fold_tables_equal_sklearn(full_run):
    page = (full_run / "report.md").read_text()
    assert page.startswith("# Cross-validation on made-up8: 8 classes, 5 folds\n")
    header, *rows = table_after(page, "## Results")
    assert header[:3] == ["method", "WAR pooled [95 % CI]", "UAR pooled [95 % CI]"]
    names = {"Emo-CLAP": "emo_clap", "SL-GEmo-CLAP": "sl_gemo_clap", "ML-GEmo-CLAP": "ml_gemo_clap"}
    assert [row[0] for row in rows] == list(names)
    for row in rows:
        war, uar = sklearn_percent((full_run / names[row[0]]).glob("*/predictions.csv"))
        assert row[1].startswith(f"{war} [") and row[2].startswith(f"{uar} [")
    _, *folds = table_after(page, "### Folds")
    plan = json.loads((full_run / "folds.json").read_text())["folds"]
    expected = [(fold, title) for fold in plan for title in names]
    for row, (fold, title) in zip(folds, expected, strict=True):
        assert row[:2] == [fold["name"], f"`{fold['hash']}`"] and row[3:5] == [title, str(len(fold["test"]))]
        assert tuple(row[5:]) == sklearn_percent([full_run / names[title] / fold["name"] / "predictions.csv"])
    header, *rows = table_after(page, "### Differences")
    assert [row[0] for row in rows] == ["SL-GEmo-CLAP minus Emo-CLAP", "ML-GEmo-CLAP minus Emo-CLAP"]
    assert header[2:5] == ["p", "p, Holm over 2 comparisons", "differs (p < 0.05)"]
    found = collect(full_run).differences
    ps = sorted(one.p for one in found)
    assert sorted(one.p_corrected for one in found) == pytest.approx([min(1, 2 * ps[0]), max(min(1, 2 * ps[0]), ps[1])])
    assert [row[4] for row in rows] == ["yes" if one.p_corrected < 0.05 else "no" for one in found]
    assert table_after(page, "### Recall by class")[0] == ["method", *CLASSES]


def test_json_and_csv_agree_with_the_run(full_run):
    data = json.loads((full_run / "results.json").read_text(), parse_constant=refuse)
    results = collect(full_run)
    with (full_run / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (2 + 5)
    for method in results.methods:
        mine = [row for row in rows if row["method"] == method.name]
        assert [row["aggregate"] for row in mine] == ["pooled", "mean_of_folds", *["fold"] * 5]
        assert float(mine[0]["uar"]) == pytest.approx(method.pooled.uar, abs=1e-6)
        assert float(mine[1]["uar_sd"]) == pytest.approx(method.mean.uar_sd, abs=1e-6)
        assert [row["fold_hash"] for row in mine[2:]] == [fold.hash for fold in results.folds]
        assert data["methods"][method.name]["pooled"]["uar"] == method.pooled.uar
        assert data["methods"][method.name]["mean_of_folds"]["war"] == method.mean.war


def test_the_latex_tables_have_the_figures_and_captions_that_stand_alone(full_run):
    scores, differences = (full_run / "results.tex").read_text().split("\n\n")
    war, uar = sklearn_percent(sorted(full_run.glob("emo_clap/*/predictions.csv")))
    line = next(line for line in scores.splitlines() if line.startswith("Emo-CLAP & "))
    cells = line.removesuffix(r" \\").split(" & ")
    assert len(cells) == 6 and (cells[1].split()[0], cells[2].split()[0]) == (war, uar)
    assert "8 classes, 5 folds, 480 utterances of 20 speakers. In percent" in scores
    assert "SL-GEmo-CLAP minus Emo-CLAP & " in differences and differences.count(r" \\") == 3
    for word in ("share", "not finished", "standardised", "merged"):
        assert word not in scores


def test_the_captions_of_the_latex_tables_say_what_limits_the_figures(tmp_path):
    run = make_run(tmp_path / "run", methods=("emo_clap", "ce"), n_folds=3, epochs=2, shared_speakers=["01"])
    told(run, data={"merges": {"excited": "happy"}})
    shutil.rmtree(run / "emo_clap" / "fold_2")
    shutil.rmtree(run / "ce" / "fold_2")
    write_report(run)
    captions = re.findall(r"\\caption\{.*", (run / "results.tex").read_text())
    assert len(captions) == 2
    for caption in captions:
        assert "; excited merged into happy; training and test share speakers; some folds are not finished" in caption


@pytest.mark.parametrize("unknown", [0, 3, 192])
def test_captions_do_not_count_unknown_speakers_as_speakers(unknown, tmp_path):
    """192 utterances of nobody were '192 utterances of 192 speakers'."""
    run, left = make_run(tmp_path / "run", **ONE), unknown
    for path in sorted(run.glob("emo_clap/*/predictions.csv")):
        table = read_predictions(path)
        replace(table, speakers=(None,) * min(left, len(table)) + table.speakers[left:]).write(path)
        left -= min(left, len(table))
    named = {row["speaker"] for path in run.glob("emo_clap/*/*.csv") for row in csv.DictReader(path.open())} - {""}
    write_report(run)
    (caption,) = re.findall(r"\\caption\{.*", (run / "results.tex").read_text())
    whose = f"{len(named)} speakers" if named else "unknown speakers"
    assert f"192 utterances of {whose}" in caption
    assert ("an utterance of an unknown speaker counts as a speaker of its own" in caption) == (unknown > 0)
    assert ("the speaker of 3 utterances is unknown" in caption) == (unknown == 3)
    said = {0: "8", 3: "8; unknown for 3 utterances", 192: "0; unknown for 192 utterances"}
    assert protocol_of(collect(run))["speakers"] == said[unknown]


def test_shared_speakers_are_the_first_line(tmp_path):
    page = write_report(make_run(tmp_path / "run", shared_speakers=("02", "01"), **ONE)).read_text()
    assert page.splitlines()[0] == (
        "**Speakers are shared between training and test in this run (01, 02): "
        "the figures are not speaker-independent.**"
    )
    assert "some speakers are in both training and test" in page and "no speaker is in both" not in page
    page = write_report(make_run(tmp_path / "apart", **ONE)).read_text()
    assert "no speaker is in both training and test" in page


def test_a_partial_run_says_so_and_what_is_missing(tmp_path):
    run = make_run(tmp_path / "run", methods=("emo_clap", "sl_gemo_clap", "egemaps_svm"), n_folds=3, epochs=2)
    shutil.rmtree(run / "emo_clap" / "fold_2")
    shutil.rmtree(run / "egemaps_svm")
    page = write_report(run).read_text()
    assert "**Partial results:** Emo-CLAP lacks fold_2; eGeMAPS + SVM lacks all folds." in page
    assert "| Emo-CLAP (2 of 3 folds) |" in page
    assert json.loads((run / "results.json").read_text())["methods"]["emo_clap"]["missing_folds"] == ["fold_2"]
    assert not (run / "confusion_egemaps_svm.png").exists()


def test_one_method_with_nothing_known_of_speakers(tmp_path):
    run = make_run(tmp_path / "run", known_speakers=False, known_genders=False, **ONE)
    page = write_report(run).read_text()
    assert "Differences from" not in page.replace("**Differences**", "")
    assert "the speaker of 192 test utterances is unknown" in page
    json.loads((run / "results.json").read_text(), parse_constant=refuse)


def test_a_method_without_a_log_has_no_curves(tmp_path):
    run = make_run(tmp_path / "run", methods=("egemaps_svm",), n_folds=2)
    page = write_report(run).read_text()
    assert "curves" not in page and not list(run.glob("curves*")) and "confusion_egemaps_svm.png" in page


def test_a_report_is_written_again_alike(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    first = {path.name: path.read_bytes() for path in write_report(run).parent.glob("re*")}
    assert first == {path.name: path.read_bytes() for path in write_report(run).parent.glob("re*")}


def test_the_page_names_the_encoder_and_how_it_was_trained(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    settings = {
        "model": {"audio_encoder": "enc", "layers": 3, "freeze": "all", "pooling": "mean", "lora_rank": None},
        "train": {"select": "last", "epochs": 30, "lr": 0.001, "seed": 4},
        "methods": ["emo_clap"],
    }
    (run / "config.yaml").write_text(json.dumps(settings))
    write_report(run)
    line = "- Audio encoder: `enc` (layers 3, freeze all, pooling mean); 30 epochs, learning rate 0.001, seed 4"
    assert line in (run / "report.md").read_text()


def test_pictures_that_cannot_be_drawn_are_said_and_nothing_else_is_lost(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no\nfont")

    monkeypatch.setattr("gemoclap.reports.plots.write_comparison", fail)
    run = make_run(tmp_path / "run", **ONE)
    page = write_report(run).read_text()
    assert "**comparison.png could not be drawn:** ValueError: no font" in page and "](comparison.png)" not in page
    assert (run / "confusion_emo_clap.png").is_file() and json.loads((run / "results.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("emo_clap/fold_2/log.jsonl", '{"epoch": 1}\n{"epo'),
        ("emo_clap/fold_2/predictions.csv", "fold,id\n"),
        ("emo_clap/fold_2/calibration.json", '{"temperature": -1}'),
        ("folds.json", "{"),
    ],
)
def test_nothing_is_rewritten_before_everything_has_been_read(name, text, tmp_path):
    run = make_run(tmp_path / "run", methods=("emo_clap", "ce"), n_folds=2, epochs=2, utterances_a_speaker=8)
    names = [path.name for path in write_report(run).parent.iterdir() if path.suffix in (".png", ".svg", ".md", ".csv")]
    for one in names:
        (run / one).write_bytes(b"as it was")
    (run / name).write_text(text)
    with pytest.raises(GemoclapError, match=name):
        write_report(run)
    assert len(names) > 8 and all((run / one).read_bytes() == b"as it was" for one in names)


def test_labels_in_any_script_and_with_dollars_are_reported(tmp_path):
    classes = ("$\\angry$", "生气", "高兴", "$x_1^", "_{")
    page = write_report(make_run(tmp_path / "run", classes=classes, **ONE)).read_text()
    assert "could not be drawn" not in page and "生气" in page
    svg = (tmp_path / "run" / "confusion_emo_clap.svg").read_text()
    assert "$\\angry$" in svg and "生气" in svg  # words, not shapes


def test_what_a_run_was_made_with_is_on_the_page_and_in_the_json(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    made = {
        "gemoclap": "1.2",
        "torch": "2.13",
        "host": "Linux x86_64",
        "device": "cpu",
        "threads": 2,
        "date": "2026-01-02",
    }
    for fold, seconds in (("fold_1", 60.5), ("fold_2", 64.5)):
        (run / "emo_clap" / fold / "made.json").write_text(json.dumps({**made, "seconds": seconds}))
    page = write_report(run).read_text()
    line = "- Made with: gemoclap 1.2; torch 2.13; Linux x86_64; cpu; threads 2; 2026-01-02; 2 min 5 s of computing"
    assert line in page
    assert json.loads((run / "results.json").read_text())["made"]["seconds"] == 125.0
    (run / "emo_clap" / "fold_1" / "made.json").write_text("{")  # damaged: as good as none
    assert "1 min 4 s of computing" in write_report(run).read_text()


def the_same_answer(table: PredictionTable, answer: str) -> PredictionTable:
    """Return the table with all probability on one class."""
    sure = np.eye(len(table.classes))[[table.classes.index(answer)] * len(table)]
    return replace(table, prediction=(answer,) * len(table), probabilities=sure)


def test_a_training_that_gives_all_utterances_of_a_fold_one_class_is_named(tmp_path):
    run = make_run(tmp_path / "run", n_folds=4, epochs=2)
    assert "for every utterance of" not in write_report(run).read_text()
    for fold in ("fold_1", "fold_3"):
        path = run / "sl_gemo_clap" / fold / "predictions.csv"
        the_same_answer(read_predictions(path), "sad").write(path)
    page = write_report(run).read_text()
    assert "**Beware: SL-GEmo-CLAP predicts sad for every utterance of fold_1, fold_3, so it has not learned" in page
    assert page.count("for every utterance of") == 1


def test_formats_are_those_asked_for(tmp_path):
    run = make_run(tmp_path / "run", methods=("egemaps_svm",), n_folds=1, utterances_a_speaker=8)
    write_report(run, ("pdf",))
    assert not list(run.glob("*.svg"))
    names = {path.stem for path in run.glob("*.png")}
    assert {path.stem for path in run.glob("*.pdf")} == names
    assert all(path.read_bytes().startswith(b"%PDF") for path in run.glob("*.pdf"))
    with pytest.raises(GemoclapError, match="'gif' is no format; known: png, svg, pdf"):
        write_report(run, ("gif",))


def test_names_of_the_reports_are_imported_when_they_are_asked_for() -> None:
    assert all(getattr(gemoclap.reports, name).__name__ == name for name in gemoclap.reports.__all__)
    with pytest.raises(AttributeError, match=r"module 'gemoclap\.reports' has no attribute 'no_such_name'"):
        gemoclap.reports.no_such_name  # noqa: B018
