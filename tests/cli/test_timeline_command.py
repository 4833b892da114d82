"""`gemoclap timeline`: from a call to its files, and what is refused in a line."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from small import complaint, run
from sound import noise, write

from gemoclap.audio import load_audio
from gemoclap.corpora.synthetic import generate
from gemoclap.errors import GemoclapError
from gemoclap.inference.predictor import Prediction, Predictor
from gemoclap.inference.speech import SpeechRules


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two made voices, one a channel, one after the other; on the second channel a voice twice."""
    folder = tmp_path_factory.mktemp("call")
    rows = generate(folder / "voices", speakers=2, sentences=1, takes=1)
    first, second = (
        load_audio(next(row.path for row in rows if row.speaker == who))
        for who in sorted({row.speaker for row in rows})
    )
    gap = np.zeros(16000, np.float32)
    left = np.concatenate([first, gap, 0 * second, gap, 0 * second])
    right = np.concatenate([0 * first, gap, second, gap, second])
    return write(folder / "call.wav", np.stack([left, right], axis=1))


def test_a_call_becomes_files(call: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = [tmp_path / f"a.{suffix}" for suffix in ("json", "csv", "rttm", "vtt", "txt", "png")]
    assert run("timeline", call, "--model", small_model, "--by", "channel", "-o", *names) == 0
    shown = capsys.readouterr()
    # One line for the recording, which names all files.
    assert len(shown.out.splitlines()) == 1 and shown.out.count("s of speech in") == 1 and not shown.err
    assert shown.out.startswith(", ".join(map(str, names)) + ": ")
    data = json.loads(names[0].read_text())
    assert [len(one["speech"]) for one in data["speakers"]] == [1, 2]
    assert data["model"]["name"] == str(small_model) and len(data["model"]["fingerprint"]) == 16
    assert data["settings"]["hop"] == 1.0 and data["made_with"]["torch"]
    with names[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["speaker"] for row in rows} == {"channel 1", "channel 2"}
    for row in rows:
        assert row["emotion"] in data["emotions"] and 0.2 < float(row["confidence"]) <= 1
    said = complaint(capsys, "timeline", call, "--model", small_model, "-o", names[1])
    assert "is there already; add --overwrite" in said


def test_every_output_is_written_however_they_are_given(
    call: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    names = [tmp_path / name for name in ("a.json", "a.csv", "a.vtt")]
    command = ["timeline", call, "--model", small_model]
    assert run(*command, "-o", names[0], "-o", names[1], f"--output={names[2]}") == 0
    assert all(name.is_file() for name in names)
    assert capsys.readouterr().out.startswith(", ".join(map(str, names)) + ": ")
    assert "names the same file twice" in complaint(
        capsys, *command, "-o", tmp_path / "b.csv", "-o", tmp_path / "b.csv"
    )


def test_a_picture_that_fails_leaves_the_others_and_their_summary(
    call: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def failing(*given: object) -> None:
        raise GemoclapError("a.png: too large")

    monkeypatch.setattr("gemoclap.reports.timeline_files.plot_timeline", failing)
    names = [tmp_path / name for name in ("a.png", "a.csv")]
    assert run("timeline", call, "--model", small_model, "-o", *names) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{names[1]}: ") and "s of speech in" in shown.out
    assert names[1].is_file() and "a.png: too large" in shown.err


def test_the_table_joins_what_the_files_keep_apart(
    call: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["timeline", call, "--model", small_model, "--by", "channel"]
    command += ["--threshold", "1"]  # so that all speech has the same label
    assert run(*command) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "unknown" in line and "channel" in line]
    assert run(*command, "-o", tmp_path / "a.json") == 0
    lanes = json.loads((tmp_path / "a.json").read_text())["speakers"]
    assert [len(lane["segments"]) for lane in lanes] == [1, 2] and len(rows) == 2
    for row, lane in zip(rows, lanes, strict=True):
        seconds = sum(one["end"] - one["start"] for one in lane["segments"])
        assert lane["speaker"] in row and f"{seconds:.1f} s" in row
        shares = np.average(
            [[*one["probabilities"].values()] for one in lane["segments"]],
            axis=0,
            weights=[one["end"] - one["start"] for one in lane["segments"]],
        )
        likeliest = [*lane["segments"][0]["probabilities"]][shares.argmax()]
        assert f"unknown ({likeliest})" in row and f"{100 * shares.max():.0f} %" in row


def test_rules_of_speech_need_a_search_for_speech(
    call: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["timeline", call, "--model", small_model, "--speech", "all"]
    for options in (["--min_silence", "1"], ["--speech_threshold", "0.5"], ["--min_speech", "0"]):
        said = complaint(capsys, *command, *options)
        assert (
            said == f"gemoclap: {options[0]}: with --speech all, no speech is looked for; leave one or the other out\n"
        )
    assert "--min_silence, --min_speech: " in complaint(capsys, *command, "--min_speech", "0", "--min_silence", "1")


def test_the_help_names_the_rules_that_hold(
    call: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rules = SpeechRules()
    assert run("timeline", "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option, default in (("threshold", rules.threshold), ("min_silence", rules.min_silence)):
        assert f"default: {default:g}" in shown.partition(f"--{'speech_' * (option == 'threshold')}{option} ")[2]
    assert f"default: {rules.min_speech:g}" in shown.partition("--min_speech ")[2]
    assert run("timeline", call, "--model", small_model, "--min_silence", "1", "-o", tmp_path / "a.json") == 0
    found = json.loads((tmp_path / "a.json").read_text())["settings"]["speech"]
    assert found == {"detector": "silero-vad", **asdict(rules), "min_silence": 1.0}


def test_the_rttm_is_read_back_as_turns(call: Path, small_model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    options = ("timeline", call, "--model", small_model)
    assert run(*options, "--by", "channel", "-o", first / "a.rttm", first / "a.json") == 0
    assert run(*options, "--turns", first / "a.rttm", "-o", second / "a.json") == 0
    before, after = (json.loads((folder / "a.json").read_text())["speakers"] for folder in (first, second))
    assert [one["speaker"] for one in after] == ["channel_1", "channel_2"]
    for own, read in zip(before, after, strict=True):
        assert read["speech"] and all(
            any(start <= begin + 1e-4 and until <= end + 1e-4 for start, end in own["speech"])
            for begin, until in read["speech"]
        )


def test_without_a_file_a_table_is_printed(
    call: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    turns = tmp_path / "turns.csv"
    turns.write_text("speaker,start,end\nAnn,0,2.2\nBob,2,7\nBob,90,95\n")
    assert run("timeline", call, "--model", small_model, "--turns", turns, "--window", "1", "--hop", "0.5") == 0
    shown = capsys.readouterr()
    assert "Ann" in shown.out and "Bob" in shown.out and "emotion" in shown.out
    beware = shown.err.splitlines()
    assert len(beware) == 2 and all(line.startswith("beware: ") for line in beware)
    assert "1 turn ends after the end of the recording" in beware[0] and "talk at once" in beware[1]


def test_adapting_is_said_and_its_statistics_serve_later(
    call: Path, frozen_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stats, names = tmp_path / "s.json", [tmp_path / f"{n}.json" for n in range(3)]
    options = ("timeline", call, "--model", frozen_model, "--by", "channel", "--window", "1", "--hop", "0.5")
    assert run(*options, "-o", names[0]) == 0
    assert "adapted" not in capsys.readouterr().out
    assert run(*options, "--adapt", "speaker", "--save_adapt", stats, "-o", names[1], tmp_path / "a.vtt") == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("%; adapted to each speaker")
    assert "NOTE adapted to each speaker" in (tmp_path / "a.vtt").read_text()
    assert run(*options, "--adapt", stats, "-o", names[2]) == 0
    assert f"adapted with {stats}" in capsys.readouterr().out
    plain, adapted, later = (json.loads(name.read_text()) for name in names)
    assert [one["settings"]["adapt"] for one in (plain, adapted, later)] == ["none", "speaker", str(stats)]
    assert "adapted_to" not in plain["speakers"][0] and adapted["speakers"][0]["adapted_to"]["windows"] > 0.9
    for one, other, without in zip(adapted["speakers"], later["speakers"], plain["speakers"], strict=True):
        for window, same, bare in zip(one["windows"], other["windows"], without["windows"], strict=True):
            assert window["probabilities"] == pytest.approx(same["probabilities"], abs=1e-4)
            assert window["probabilities"] != bare["probabilities"]


def test_what_cannot_be_adapted_is_said_in_a_line(
    call: Path, small_model: Path, frozen_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (stats := tmp_path / "s.json").write_text(
        '{"model": "m", "groups": {"all": {"count": 1, "mean": [0], "square": [1]}}}'
    )
    frozen = ("--model", frozen_model)
    for options, said in (
        (["--model", small_model, "--adapt", "speaker"], "does not standardise its features"),
        ([*frozen, "--adapt", "folder"], "--adapt folder: this is one recording"),
        ([*frozen, "--adapt", "spaeker"], "spaeker: no such file; give --adapt none, speaker, or"),
        ([*frozen, "--adapt", stats], "made with another model"),
        ([*frozen, "--save_adapt", stats], "nothing new to save; give --adapt speaker"),
        ([*frozen, "--adapt", stats, "--save_adapt", tmp_path / "t.json"], "nothing new to save"),
        ([*frozen, "--adapt", "speaker", "--save_adapt", stats], "is there already"),
    ):
        assert said in complaint(capsys, "timeline", call, *options)


def test_no_speech_is_said(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write(tmp_path / "a.flac", np.stack([0.01 * noise(3.0), np.zeros(48000)], axis=1))
    assert run("timeline", path, "--model", small_model, "--by", "channel", "-o", tmp_path / "a.csv") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'a.csv'}: 0.0 s of speech in 3.0 s: no speech\n"
    assert "channel 1: no speech was found" in shown.err and "channel 2: silent" in shown.err
    assert run("timeline", path, "--model", small_model, "--speech", "all") == 0
    assert "3.0 s of speech in 3.0 s" in capsys.readouterr().out


def test_without_speech_no_statistics_are_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without groups could not be read again."""
    path, target = write(tmp_path / "a.wav", np.zeros(16000)), tmp_path / "s.json"
    assert run("timeline", path, "--adapt", "speaker", "--save_adapt", target) == 0
    assert not target.exists() and "not written, because there was no speech to measure" in caplog.text


def test_a_window_without_an_answer_costs_no_other(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    answers = Predictor.predict_many

    def failing(self: Predictor, *given: object) -> Iterator[Prediction | GemoclapError]:
        for number, answer in enumerate(answers(self, *given)):  # type: ignore[arg-type]
            yield GemoclapError("the waveform: no numbers") if number == 1 else answer

    monkeypatch.setattr(Predictor, "predict_many", failing)
    path = write(tmp_path / "a.wav", noise(8.0))
    options = ("timeline", path, "--model", small_model, "--speech", "all", "--window", "2", "--smooth", "0")
    assert run(*options) == 1
    shown = capsys.readouterr()
    assert "no answer" in shown.out and "8.0 s of speech in 8.0 s" in shown.out
    assert shown.err == "beware: 1 of 7 windows without an answer, the first from 1.00 to 3.00 s: no numbers\n"


def test_what_is_wrong_is_said_in_a_line(
    call: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bad_turns, text = tmp_path / "bad.csv", tmp_path / "text.wav"
    bad_turns.write_text("speaker,start,end\nAnn,5,2\n")
    text.write_text("no sound")
    model = ["--model", small_model]
    for options, said in (
        ([tmp_path / "none.wav", *model], "no such audio file"),
        ([text, *model], "text.wav: "),
        ([tmp_path, *model], "is a folder"),
        ([call, "--model", tmp_path], "no model in it"),
        (
            [call, *model, "-o", tmp_path / "a.mp4"],
            "a name that ends in .json or .csv or .rttm or .vtt or .txt or .png",
        ),
        ([call, *model, "-o", tmp_path / "a.csv", tmp_path / "a.csv"], "names the same file twice"),
        ([call, *model, "--turns", bad_turns], "bad.csv:2: start 5 s is not before end 2 s"),
        ([call, *model, "--turns", bad_turns, "--by", "channel"], "not both"),
        ([call, *model, "--hop", "0"], "hop must be above 0"),
        ([call, *model, "--window", "100"], "window: 100 s is too long; this model takes windows of"),
        ([call, *model, "--threshold", "2"], "threshold must lie between 0 and 1"),
        ([call, *model, "--speech_threshold", "2"], "speech threshold must be"),
        ([call, *model, "--labels", "one"], "two or more different words"),
    ):
        assert said in complaint(capsys, "timeline", *options)
    assert not list(tmp_path.glob("a.*"))


def test_a_model_is_not_loaded_for_what_cannot_work(
    call: Path, frozen_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Loading takes seconds, which a misspelt option or a faulty file should not cost."""

    def loaded(name: str) -> None:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(Predictor, "from_pretrained", loaded)
    text, damaged, of_ann, turns = (tmp_path / name for name in ("text.wav", "damaged.json", "ann.json", "turns.csv"))
    text.write_text("no sound")
    group = '{"model": "m", "groups": {"Ann": {"count": 2, "mean": [3.0], "square": [%s]}}}'
    damaged.write_text(group % "4.0")
    of_ann.write_text(group % "9.5")
    turns.write_text("speaker,start,end\nBob,0,2\n")
    model = ["--model", frozen_model]
    for options, said in (
        ([text], "text.wav: "),
        ([call, "--hop", "0"], "hop must be above 0"),
        ([call, "--hop", "5"], "hop must be above 0 and at most the window, 4 s, not 5"),
        ([call, "--window", "1", "--hop", "2"], "at most the window, 1 s, not 2"),
        ([call, "--window", "-1"], "window must be 0.1 seconds or more"),
        ([call, "--speech_threshold", "2"], "speech threshold must be"),
        ([call, "--min_silence", "-1"], "min_silence must be"),
        ([call, "--adapt", damaged], "group 'Ann': a mean square is smaller"),
        ([call, "--adapt", of_ann], "statistics of Ann, but none of 'recording'"),
        ([call, "--adapt", of_ann, "--by", "channel"], "statistics of Ann, but none of 'channel 1'"),
        ([call, "--adapt", of_ann, "--turns", turns], "statistics of Ann, but none of 'Bob'"),
    ):
        assert said in complaint(capsys, "timeline", *options, *model)


def test_pictures_alone_need_matplotlib(
    call: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # type: ignore[arg-type]
    given = ["timeline", call, "--model", small_model, "-o", tmp_path / "a.csv"]
    assert "a picture needs the package matplotlib: pip install" in complaint(capsys, *given, tmp_path / "a.png")
    assert not list(tmp_path.glob("a.*"))
    assert run(*given) == 0


def test_below_the_threshold_nothing_is_claimed(call: Path, small_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    assert run("timeline", call, "--model", small_model, "--threshold", "1", "-o", out, tmp_path / "a.png") == 0
    with out.open(newline="") as file:
        assert {row["emotion"] for row in csv.DictReader(file)} == {"unknown"}


def test_a_name_that_is_not_utf8_is_a_name(call: Path, small_model: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"b\xe4d.wav")
    odd.write_bytes(call.read_bytes())
    names = [tmp_path / f"a.{suffix}" for suffix in ("json", "csv", "vtt", "txt", "png")]
    assert run("timeline", odd, "--model", small_model, "-o", *names) == 0
    assert json.loads(names[0].read_text())["file"] == str(odd)
