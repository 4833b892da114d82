"""Commands with good and bad input: exit codes, one line that says what to mend, and nothing left behind."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small import SMALL, changed, complaint, contents, log_of, run
from sound import cut_off, noise, tone, write, write_tone

from gemoclap.cli import corpora as corpus_commands
from gemoclap.cli.commands import main
from gemoclap.corpora.manifest import read_manifest

EMOTIONS = ("angry", "happy", "neutral", "sad")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Errors on the way.


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("two\nlines"), 1, "unexpected RuntimeError: two lines; run again with --debug"),
        (OSError(28, "No space left on device", "disk/file"), 2, "disk/file: No space left on device"),
    ],
)
def test_what_goes_wrong_on_the_way_is_one_line(
    error: BaseException, status: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(corpus_commands, "run_inspect", fail)
    assert says in complaint(capsys, "inspect", "m.jsonl", status=status)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture) -> None:
    assert main(["inspect", "none.jsonl", "--debug"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and lines[-1].startswith("gemoclap: none.jsonl: no such manifest")


def test_an_output_that_cannot_be_written(small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("mine")
    assert "file" in complaint(capsys, "inspect", small_manifest, "-o", tmp_path / "file" / "counts.json")
    assert (tmp_path / "file").read_text() == "mine"


# Manifests and corpora.


@pytest.mark.parametrize("name", ["iemocap", "ravdess", "emodb", "nemo", "cremad", "synthetic"])
def test_a_folder_that_is_not_the_corpus(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_tone(tmp_path / "other" / "song.wav")
    line = complaint(capsys, "prepare", name, tmp_path / "other", "-o", tmp_path / "m.jsonl")
    assert str(tmp_path / "other") in line
    assert not (tmp_path / "m.jsonl").exists()


@pytest.mark.parametrize("command", ["inspect", "crossval", "train", "evaluate", "predict"])
def test_empty_manifest(command: str, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    arguments = {
        "inspect": [empty], "evaluate": [empty, "--model", small_model], "predict": [empty, "--model", small_model],
    }.get(command, ["--data.manifest", empty])  # fmt: skip
    assert "empty.jsonl: the manifest has no rows" in complaint(capsys, command, *arguments, "-o", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("command", ["crossval", "train"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data.emotions", "angry,bored"], "class 'bored' has no utterance; there are only angry; choose classes"),
        (["--data.emotions", "angry"], "with one class there is nothing to tell apart"),
        (["--data.emotions", "angry,sad,angry"], "lists a class twice"),
        (["--data.emotions", "bored,calm"], "labels in the manifest: angry, happy, neutral, sad"),
        (["--data.vocabulary", "iemocap"], "no vocabulary is called 'iemocap' (did you mean 'iemocap"),
        (["--data.vocabulary", "emodb4", "--data.emotions", "angry,sad"], "both name the classes"),
        (["--data.merges", "{happy: sad}"], "data.merges would change the vocabulary synthetic4"),
        (["--data.dev_speakers", "4"], "lower --data.dev_speakers"),
        (["--train.batch_size", "1"], "set --train.batch_size to 2 or more"),
        (["--train.select", "dev"], "set --data.dev_speakers"),
        (["--model.audio_encoder", "./nowhere", "--model.audio_options", "{}"], "./nowhere: no such folder"),
        (["--model.freeze", "everything"], "freeze"),
        (["--model.emotion_prompt", "emotion"], "prompt template 'emotion'"),
        (["--data.audio.max_seconds", "0"], "data.audio.max_seconds must be above 0"),
    ],
)
def test_settings_that_cannot_work(
    command: str, options: list[str], says: str, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "run"
    line = complaint(capsys, command, "--data.manifest", small_manifest, *SMALL, *options, "-o", output)
    assert says in line
    # The folder stays free for the settings once they are mended.
    assert {path.name for path in output.rglob("*")} <= {"config.yaml", "folds.json"}


def test_a_run_that_never_began_gives_its_folder_to_mended_settings(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["train", "--data.manifest", small_manifest, *SMALL, "-o", tmp_path / "run"]
    complaint(capsys, *command, "--model.freeze", "everything")
    assert run(*command, "--model.freeze", "front_end") == 0


# Speakers.


@pytest.fixture(scope="module")
def sessions(small_manifest: Path) -> Path:
    """Every speaker in both sessions."""
    target = small_manifest.parent / "sessions.jsonl"
    return changed(small_manifest, target, corpus=None, session=lambda row: row.id.split("_")[2])


def test_shared_speakers_are_refused(sessions: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["crossval", "--data.manifest", sessions, *SMALL, "--data.folds", "session", "-o", tmp_path / "run"]
    line = complaint(capsys, *command)
    assert "4 speaker(s) are on both sides" in line and "--data.allow_speaker_overlap" in line
    assert not (tmp_path / "run").exists()


def test_shared_speakers_may_be_asked_for_and_the_report_begins_with_it(sessions: Path, tmp_path: Path) -> None:
    command = ["crossval", "--data.manifest", sessions, *SMALL, "--data.folds", "session", "-o", tmp_path / "run"]
    assert run(*command, "--data.allow_speaker_overlap", "true", "--methods", "emo_clap", "--keep_models", "false") == 0
    first = (tmp_path / "run" / "report.md").read_text().splitlines()[0]
    assert "speaker" in first.lower() and "s01" in first
    assert not list((tmp_path / "run").rglob("model"))


# Audio.

FAULTS = ("empty", "no_samples", "nan", "truncated", "text", "missing")


def faulty_audio(fault: str, path: Path) -> Path:
    if fault == "empty":
        path.write_bytes(b"")
    elif fault == "no_samples":
        write(path, np.zeros(0))
    elif fault == "nan":
        write(path, np.full(16000, np.nan), subtype="FLOAT")
    elif fault == "truncated":
        cut_off(write_tone(path))
    elif fault == "text":
        path.write_text("dear diary")
    return path


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ["crossval", "train"])
def test_faulty_audio_stops_a_run_before_it_begins(
    command: str, fault: str, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bad = faulty_audio(fault, tmp_path / f"{fault}.wav")
    manifest = changed(
        small_manifest, tmp_path / "m.jsonl", path=lambda row: str(bad) if row.id == "s02_sad_01_1" else row.path
    )
    line = complaint(capsys, command, "--data.manifest", manifest, *SMALL, "-o", tmp_path / "run")
    assert f"{fault}.wav" in line
    assert not (tmp_path / "run").exists()


def test_faulty_audio_is_a_row_of_a_prediction(
    small_manifest: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    good = read_manifest(small_manifest)[0].path
    bad = [faulty_audio(fault, tmp_path / f"{fault}.wav") for fault in FAULTS]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["path,id", *(f"{path},{path.stem}" for path in [*bad, Path(good)])]))
    line = complaint(capsys, "predict", table, "--model", small_model, "-o", tmp_path / "out.csv", status=1)
    assert f"{len(bad)} of {len(bad) + 1} clips" in line
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["path", "id", "emotion", "confidence", *EMOTIONS, "error", "remark"]
    assert [row["path"] for row in rows] == [*map(str, bad), good]
    for row in rows[:-1]:
        assert row["path"] in row["error"] and row["emotion"] == row["confidence"] == row["angry"] == ""
    assert rows[-1]["error"] == "" and rows[-1]["emotion"] in EMOTIONS


def test_every_form_of_audio_is_taken(small_manifest: Path, small_model: Path, tmp_path: Path) -> None:
    """24-bit, float and stereo copies of a 16-bit clip say the same; other sample rates are resampled, not refused."""
    source = read_manifest(small_manifest)[0].path
    samples, _ = soundfile.read(source)
    same = [
        write(tmp_path / "24.wav", samples, subtype="PCM_24"),
        write(tmp_path / "float.wav", samples, subtype="FLOAT"),
        write(tmp_path / "stereo.wav", np.stack([samples, samples], axis=1)),
        write(tmp_path / "lossless.flac", samples),
    ]
    other = [write(tmp_path / "8k.wav", samples[::2], 8000), write(tmp_path / "48k.wav", np.repeat(samples, 3), 48000)]
    assert run("predict", source, *same, *other, "--model", small_model, "-o", tmp_path / "out.csv") == 0
    first, *copies = rows_of(tmp_path / "out.csv")
    for row in copies[: len(same)]:
        assert [float(row[name]) for name in EMOTIONS] == pytest.approx(
            [float(first[name]) for name in EMOTIONS], abs=1e-5
        )
    for row in copies:
        assert sum(float(row[name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-5)

    clips = iter([*same, *other])
    mixed = changed(small_manifest, tmp_path / "m.jsonl", path=lambda row: str(next(clips, row.path)))
    assert run("train", "--data.manifest", mixed, *SMALL, "-o", tmp_path / "run") == 0


def test_batches_of_one_class(small_manifest: Path, tmp_path: Path) -> None:
    """Where nearly all is of one class, most batches of two are too; the losses stay finite."""
    keep = {"s01_happy_01_1", "s02_happy_01_1"}
    manifest = changed(
        small_manifest, tmp_path / "m.jsonl", corpus=None,
        emotion=lambda row: "angry" if row.emotion != "happy" else "happy" if row.id in keep else None,
    )  # fmt: skip
    options = ["--train.batch_size", "2", "--train.epochs", "2"]
    assert run("train", "--data.manifest", manifest, *SMALL, *options, "-o", tmp_path / "run") == 0
    rows = log_of(tmp_path / "run")
    assert len(rows) == 2 and all(math.isfinite(value) for row in rows for value in row.values())


# Folders that hold something.


@pytest.mark.parametrize("command", ["crossval", "train", "evaluate"])
@pytest.mark.parametrize("kind", ["files", "file"])
def test_an_output_folder_of_something_else(
    command: str, kind: str, small_manifest: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "taken"
    if kind == "files":
        output.mkdir()
    (output / "thesis.tex" if kind == "files" else output).write_text("mine")
    before = contents(tmp_path)
    arguments = (
        [small_manifest, "--model", small_model]
        if command == "evaluate"
        else ["--data.manifest", small_manifest, *SMALL]
    )
    line = complaint(capsys, command, *arguments, "-o", output)
    assert "taken" in line and "choose another folder with -o" in line
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--train.lr", "0.5"], "train.lr"),
        (["--model.audio_options", "{hidden_size: 24}"], "model.audio_options"),
        (["--method", "emo_clap"], "method"),
    ],
)
def test_a_folder_of_another_run(
    options: list[str], named: str, small_manifest: Path, small_model: Path, capsys: pytest.CaptureFixture
) -> None:
    before = contents(small_model.parent)
    command = ["train", "--data.manifest", small_manifest, *SMALL, *options, "-o", small_model.parent]
    line = complaint(capsys, *command)
    assert str(small_model.parent) in line and f"{named}" in line and "differs" in line
    assert contents(small_model.parent) == before


def test_a_model_that_is_not_there(
    small_manifest: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    clip = read_manifest(small_manifest)[0].path
    assert f"did you mean {small_model}?" in complaint(capsys, "predict", clip, "--model", small_model.parent)
    assert "no model in it" in complaint(capsys, "evaluate", small_manifest, "--model", tmp_path)


# Predictions.


def test_a_row_of_a_manifest_is_its_stretch_of_the_file(small_model: Path, tmp_path: Path) -> None:
    low, high = tone(120.0, 0.7), noise(0.6)
    write(tmp_path / "long.wav", np.concatenate([low, high]))
    cuts = [write(tmp_path / "low.wav", low), write(tmp_path / "high.wav", high)]
    spans = [(0.0, 0.7), (0.7, 1.3)]
    lines = [
        json.dumps({"id": str(number), "path": "long.wav", "start": start, "end": end})
        for number, (start, end) in enumerate(spans)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    assert run("predict", tmp_path / "m.jsonl", *cuts, "--model", small_model, "-o", tmp_path / "out.csv") == 0
    rows = [[float(row[name]) for name in EMOTIONS] for row in rows_of(tmp_path / "out.csv")]
    assert rows[:2] == [pytest.approx(row, abs=1e-5) for row in rows[2:]]
    assert rows[0] != pytest.approx(rows[1], abs=1e-3)


def test_labels_json_and_folders(
    small_manifest: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    wav = Path(read_manifest(small_manifest)[0].path).parent
    capsys.readouterr()
    assert run("predict", wav, "--model", small_model, "--labels", "very calm,bored", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows] == sorted(str(path) for path in wav.iterdir())
    assert {frozenset(row) for row in rows} == {frozenset({"path", "emotion", "confidence", "very calm", "bored"})}
    assert "two or more different words" in complaint(
        capsys, "predict", wav, "--model", small_model, "--labels", "calm,calm"
    )
    assert "no audio files below it" in complaint(capsys, "predict", tmp_path, "--model", small_model)
    assert "is a folder" in complaint(capsys, "predict", wav, "--model", small_model, "-o", tmp_path)


def test_a_prediction_on_the_terminal(small_manifest: Path, small_model: Path, capsys: pytest.CaptureFixture) -> None:
    clip = read_manifest(small_manifest)[0].path
    capsys.readouterr()
    assert run("predict", clip, "--model", small_model) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and shown.out.startswith(f"{clip}: ") and all(name in shown.out for name in EMOTIONS)
