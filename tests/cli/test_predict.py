"""`gemoclap predict`: which clips, rows as they are ready, what an ended run leaves, and what is not loaded."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
from filelock import FileLock
from small import SMALL, complaint, contents, run
from sound import noise, tone, write

from gemoclap.cli.predicting import ENOUGH_TO_ADAPT
from gemoclap.corpora.manifest import Utterance, read_manifest, write_manifest
from gemoclap.errors import GemoclapError, WriteError
from gemoclap.inference.job import columns_of
from gemoclap.inference.prediction import Prediction
from gemoclap.inference.predictor import Predictor
from gemoclap.inference.rows import PARTIAL, RowFile, key_of

EMOTIONS = ["angry", "happy", "neutral", "sad"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight clips of several lengths, in no order of length."""
    folder = tmp_path_factory.mktemp("clips")
    seconds = (0.7, 0.3, 1.1, 0.5, 0.9, 0.4, 0.6, 0.8)
    return [write(folder / f"{n}.wav", noise(length, seed=n)) for n, length in enumerate(seconds)]


@pytest.fixture(scope="module")
def gender_model(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on emotion and gender."""
    output = tmp_path_factory.mktemp("gender")
    assert run("train", small_manifest, *SMALL, "--method", "ml_gemo_clap", "-o", output) == 0
    return output / "model"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def interrupted_after(count: int, patch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come after so many answers."""
    whole = Predictor.predict_many

    def some(*args: object, **options: object) -> Iterator[object]:
        for number, answer in enumerate(whole(*args, **options)):  # type: ignore[arg-type]
            if number == count:
                raise KeyboardInterrupt
            yield answer

    patch.setattr(Predictor, "predict_many", some)


@pytest.mark.parametrize("end", [b"", b'{"path": "half a li'])
def test_an_ended_run_goes_on_where_it_stopped(
    end: bytes, small_model: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    given = ["predict", bad, *clips, "--model", small_model, "--batch_size", "2"]
    assert run(*given, "-o", tmp_path / "whole.csv") == 1
    output = tmp_path / "out.csv"
    with pytest.MonkeyPatch.context() as patch:
        interrupted_after(4, patch)
        assert "interrupted; repeat the command to resume" in complaint(capsys, *given, "-o", output, status=130)
    assert not output.exists()
    with (tmp_path / ("out.csv" + PARTIAL)).open("ab") as file:
        file.write(end)
    asked: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        whole = Predictor.predict_many
        patch.setattr(Predictor, "predict_many", lambda *args: (asked.extend(args[1]), whole(*args))[1])
        assert run(*given, "-o", output) == 1
    shown = capsys.readouterr()
    assert "resuming, 4 of 9 rows were written before" in shown.out and "1 of 9 clips could not be read" in shown.err
    assert len(asked) == 5
    assert [row["path"] for row in rows_of(output)] == [str(bad), *map(str, clips)]
    for again, once in zip(rows_of(output), rows_of(tmp_path / "whole.csv"), strict=True):
        assert [again[name] for name in ("path", "emotion", "error")] == [
            once[name] for name in ("path", "emotion", "error")
        ]
        assert [float(again[name] or 0) for name in EMOTIONS] == pytest.approx(
            [float(once[name] or 0) for name in EMOTIONS], abs=2e-6
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.wav", "out.csv", "whole.csv"]


def test_rows_of_another_model_or_other_labels_are_not_mixed(
    small_model: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out.jsonl"
    given = ["predict", *clips, "--model", small_model, "-o", output, "--speech", "all"]
    with pytest.MonkeyPatch.context() as patch:
        interrupted_after(3, patch)
        complaint(capsys, *given, status=130)
    before = contents(tmp_path)
    line = complaint(capsys, *given, "--labels", "joy,anger")
    assert "out.jsonl.partial: begun with another model or other options" in line and contents(tmp_path) == before
    assert run(*given, "--labels", "joy,anger", "--overwrite") == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == len(clips) and {row["emotion"] for row in rows} <= {"joy", "anger"}
    assert "is there already" in complaint(capsys, *given)


def test_an_ended_run_that_was_to_replace_a_file_goes_on_too(
    small_model: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out.csv"
    output.write_text("mine")
    given = ["predict", *clips, "--model", small_model, "-o", output, "--overwrite"]
    with pytest.MonkeyPatch.context() as patch:
        interrupted_after(3, patch)
        complaint(capsys, *given, status=130)
    assert output.read_text() == "mine"
    assert run(*given) == 0
    assert "resuming, 3 of 8 rows were written before" in capsys.readouterr().out and len(rows_of(output)) == 8


def test_one_process_at_a_time_writes_a_file(
    small_model: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with FileLock(tmp_path / ".out.csv.lock"):
        line = complaint(capsys, "predict", clips[0], "--model", small_model, "-o", tmp_path / "out.csv")
    assert "out.csv: another 'gemoclap predict' is writing it" in line


def test_a_label_that_is_another_column_is_refused(
    small_model: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ["predict", clips[0], "--model", small_model, "--any_words", "-o", tmp_path / "out.csv"]
    said = complaint(capsys, *given, "--labels", "sad,error")
    assert said == "gemoclap: labels: 'error' is the name of a column of the table; take another word\n"
    assert not list(tmp_path.glob("out.csv*"))


@pytest.mark.parametrize("label", ["path", "id", "emotion", "confidence", "seconds", "remark"])
def test_labels_do_not_replace_other_columns(label: str) -> None:
    of_manifest = [Utterance("one", "one.wav")]
    with pytest.raises(GemoclapError, match=f"{label!r} is the name of a column"):
        columns_of(of_manifest, ["sad", label], ["seconds"])
    if label in ("id", "seconds"):  # a column that this table does not have
        assert label in columns_of([Utterance("one.wav", "one.wav")], ["sad", label], [])


def test_a_full_disk_is_told_with_the_file_that_was_asked_for(tmp_path: Path) -> None:
    """/dev/full refuses the rows when they are written, and once more what is left of them when the file is closed."""
    target = tmp_path / "out.csv"
    said = f"{target}: cannot be written, the disk is full"
    with pytest.raises(WriteError, match=re.escape(said)), RowFile(target, {}, ["path"]) as rows:
        rows._file.close()
        rows._file = rows._leave.enter_context(open("/dev/full", "w"))  # noqa: SIM115
        rows.add({"path": "a.wav"})


def test_a_partial_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.csv.partial").write_text("my notes\n")
    with pytest.raises(Exception, match="does not contain rows"):
        RowFile(tmp_path / "out.csv", {}, ["path"]).__enter__()
    assert (tmp_path / "out.csv.partial").read_text() == "my notes\n"
    with RowFile(tmp_path / "out.csv", {}, ["path"], overwrite=True) as rows:
        rows.add({"path": "a.wav"})
        rows.finish([key_of({"path": "a.wav"})])
    assert (tmp_path / "out.csv").read_text() == "path\na.wav\n"


def test_csv_jsonl_and_parquet_hold_the_same(small_model: Path, clips: list[Path], tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        assert run("predict", *clips, "--model", small_model, "-o", tmp_path / f"out.{suffix}") == 0
    columns = ["path", "emotion", "confidence", *EMOTIONS, "error", "remark"]
    table = pandas.read_csv(tmp_path / "out.csv")
    assert list(table) == columns
    for other in (pandas.read_json(tmp_path / "out.jsonl", lines=True), pandas.read_parquet(tmp_path / "out.parquet")):
        shared = [name for name in columns if name in other]
        assert shared[:7] == columns[:7]
        pandas.testing.assert_frame_equal(other[columns[:7]], table[columns[:7]], check_dtype=False)


def test_further_columns_are_there_on_request(
    small_model: Path, gender_model: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tables = []
    for suffix in ("csv", "jsonl", "parquet"):
        output = tmp_path / f"out.{suffix}"
        wanted = ("--columns", "gender,seconds,embedding", "--speech", "all")
        assert run("predict", *clips, "--model", gender_model, *wanted, "-o", output) == 0
        if suffix == "csv":
            table = pandas.read_csv(output)
            assert list(table) == [
                "path", "emotion", "confidence", *EMOTIONS, "gender", "seconds", "embedding", "error", "remark"
            ]  # fmt: skip
            table["embedding"] = table["embedding"].map(json.loads)
        else:
            table = pandas.read_json(output, lines=True) if suffix == "jsonl" else pandas.read_parquet(output)
        tables.append(table)
    predictor = Predictor.from_pretrained(gender_model)
    predictor.predict_gender = True
    for place, answer in enumerate(predictor.predict_many(clips)):
        assert isinstance(answer, Prediction) and answer.genders is not None
        for table in tables:
            assert table["gender"][place] == max(answer.genders, key=answer.genders.__getitem__)
            assert table["seconds"][place] == pytest.approx(answer.seconds, abs=1e-3)
            np.testing.assert_allclose(np.array(table["embedding"][place]), answer.embedding, atol=1e-5)
    line = complaint(capsys, "predict", clips[0], "--model", small_model, "--columns", "gender", "--json")
    assert "this model does not predict gender" in line
    assert "add -o FILE, or --json" in complaint(capsys, "predict", clips[0], "--columns", "seconds")
    assert run("predict", clips[0], "--model", small_model, "--columns", "age") == 2


def test_threads_that_read_change_no_answer(small_model: Path, clips: list[Path], tmp_path: Path) -> None:
    for workers in ("1", "3"):
        given = ("predict", *clips, "--model", small_model, "--workers", workers, "--batch_size", "2")
        assert run(*given, "-o", tmp_path / f"{workers}.csv") == 0
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "3.csv").read_bytes()


@pytest.mark.parametrize("name", ["out.txt", "out", "out.CSV.gz"])
def test_other_suffixes_are_refused(
    name: str, small_model: Path, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = complaint(capsys, "predict", clips[0], "--model", small_model, "-o", tmp_path / name)
    assert "a name that ends in .csv or .jsonl or .parquet" in line and not list(tmp_path.iterdir())


def test_rows_go_through_a_pipe_as_csv(small_model: Path, clips: list[Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert run("predict", *clips[:2], "--model", small_model, "-o", tmp_path / "pipe") == 0
    rows = list(csv.DictReader(os.read(reader, 2**16).decode().splitlines()))
    os.close(reader)
    assert [row["path"] for row in rows] == [str(clip) for clip in clips[:2]]


def test_lists_patterns_folders_and_manifests_name_the_same_clips(
    small_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = read_manifest(small_manifest)
    folder = Path(rows[0].path).parent
    (tmp_path / "list.csv").write_text(
        "path\n" + "".join(f"{row.path}\n" for row in rows if Path(row.path).parent == folder)
    )
    answers = []
    for number, given in enumerate(([folder], [f"{folder}/*.wav"], [tmp_path / "list.csv"])):
        output = tmp_path / f"{number}.csv"
        assert run("predict", *given, "--model", small_model, "-o", output) == 0
        answers.append({row["path"]: (row["emotion"], row["confidence"]) for row in rows_of(output)})
    assert answers[0] == answers[1] == answers[2] and len(answers[0]) > 3
    assert run("predict", folder, f"{folder}/*.wav", "--model", small_model, "-o", tmp_path / "twice.csv") == 0
    assert len(rows_of(tmp_path / "twice.csv")) == len(answers[0])
    assert run("predict", small_manifest, "--model", small_model, "-o", tmp_path / "manifest.csv") == 0
    table = rows_of(tmp_path / "manifest.csv")
    assert [row["id"] for row in table] == [row.id for row in rows]
    assert "no audio file matches this pattern" in complaint(
        capsys, "predict", f"{folder}/*.mp3", "--model", small_model
    )


def test_lines_say_which_part_of_a_file_they_are_about(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "call.wav", noise(3.0))
    parts = [("a", 0.0, 1.25), ("b", 1.5, None), ("c", None, 2.0), ("d", None, None)]
    write_manifest([Utterance(name, str(tmp_path / "call.wav"), *part) for name, *part in parts], tmp_path / "m.jsonl")
    capsys.readouterr()
    assert run("predict", tmp_path / "m.jsonl", "--model", small_model, "--speech", "all") == 0
    said = [line.partition("call.wav")[2].partition(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [" 0:00.0 to 0:01.2", " 0:01.5 to its end", " 0:00.0 to 0:02.0", ""]


def test_hints_at_what_was_meant(small_model: Path, clips: list[Path], capsys: pytest.CaptureFixture) -> None:
    line = complaint(capsys, "predict", clips[0], "--model", small_model, "--labels", "bored", "excited")
    assert "unrecognized arguments: excited; give paths side by side; put commas in a list (--labels a,b)" in line
    line = complaint(capsys, "pretrain", "ems", clips[0], "-o", "run")
    assert "every word here needs an option before it; put commas in a list (--speech a,b)" in line
    line = complaint(capsys, "inspect", clips[0], clips[1])
    assert "without an option, it takes only MANIFEST" in line and "--labels" not in line
    line = complaint(capsys, "predict", small_model, clips[0], "--model", small_model)
    assert f"name it with --model {small_model}" in line
    assert "is a file; name the folder of a model" in complaint(capsys, "predict", clips[0], "--model", clips[1])


def test_what_means_little_is_remarked(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = {
        "silent.wav": np.zeros(16000),
        "hiss.wav": noise(1.0, rms=1e-5),
        "short.wav": tone(300, 0.02),
        "long.wav": noise(20.0),
        "fine.wav": noise(1.0),
        "inverted.wav": np.stack([noise(1.0), 1e-3 * noise(1.0, seed=1) - noise(1.0)], axis=1),
        "opposite.wav": np.stack([noise(1.0), -noise(1.0)], axis=1),
        "clipped.wav": np.clip(20 * tone(300, 2.0), -0.9, 0.9),
    }
    for name, samples in names.items():
        write(tmp_path / name, samples)
    given = ["predict", *(tmp_path / name for name in names), "--model", small_model, "--speech", "all"]
    assert run(*given, "-o", tmp_path / "out.csv") == 0
    remarks = {Path(row["path"]).name: row["remark"] for row in rows_of(tmp_path / "out.csv")}
    remarks = {name: re.sub("(; )?close: .*", "", remark) for name, remark in remarks.items()}
    assert remarks["silent.wav"].startswith("silent") and remarks["hiss.wav"].startswith("silent")
    assert remarks["short.wav"] == "very short: 20 ms"
    longest = json.loads((small_model / "config.json").read_text())["clip_seconds"]
    mean = f"the mean of {math.ceil(20 / longest)} parts; a timeline shows the emotions one by one"
    assert longest < 10 and remarks["long.wav"] == f"one answer for 20 s of sound, {mean}"
    assert remarks["fine.wav"] == ""
    assert re.fullmatch(r"clipped: .* cut off, 9\d\.\d % of the samples; .*", remarks["clipped.wav"])
    assert "cancel each other" in remarks["inverted.wav"] and "cancel each other" in remarks["opposite.wav"]
    assert run("predict", tmp_path / "long.wav", "--model", small_model, "--speech", "all") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("a timeline shows the emotions one by one]")


def test_where_nobody_speaks_no_emotion_is_predicted(
    small_model: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    voice = read_manifest(small_manifest)[0].path
    silent, hiss = write(tmp_path / "silent.wav", np.zeros(16000)), write(tmp_path / "hiss.wav", noise(3.0))
    given = ["predict", voice, silent, hiss, "--model", small_model]
    assert run(*given, "-o", tmp_path / "out.csv") == run(*given, "--speech", "all", "-o", tmp_path / "all.csv") == 0
    found, always = rows_of(tmp_path / "out.csv"), rows_of(tmp_path / "all.csv")
    assert found[0]["emotion"] in EMOTIONS and found[0] == always[0]
    assert [row["emotion"] for row in found[1:]] == ["no speech", "no speech"]
    assert found[1]["remark"].startswith("silent") and found[2]["remark"] == "no speech was found"
    assert all(row["emotion"] in EMOTIONS for row in always)
    for label in EMOTIONS:
        assert [row[label] for row in found] == [row[label] for row in always]
    capsys.readouterr()
    assert run("predict", hiss, "--model", small_model) == 0
    assert f"{hiss}: no speech (" in capsys.readouterr().out


def test_adaptation_is_pointed_out_where_it_helps(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """By voice where the speakers are known, and not where a few clips leave it no use."""
    for number in range(ENOUGH_TO_ADAPT):
        write(tmp_path / f"{number:02}.wav", noise(0.3, seed=number))
    files = sorted(tmp_path.glob("*.wav"))
    given = ["--model", "default", "--json", "--speech", "all"]
    assert run("predict", *files, *given) == 0
    assert "recorded in the same way, --adapt folder often" in capsys.readouterr().err
    for others in (["--adapt", "folder"], ["--model", "small"]):
        assert run("predict", *files, *given, *others) == 0
        assert "often" not in capsys.readouterr().err
    assert run("predict", *files[1:], *given) == 0
    assert "often" not in capsys.readouterr().err
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    for others, status in (([], 0), ([bad], 1)):  # what cannot be read is nothing to adapt to
        assert run("predict", *files[1:], *others, *given, "--adapt", "folder") == status
        assert "only 19 recordings; if most have the same emotion" in capsys.readouterr().err
    write_manifest([Utterance(str(file), str(file), speaker="ann") for file in files], tmp_path / "known.jsonl")
    assert run("predict", tmp_path / "known.jsonl", *given) == 0
    assert "who speaks in each is known, --adapt speaker often" in capsys.readouterr().err
