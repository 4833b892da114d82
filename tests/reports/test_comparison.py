"""Systems compared pair by pair: against scikit-learn and scipy, from runs and from files of other toolkits."""

from __future__ import annotations

import csv
import io
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from fakerun import make_run, told
from rich.console import Console
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from small import complaint, run

from gemoclap.corpora.manifest import Utterance, write_manifest
from gemoclap.errors import GemoclapError
from gemoclap.metrics import Difference, holm, least_p, sign_flip_p
from gemoclap.predictions import PredictionTable, concatenate, read_predictions
from gemoclap.reports import collect
from gemoclap.reports.comparison import compare_systems
from gemoclap.reports.comparison_page import print_comparison
from gemoclap.reports.others import read_answers, s3prl_files
from gemoclap.reports.records import LEVEL, is_significant, too_few
from gemoclap.reports.systems import read_systems

SMALL = {"n_folds": 2, "epochs": 1, "classes": ("angry", "happy", "sad"), "utterances_a_speaker": 12}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", **SMALL)


def answers_of(run_folder: Path, method: str) -> PredictionTable:
    return concatenate([read_predictions(path) for path in sorted((run_folder / method).glob("*/predictions.csv"))])


def write_table(path: Path, table: PredictionTable, *columns: str, **named: list[str]) -> Path:
    """Write some columns of predictions as another tool would, under the names that are given."""
    values = {"id": table.ids, "prediction": table.prediction, "truth": table.truth, "speaker": table.speakers, **named}
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*(values[column] for column in columns), strict=True)])
    return path


def manifest_of(table: PredictionTable, path: Path) -> Path:
    rows = [
        Utterance(id=one, path=f"clips/{one}.wav", speaker=speaker, emotion=truth, corpus="made")
        for one, speaker, truth in zip(table.ids, table.speakers, table.truth, strict=True)
    ]
    write_manifest(rows, path)
    return path


def test_every_pair_of_a_run_has_the_figures_of_scikit_learn_and_scipy(made: Path) -> None:
    methods = ("emo_clap", "sl_gemo_clap", "ml_gemo_clap")
    found = compare_systems(read_systems([str(made)]))
    tables = [answers_of(made, method) for method in methods]
    assert [system.name for system in found.systems] == ["Emo-CLAP", "SL-GEmo-CLAP", "ML-GEmo-CLAP"]
    for scores, table in zip(found.scores, tables, strict=True):
        assert scores.war == pytest.approx(accuracy_score(table.truth, table.prediction))
        assert scores.uar == pytest.approx(balanced_accuracy_score(table.truth, table.prediction))
        assert scores.macro_f1 == pytest.approx(f1_score(table.truth, table.prediction, average="macro"))
    assert [(pair.first, pair.second) for pair in found.pairs] == list(combinations(range(3), 2))
    for pair in found.pairs:
        a, b = tables[pair.first], tables[pair.second]
        difference = balanced_accuracy_score(b.truth, b.prediction) - balanced_accuracy_score(a.truth, a.prediction)
        one = pair.differences["uar"]
        assert one.value == pytest.approx(difference) and one.low < difference < one.high
        right = [[said == true for said, true in zip(t.prediction, t.truth, strict=True)] for t in (a, b)]
        only = [sum(x and not y for x, y in zip(*pair_of, strict=True)) for pair_of in (right, right[::-1])]
        assert [pair.only_first, pair.only_second] == only
        assert pair.mcnemar == pytest.approx(scipy.stats.binomtest(only[0], sum(only)).pvalue)
        assert pair.p["uar"] <= pair.p_corrected["uar"] <= 3 * pair.p["uar"]
        assert pair.mcnemar <= pair.mcnemar_corrected <= 3 * pair.mcnemar


def test_files_of_other_toolkits_give_the_same_figures_as_the_run(made: Path, tmp_path: Path) -> None:
    """The same answers, named by file, by EmoBox's keys and numbers, and without labels or speakers."""
    table = answers_of(made, "emo_clap")
    classes = list(SMALL["classes"])
    manifest = manifest_of(table, tmp_path / "m.jsonl")
    by_file = write_table(
        tmp_path / "a.csv", table, "file", "predicted", file=[f"D:\\sound\\{one}.WAV" for one in table.ids],
        predicted=[word.upper() for word in table.prediction],
    )  # fmt: skip
    rows = [
        {"key": f"made-{one}", "pred": classes.index(said)}
        for one, said in zip(table.ids, table.prediction, strict=True)
    ]
    (tmp_path / "b.json").write_text(json.dumps(rows))
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others = [by_file, tmp_path / "b.json", tmp_path / "c.jsonl"]
    found = compare_systems(read_systems([f"{made}:emo_clap", *map(str, others)], labels=classes))
    assert [system.name for system in found.systems] == ["Emo-CLAP", "a", "b", "c"]
    assert all(scores.uar == found.scores[0].uar for scores in found.scores)
    assert all(scores.uar_interval == found.scores[0].uar_interval for scores in found.scores)
    assert all(pair.p["uar"] == 1 and pair.mcnemar == 1 and pair.differs is False for pair in found.pairs)
    assert (
        run("compare", *others[:2], "--manifest", manifest, "--labels", ",".join(classes), "-o", tmp_path / "out") == 0
    )
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert data["n_speakers"] == 8 and data["remarks"] == []
    assert data["systems"][0]["uar"] == pytest.approx(found.scores[0].uar)


def test_s3prls_folder_is_read_with_the_speakers_of_iemocap(tmp_path: Path) -> None:
    lines = {"Ses01F_impro01_F000": ("hap", "neu"), "Ses01F_impro01_M000": ("ang", "ang")}
    for fold, session in (("fold1", "Ses01"), ("fold2", "Ses02")):
        folder = tmp_path / "exp" / fold
        folder.mkdir(parents=True)
        named = {name.replace("Ses01", session): labels for name, labels in lines.items()}
        for kind, place in (("truth", 0), ("predict", 1)):
            text = "".join(f"{name} {labels[place]}\n" for name, labels in named.items())
            (folder / f"test_{fold}_{kind}.txt").write_text(text)
            (folder / f"dev_{fold}_{kind}.txt").write_text("Ses05F_impro01_F000 sad\n")
    [system] = read_systems([str(tmp_path / "exp")])
    assert len(system.clips) == 4 and system.name == "exp"
    assert system.truth["Ses02F_impro01_F000"] == "happy" and system.answers[0]["Ses02F_impro01_F000"] == "neutral"
    assert system.speakers["Ses02F_impro01_M000"] == "iemocap/Ses02M"
    other = tmp_path / "mine.csv"
    other.write_text("id,prediction\n" + "".join(f"{clip},happy\n" for clip in system.clips))
    found = compare_systems(read_systems([str(tmp_path / "exp"), str(other)]))
    assert found.n_speakers == 4 and found.scores[0].war == found.scores[1].war == 0.5


def test_a_folder_of_seeds_is_one_system_and_has_no_mcnemar(tmp_path: Path) -> None:
    for seed, accuracy in ((0, 0.4), (1, 0.6)):
        seeded = make_run(tmp_path / "seeds" / f"seed_{seed}", ("emo_clap",), accuracy=[accuracy], **SMALL)
        told(seeded, train={"seed": seed})
    plain = make_run(tmp_path / "plain", ("ce",), accuracy=[0.5], **SMALL)
    found = compare_systems(read_systems([str(tmp_path / "seeds"), f"Softmax={plain}"]))
    assert [(system.name, system.seeds) for system in found.systems] == [("Emo-CLAP", (0, 1)), ("Softmax", ())]
    tables = [answers_of(tmp_path / "seeds" / f"seed_{seed}", "emo_clap") for seed in (0, 1)]
    each = [balanced_accuracy_score(table.truth, table.prediction) for table in tables]
    assert found.scores[0].uar == pytest.approx(sum(each) / 2)
    [pair] = found.pairs
    assert pair.only_first is None and pair.mcnemar != pair.mcnemar and pair.p["uar"] <= 1
    assert run("compare", tmp_path / "seeds", f"Softmax={plain}", "-o", tmp_path / "out", "--formats", "svg") == 0
    assert "McNemar" not in (tmp_path / "out" / "comparison.tex").read_text()  # its columns would be empty


def test_with_one_speaker_what_is_said_below_the_latex_table_is_about_its_columns(made: Path, tmp_path: Path) -> None:
    columns = ("id", "truth", "prediction", "speaker")
    first, second = (answers_of(made, method) for method in ("emo_clap", "sl_gemo_clap"))
    files = [
        write_table(tmp_path / f"{name}.csv", table, *columns, speaker=["ann"] * len(table))
        for name, table in (("a", first), ("b", second))
    ]
    assert run("compare", *files, "-o", tmp_path / "out", "--formats", "svg") == 0
    pairs = (tmp_path / "out" / "comparison.tex").read_text().split(r"\caption")[2]
    caption, table = pairs.split(r"\label")
    for column in ("p over speakers", "differs", "p McNemar over clips"):
        assert column in table
    assert "p over speakers" in caption and "McNemar's test treats clips" in caption


def test_other_clips_are_refused_with_counts_and_examples(made: Path, tmp_path: Path) -> None:
    table = answers_of(made, "emo_clap")
    short = write_table(tmp_path / "short.csv", table, "id", "prediction")
    lines = short.read_text().splitlines()
    short.write_text("\n".join([lines[0], *lines[6:], "other,happy"]) + "\n")
    with pytest.raises(GemoclapError) as caught:
        compare_systems(read_systems([f"{made}:emo_clap", str(short)]))
    said = str(caught.value)
    assert "Emo-CLAP lacks 1 of 97 clips (other)" in said and "short lacks 5 of 97 clips (" in said
    assert "--common to compare on the 91 that all have" in said and "\n" not in said
    found = compare_systems(read_systems([f"{made}:emo_clap", str(short)]), common=True)
    assert found.n == 91 and found.remarks[0].startswith("6 clips left out")
    (tmp_path / "none.csv").write_text("id,prediction\nx1,happy\nx2,sad\n")
    with pytest.raises(GemoclapError, match="no clip in common: .*none has x1, x2"):
        compare_systems(read_systems([f"{made}:emo_clap", str(tmp_path / "none.csv")]), common=True)


def test_files_that_disagree_about_the_truth_are_refused(made: Path, tmp_path: Path) -> None:
    table = answers_of(made, "emo_clap")
    other = ["happy" if word == "sad" else "sad" for word in table.truth]
    path = write_table(tmp_path / "a.csv", table, "id", "prediction", "label", label=other)
    with pytest.raises(
        GemoclapError, match=r"clip '.*' is \w+ in Emo-CLAP and \w+ in a; compare systems with the same"
    ):
        compare_systems(read_systems([f"{made}:emo_clap", str(path)]))


def test_unknown_truth_is_refused_and_unknown_speakers_are_said(made: Path, tmp_path: Path) -> None:
    table = answers_of(made, "emo_clap")
    paths = [write_table(tmp_path / f"{name}.csv", table, "id", "prediction") for name in "ab"]
    with pytest.raises(GemoclapError, match="the true label of 96 of 96 clips is unknown .*--manifest"):
        compare_systems(read_systems([*map(str, paths)]))
    paths = [write_table(tmp_path / f"{name}.csv", table, "id", "prediction", "truth") for name in "ab"]
    found = compare_systems(read_systems([*map(str, paths)]))
    assert found.n_speakers == 96 and "the speaker of 96 of 96 clips is unknown" in found.remarks[0]


FAULTS = {
    "a.csv": ("id,prediction\nx,happy\nx,sad\n", "a.csv:3: clip 'x' is already at .*a.csv:2"),
    "b.csv": ("id,score\nx,1\n", "b.csv:1: has no column prediction among id, score"),
    "c.csv": ("id,prediction\nx,2\n", "c.csv:2: label 2 is a number; add --labels"),
    "d.csv": ("id,prediction\nx,\n", "d.csv:2: has no prediction"),
    "e.csv": ("id,prediction\n", "e.csv: has no predictions"),
    "f.json": ('[{"key": "x", "pred": ["happy"]}]', r"f.json: row 1: \['happy'\] is not a label"),
    "g.json": ('{"uar": 0.5}', "g.json: is not a list of rows"),
    "h.jsonl": ("{oops\n", "h.jsonl:1: not JSON"),
    "nan.csv": ("id,emotion,confidence\nx,happy,0.5\ny,happy,nan\n", "nan.csv:3: its scores are not finite numbers"),
    "inf.csv": ("id,prediction,p_happy\nx,happy,-inf\n", "inf.csv:2: its scores are not finite numbers"),
    "test_fold1_predict.txt": ("Ses01F_impro01_F000\n", "test_fold1_predict.txt:1: expected the name of a clip"),
    "k.csv": ("file,prediction\nA/x.wav,happy\nB/x.wav,sad\n", "k.csv:2: several rows are about clip 'x'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_file_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    text, message = FAULTS[name]
    (tmp_path / name).write_text(text)
    (tmp_path / "first.csv").write_text("id,prediction,truth\nx,happy,sad\n")
    with pytest.raises(GemoclapError, match=message):
        read_systems([str(tmp_path / "first.csv"), str(tmp_path / name)])


def test_what_is_no_system_is_said_in_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert "did you mean 'emo_clap'?" in complaint(capsys, "compare", f"{made}:emoclap", made)
    assert "no such file or folder" in complaint(capsys, "compare", tmp_path / "nothing", made)
    assert "only one system, Emo-CLAP" in complaint(capsys, "compare", f"{made}:emo_clap")
    (tmp_path / "empty").mkdir()
    assert "no predictions.csv and no *_predict.txt" in complaint(capsys, "compare", tmp_path / "empty", made)
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "config.yaml").write_text("methods:\n- dimensions\n")
    assert "has no classes to compare" in complaint(capsys, "compare", tmp_path / "numbers", made)
    assert "without -o and --html" in complaint(capsys, "report", tmp_path / "numbers", "--html")
    assert "holds files of something else" in complaint(capsys, "compare", made, "-o", made)


def test_the_same_method_of_two_runs_is_told_apart_by_its_run(made: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", ("emo_clap",), accuracy=[0.7], **SMALL)
    named = read_systems([f"{made}:emo_clap", str(other)])
    assert [system.name for system in named] == [f"Emo-CLAP ({made})", f"Emo-CLAP ({other})"]
    assert [one.name for one in read_systems([f"A={made}:emo_clap", f"B={other}"])] == ["A", "B"]
    same = read_systems([f"A={made}:{method}" for method in ("emo_clap", "sl_gemo_clap", "ml_gemo_clap")])
    assert [one.name for one in same] == [f"A ({made})", f"A ({made}) 2", f"A ({made}) 3"]
    odd = other.rename(tmp_path / "lr=0.1")
    assert [one.name for one in read_systems([f"{odd}:emo_clap", f"B={made}:emo_clap"])] == ["Emo-CLAP", "B"]


def test_a_system_that_is_named_twice_is_not_compared_with_itself(made: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "other.csv", answers_of(made, "emo_clap"), "id", "prediction")
    for first, second in ((made, made), (made, f"{made}:emo_clap"), (f"{made}:emo_clap", f"B={made}:emo_clap")):
        with pytest.raises(GemoclapError, match=f"{made}: is named twice; name each system once"):
            read_systems([str(first), str(second)])
    (tmp_path / "link.csv").symlink_to(table)
    with pytest.raises(GemoclapError, match=r"link.csv: is named twice"):
        read_systems([str(table), str(tmp_path / "link.csv")])
    assert len(read_systems([f"{made}:emo_clap", f"{made}:sl_gemo_clap", str(table)])) == 3


def test_answers_that_are_no_label_are_said_and_are_no_classes_of_the_title(made: Path, tmp_path: Path) -> None:
    table = answers_of(made, "emo_clap")
    said = ["bored", *table.prediction[1:]]
    other = write_table(tmp_path / "other.csv", table, "id", "prediction", prediction=said)
    found = compare_systems(read_systems([f"{made}:emo_clap", str(other)]))
    assert found.scores[1].macro_f1 == pytest.approx(f1_score(table.truth, said, average="macro"))
    (remark,) = [one for one in found.remarks if "label of no clip" in one]
    assert remark.startswith("other gave answers") and "(bored 1)" in remark
    printed = io.StringIO()
    print_comparison(found, Console(file=printed, width=200))
    assert "speakers, 3 classes" in " ".join(printed.getvalue().split())


def test_the_command_prints_tables_and_writes_every_file(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    assert run("compare", made, "-o", output, "--formats", "svg") == 0
    printed = capsys.readouterr().out
    page = (output / "comparison.md").read_text()
    assert "| SL-GEmo-CLAP minus Emo-CLAP |" in page and "Clips of one speaker are not" in page
    assert "SL-GEmo-CLAP minus Emo-CLAP" in printed and "p is corrected for 3 comparisons (Holm)" in printed
    assert not any(mark in printed for mark in ("|", "**", "##"))
    for row in csv.DictReader((output / "comparison_systems.csv").open()):
        assert f"{100 * float(row['uar']):.1f}" in printed and row["system"] in printed
    assert {path.name for path in output.iterdir()} == {
        "comparison.md", "comparison.json", "comparison_pairs.csv", "comparison_systems.csv", "comparison.tex",
        "comparison.png", "comparison.svg",
    }  # fmt: skip
    rows = list(csv.DictReader((output / "comparison_pairs.csv").open()))
    assert [row["system"] for row in rows] == ["SL-GEmo-CLAP", "ML-GEmo-CLAP", "ML-GEmo-CLAP"]
    latex = (output / "comparison.tex").read_text()
    scores, pairs = [line for line in latex.splitlines() if line.startswith(r"\caption")]
    assert all("brackets: intervals (95" in caption for caption in (scores, pairs))
    assert (
        "corrected for 3 comparisons (Holm); two systems differ if" in pairs and "McNemar's test treats clips" in pairs
    )
    assert latex.count(r"\begin{table*}") == latex.count(r"\end{table*}") == 2
    assert latex.count(r"\begin{tabular}") == 2 and latex.count("minus") == 3 and "−" not in latex
    assert run("compare", made, "-o", output) == 0  # over the earlier one
    assert "the name of a folder; comparison.md" in complaint(capsys, "compare", made, "-o", tmp_path / "c.md")


def test_a_difference_needs_the_interval_too() -> None:
    assert is_significant(Difference(0.02, 0.01, 0.03), 0.01) is True
    assert is_significant(Difference(0.02, -0.01, 0.05), 0.01) is False
    assert is_significant(Difference(0.02, 0.01, 0.03), 0.2) is False
    assert is_significant(Difference(0.02, float("nan"), float("nan")), float("nan")) is None


def test_compare_and_compare_ems_are_two_commands(capsys: pytest.CaptureFixture) -> None:
    assert run("compare", "--help") == 0
    assert "compare ems' is another command" in capsys.readouterr().out
    assert run("compare", "ems", "--help") == 0
    assert "--intensity_model" in capsys.readouterr().out
    assert "give SYSTEMS" in complaint(capsys, "compare")
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert "  compare ems " in shown and "  compare  " in shown


@pytest.mark.parametrize(("name", "text"), [
    ("truth.csv", "clip,emotion\na,sad\nb,happy\n"),
    ("manifest.jsonl", '{"id": "a", "path": "a.wav", "emotion": "sad"}\n'),
])  # fmt: skip
def test_true_labels_are_not_taken_for_predictions(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(GemoclapError, match="give it with --manifest"):
        read_answers(tmp_path / name)


def test_a_file_of_predict_has_its_predictions_in_the_column_emotion(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("path,emotion,confidence,sad,happy,error,remark\na.wav,sad,0.7,0.7,0.3,,\n")
    (answer,) = read_answers(tmp_path / "out.csv")
    assert (answer.clip, answer.answer, answer.truth) == ("a.wav", "sad", None)


@pytest.mark.parametrize(
    "header", ["File Name,Predicted Emotion,True Label,SPEAKER ID", "file_name,predicted_emotion,true_label,SpeakerId"]
)
def test_columns_have_any_spelling(header: str, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text(f"{header}\na.wav,sad,happy,Ann\n")
    (found,) = read_answers(tmp_path / "out.csv")
    assert (found.clip, found.answer, found.truth, found.speaker) == ("a.wav", "sad", "happy", "Ann")


def test_spellings_of_one_speaker_are_one_and_genders_are_words(tmp_path: Path) -> None:
    head, names = "id,prediction,truth,speaker,sex\n", ("Ann", "ann ", " ANN", "Bo", "bo", "B\u00f6", "Bo\u0308")
    lines = [f"{number},happy,sad,{name},{'F' if number < 3 else 'm'}\n" for number, name in enumerate(names)]
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(head + "".join(lines), encoding="utf-8")
    one, other = read_systems([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert list(one.speakers.values()) == ["Ann"] * 3 + ["Bo"] * 2 + ["B\u00f6"] * 2
    assert list(one.genders.values()) == ["female"] * 3 + ["male"] * 4
    assert compare_systems([one, other]).n_speakers == 3


def test_s3prl_s_files_in_a_linked_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "test_fold1_predict.txt").write_text("Ses01F_impro01_F000 hap\n")
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "fold1").symlink_to(tmp_path / "store")
    assert s3prl_files(tmp_path / "exp") == [tmp_path / "exp" / "fold1" / "test_fold1_predict.txt"]


def test_the_tables_fit_a_terminal_of_80_columns(made: Path) -> None:
    comparison = compare_systems(read_systems([str(made)]))
    console = Console(file=io.StringIO(), width=80)
    print_comparison(comparison, console)
    shown = console.file.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown and max(map(len, shown.splitlines())) <= 80
    for scores in comparison.scores:
        low, high = (f"{100 * one:.1f}" for one in scores.uar_interval)
        assert f"{100 * scores.uar:.1f}" in shown and f"[{low}, {high}]" in shown
    for pair in comparison.pairs:
        assert f"{100 * abs(pair.differences['uar'].value):.1f}" in shown


@pytest.mark.parametrize(
    "speakers, tests", [(2, 1), (5, 1), (6, 1), (6, 2), (9, 10), (9, 12), (9, 13), (10, 25), (10, 26)]
)
def test_it_is_said_where_no_difference_can_be_significant(speakers: int, tests: int) -> None:
    """The clearest case: every speaker is better with one method, in each of the comparisons."""
    clearest = sign_flip_p(np.full(speakers, 0.1))
    assert clearest == pytest.approx(least_p(speakers)) == pytest.approx(2 / 2**speakers)
    can = min(holm([clearest] * tests)) < LEVEL
    said = too_few(speakers, tests)
    assert bool(said) != can
    assert can or f"with {speakers} speakers p is at least {clearest:.3f}" in said[0]


def test_reports_and_comparisons_say_it_and_say_nothing_where_nothing_is_tested(tmp_path: Path) -> None:
    assert too_few(1, 3) == too_few(4, 0) == []
    folder = make_run(tmp_path / "run", **SMALL, speakers_a_fold=2)
    found, run_of_three = compare_systems(read_systems([str(folder)])), collect(folder)
    assert f"with 4 speakers p is at least 0.125, or {0.125 * len(found.pairs):.3f} after" in found.remarks[-1]
    compared = len(run_of_three.differences)
    assert f"0.125, or {0.125 * compared:.3f} after correction for {compared} comp" in run_of_three.cautions[-1]
