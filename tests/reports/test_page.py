"""The written report: its first line, its figures, its files."""

import csv
import json
import re
import shutil
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from fakerun import CLASSES, make_run
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

import gemoclap.reports
from gemoclap.errors import GemoclapError
from gemoclap.metrics.calibration import apply_temperature, class_numbers, confidence_of
from gemoclap.predictions import PredictionTable, read_predictions
from gemoclap.reports import collect, write_report, write_scores
from gemoclap.reports.page import report_title
from gemoclap.reports.rows import score_table
from gemoclap.reports.speakers import SpeakerScore, scores_by_speaker

ONE = {"methods": ("emo_clap",), "n_folds": 2, "epochs": 3}


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def sklearn_percent(paths):
    """Return WAR and UAR in percent with one decimal from predictions.csv files, without the code under test."""
    rows = [row for path in paths for row in csv.DictReader(path.open(newline=""))]
    truth, prediction = [row["truth"] for row in rows], [row["prediction"] for row in rows]
    return (
        f"{100 * accuracy_score(truth, prediction):.1f}",
        f"{100 * recall_score(truth, prediction, average='macro'):.1f}",
    )


def table_after(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first Markdown table after a heading, ruler left out."""
    lines = page.split(heading, 1)[1].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


@pytest.fixture(scope="module")
def full_run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("full") / "run")
    write_report(run)
    return run


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
    for word in ("share", "not finished", "standardised"):
        assert word not in scores


def test_the_captions_of_the_latex_tables_say_what_limits_the_figures(tmp_path):
    run = make_run(tmp_path / "run", methods=("emo_clap", "ce"), n_folds=3, epochs=2, shared_speakers=["01"])
    shutil.rmtree(run / "emo_clap" / "fold_2")
    shutil.rmtree(run / "ce" / "fold_2")
    write_report(run)
    captions = re.findall(r"\\caption\{.*", (run / "results.tex").read_text())
    assert len(captions) == 2
    for caption in captions:
        assert "training and test share speakers; some folds are not finished" in caption


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


def test_report_of_one_evaluation(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    table = read_predictions(run / "emo_clap" / "fold_1" / "predictions.csv")
    page = write_scores(score_table(table), table, tmp_path / "out", "a model on made-up.jsonl").read_text()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {f"{name}.{kind}" for name in ("confusion", "reliability") for kind in ("png", "svg")}
    assert names == {"scores.json", "scores.csv", "report.md"} | pictures
    war, uar = sklearn_percent([run / "emo_clap" / "fold_1" / "predictions.csv"])
    figures = table_after(page, "# Evaluation: a model on made-up.jsonl")[1]
    assert figures[0] == "96" and figures[1].startswith(war) and figures[2].startswith(uar)
    mistakes = table_after(page, "## Most confident mistakes")[1:]
    wrong = {
        row["id"]: float(row[f"p_{row['prediction']}"])
        for row in csv.DictReader((run / "emo_clap" / "fold_1" / "predictions.csv").open(newline=""))
        if row["truth"] != row["prediction"]
    }
    assert [row[0] for row in mistakes] == sorted(wrong, key=wrong.__getitem__, reverse=True)[:10]
    assert json.loads((tmp_path / "out" / "scores.json").read_text(), parse_constant=refuse)["n"] == 96


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


def test_an_evaluation_says_which_answers_cannot_be_right(tmp_path):
    classes = ("angry", "calm", "fearful", "sad")
    rng = np.random.default_rng(0)
    truth = [("angry", "sad")[one] for one in rng.integers(0, 2, 40)]
    probabilities = rng.dirichlet(np.ones(4), 40)
    said = [classes[one] for one in probabilities.argmax(axis=1)]
    table = PredictionTable(
        classes, tuple(map(str, range(40))), (None,) * 40, tuple("abcdefgh" * 5), (None,) * 40, tuple(truth), tuple(said),
        probabilities, tuple(f"{n}.wav" for n in range(40)),
    )  # fmt: skip
    page = write_scores(score_table(table), table, tmp_path, "m on n", unknown={"bored": 7, "tired": 1}).read_text()
    lost = sum(one in ("calm", "fearful") for one in said)
    assert f"calm, fearful: no utterance has these classes of the model, so {lost} of 40 predictions" in page
    assert "bored 7, tired 1: the model does not know these labels, so such utterances are left out" in page
    data = json.loads((tmp_path / "scores.json").read_text())
    assert (data["answers_that_cannot_be_right"], data["absent_classes"]) == (lost, ["calm", "fearful"])
    header, first, *_ = table_after(page, "## Most confident mistakes")
    assert header[-1] == "probability (no temperature was fitted)" and first[1].endswith(".wav")
    assert [row[0] for row in table_after(page, "## Confidence")[1:]] == ["no temperature was fitted"]


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


def test_an_evaluation_names_the_only_class_that_a_model_predicts(tmp_path):
    table = read_predictions(make_run(tmp_path / "run", **ONE) / "emo_clap" / "fold_1" / "predictions.csv")
    same = the_same_answer(table, "calm")
    assert "**Beware: the model predicts calm for every utterance" in write_scores(
        score_table(same), same, tmp_path, "m on n"
    ).read_text(encoding="utf-8")
    right = replace(same, truth=same.prediction)  # there is nothing else to predict
    assert "for every utterance" not in write_scores(score_table(right), right, tmp_path, "m on n").read_text()


def test_an_evaluation_shows_the_confidence_before_and_after_the_models_temperature(tmp_path):
    run = make_run(tmp_path / "run", **ONE)
    table = read_predictions(run / "emo_clap" / "fold_1" / "predictions.csv")
    calibrated = replace(table, probabilities=apply_temperature(table.probabilities, 2.5))
    calibration = {"temperature": 2.5, "fitted_on": "the development speakers", "utterances": 9}
    page = write_scores(score_table(table), calibrated, tmp_path / "out", "m on n", calibration=calibration).read_text()
    _, before, after = table_after(page, "## Confidence")
    truth = class_numbers(table.truth, table.classes)
    for row, probabilities in ((before, table.probabilities), (after, calibrated.probabilities)):
        expected = confidence_of(probabilities, truth)
        assert row[1:] == [f"{100 * expected.ece:.1f}", f"{expected.nll:.3f}", f"{expected.brier:.3f}"]
    assert "temperature is 2.50, fitted on the development speakers" in page
    assert table_after(page, "## Most confident mistakes")[0][-1] == "probability"


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


def test_every_speaker_has_scores_of_its_own(full_run):
    """A speaker's UAR is over the classes that the speaker has, as scikit-learn's balanced accuracy is."""
    rows = [
        row for path in full_run.glob("emo_clap/*/predictions.csv") for row in csv.DictReader(path.open(newline=""))
    ]
    with (full_run / "speakers.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["method"] == "emo_clap"]
    assert [row["speaker"] for row in found] == [f"{number:02d}" for number in range(1, 21)]
    for one in found:
        own = [row for row in rows if row["speaker"] == one["speaker"]]
        truth, said = [row["truth"] for row in own], [row["prediction"] for row in own]
        assert (one["n"], one["gender"]) == (str(len(own)), own[0]["gender"])
        assert float(one["war"]) == pytest.approx(accuracy_score(truth, said), abs=1e-6)
        assert float(one["uar"]) == pytest.approx(balanced_accuracy_score(truth, said), abs=1e-6)
    uars = {row["speaker"]: 100 * float(row["uar"]) for row in found}
    cells = table_after((full_run / "report.md").read_text(), "### Speakers")[1]
    lowest, highest = min(uars, key=uars.__getitem__), max(uars, key=uars.__getitem__)
    assert cells[2:4] == [f"{uars[lowest]:.1f} ({lowest})", f"{np.quantile(list(uars.values()), 0.25):.1f}"]
    assert cells[6] == f"{uars[highest]:.1f} ({highest})"


def test_scores_of_speakers_are_means_over_seeds_and_need_two_known_speakers():
    def of_seed(said: str) -> PredictionTable:
        truth = "aabb" + "ab"
        return PredictionTable(
            ("a", "b"), tuple("123456"), (None,) * 6, (*["one"] * 4, None, None), ("female", "male", *[None] * 4),
            tuple(truth), tuple(said), np.full((6, 2), np.nan),
        )  # fmt: skip

    assert scores_by_speaker([of_seed("aabbab"), of_seed("abaaba")]) == [SpeakerScore("one", None, 4, 0.625, 0.625)]
    assert scores_by_speaker([replace(of_seed("aabbab"), speakers=(None,) * 6)]) == []


def test_a_report_without_speakers_has_no_table_of_them(tmp_path):
    run = make_run(tmp_path / "run", known_speakers=False, **ONE)
    page = write_report(run).read_text()
    assert "### Speakers" not in page and not list(run.glob("speakers.*"))
