"""What a command line names is looked at before a model is loaded: missing files, empty words, folders that are read-only."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import changed, complaint, run
from sound import noise, write

from gemoclap.cli.commands import main

STATUS_AND_TORCH = """
import json, os, sys
from gemoclap.cli import main
folder, commands = json.loads(sys.argv[1])
os.chdir(folder)
for command in commands:
    print(main(command), "torch" in sys.modules)
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write(tmp_path / "clip.wav", noise(0.5))


@pytest.fixture
def elsewhere(small_manifest: Path, tmp_path: Path) -> Path:
    """A manifest whose audio files have been moved."""
    return changed(small_manifest, tmp_path / "m.jsonl", path=lambda row: f"/moved/{row.id}.wav")


@pytest.fixture
def one_missing(small_manifest: Path, tmp_path: Path) -> Path:
    """A manifest of which the last row's audio file is missing."""
    return changed(
        small_manifest, tmp_path / "n.jsonl", path=lambda row: "/no.wav" if row.id == "s02_sad_01_1" else row.path
    )


def test_a_missing_file_is_found_before_torch_is_imported(clip: Path, elsewhere: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    commands = [
        ["predict", "clip.wav", "clp.wav"],
        ["predict", "clip.wav", "pipe.wav"],
        ["predict", "m.jsonl"],
        ["predict", "none.jsonl", "--model", "x"],
        ["predict", "clip.wav", "--model", "."],
        ["index", "clp.wav", "-o", "index"],
        ["search", "--like", "clp.wav", "--index", "index"],
        ["evaluate", "m.jsonl"],
        ["evaluate", "none.jsonl"],
        ["evaluate", "m.jsonl", "--model", "smal"],
        ["export", "--check_on", "m.jsonl", "-o", "a.onnx"],
        ["timeline", "clp.wav"],
    ]
    found = [sys.executable, "-c", STATUS_AND_TORCH, json.dumps([str(tmp_path), commands])]
    done = subprocess.run(found, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["2 False"] * len(commands), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(commands) and all(line.startswith("gemoclap: ") for line in lines)
    assert not (tmp_path / "index").exists()


def test_what_a_model_s_config_says_is_refused_before_torch_is_imported(
    clip: Path, small_model: Path, small_manifest: Path, tmp_path: Path
) -> None:
    """The folder has nothing but a config.json, so whatever loads the model would say something else."""
    config = json.loads((small_model / "config.json").read_text())
    for name, changes in (("prompts", {}), ("plain", {"model_type": "gemoclap-classifier"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config | changes))
    prompts, plain = ["--model", "prompts"], ["--model", "plain"]
    asked = {
        "window: 14.5 s is too long; this model takes windows of 14 s at most": [
            "timeline",
            "clip.wav",
            "--window",
            "14.5",
        ],
        "hop must be above 0 and at most the window, 4 s, not 5.0": ["timeline", "clip.wav", "--hop", "5"],
        "this model does not predict gender": ["predict", "clip.wav", "--json", "--columns", "gender"],
        "so it cannot be adapted; train it frozen": ["predict", "clip.wav", "--adapt", "folder"],
        "it cannot be adapted; train it frozen": ["timeline", "clip.wav", "--adapt", "speaker"],
        "cannot be adapted; train it frozen": ["evaluate", str(small_manifest), "--adapt", "folder"],
    }
    of_plain = {
        "this model has a plain head, which compares with no words": ["index", "clip.wav", "-o", "index"],
        "only has the classes angry, happy, neutral, sad, not bored": ["predict", "clip.wav", "--labels", "bored,sad"],
        "classes angry, happy, neutral, sad, not bored": ["evaluate", str(small_manifest), "--labels", "bored,sad"],
        "the classes angry, happy, neutral, sad, not bored": ["timeline", "clip.wav", "--labels", "bored,sad"],
    }
    commands = [[*one, *prompts] for one in asked.values()] + [[*one, *plain] for one in of_plain.values()]
    found = [sys.executable, "-c", STATUS_AND_TORCH, json.dumps([str(tmp_path), commands])]
    done = subprocess.run(found, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["2 False"] * len(commands), done.stderr
    for line, said in zip(done.stderr.splitlines(), [*asked, *of_plain], strict=True):
        assert said in line


def test_a_list_with_one_missing_file_is_predicted_but_not_scored(
    one_missing: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = ["--model", small_model]
    assert "/no.wav: no such audio file" in complaint(capsys, "evaluate", one_missing, *model)
    said = complaint(capsys, "export", "--check_on", one_missing, *model, "-o", tmp_path / "a.onnx")
    assert "/no.wav: no such audio file" in said and not (tmp_path / "a.onnx").exists()
    assert "1 of" in complaint(capsys, "predict", one_missing, *model, "-o", tmp_path / "a.csv", status=1)


def test_an_address_is_no_file(capsys: pytest.CaptureFixture) -> None:
    said = complaint(capsys, "predict", "https://example.org/a.wav")
    assert "https://example.org/a.wav: is an address, not a file; download it" in said


@pytest.mark.parametrize(
    "given",
    [
        ["predict", ""],
        ["predict", "clip.wav", ""],
        ["predict", "clip.wav", "-o", ""],
        ["predict", "clip.wav", "--output="],
        ["predict", "clip.wav", "--model", ""],
        ["timeline", "clip.wav", "--turns", ""],
        ["search", "--like", ""],
    ],
)
def test_an_empty_word_is_not_the_current_folder_or_no_output(
    given: list[str], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A shell leaves it for a variable that is not set."""
    monkeypatch.chdir(clip.parent)
    assert "empty; give one, or check that the variables of your shell" in complaint(capsys, *given)


@pytest.mark.parametrize("command", ["evaluate", "index"])
def test_a_read_only_folder_is_found_before_the_work(
    command: str, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    said = complaint(capsys, command, small_manifest, "--model", "research", "-o", tmp_path / "new" / "folder")
    assert f"folder: cannot be written, {tmp_path} is read-only" in said and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("given", "resumes"),
    [
        (["predict", "a.wav", "-o", "a.csv"], True),
        (["predict", "a.wav", "--output=a.csv"], True),
        (["index", "a.wav"], True),
        (["predict", "a.wav"], False),
        (["timeline", "a.wav", "-o", "a.csv"], False),
        (["evaluate", "m.jsonl", "-o", "scores"], False),
        (["inspect", "m.jsonl", "-o", "faults.json"], False),
        (["compare", "runs/a", "b.csv", "-o", "pairs"], False),
        (["compare", "ems", "--speech", "m.jsonl", "-o", "run"], True),
        (["gmp", "cluster", "m.jsonl", "-o", "run"], True),
        (["no-such-command", "-o", "run"], False),
    ],
)
def test_only_a_command_that_resumes_says_so(
    given: list[str], resumes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("gemoclap.cli.commands._run", interrupted)
    assert main(given) == 130
    assert ("repeat the command to resume" in capsys.readouterr().err) == resumes


def test_scores_are_shown_although_the_disk_is_full(
    small_manifest: Path,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("gemoclap.cli.scoring.write_scores", full)
    assert run("evaluate", small_manifest, "--model", small_model, "-o", tmp_path / "scores") == 2
    shown = capsys.readouterr()
    assert "UAR" in shown.out and "the disk is full" in shown.err


@pytest.mark.parametrize(
    "given",
    [["predict", "closed"], ["predict", "closed/in"], ["predict", "clip.wav", "--model", "closed"],
     ["search", "angry", "--index", "closed"], ["report", "closed"]],
)  # fmt: skip
def test_a_folder_that_may_not_be_opened_is_the_one_that_is_named(
    given: list[str], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """And not a file that was looked for in it. Tests may run as root, whom no permission stops, so it is acted."""
    (clip.parent / "closed" / "in").mkdir(parents=True)
    monkeypatch.chdir(clip.parent)
    stat, scandir, access = os.stat, os.scandir, os.access

    def is_inside(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and "closed/" in os.fspath(path)

    def refused(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))  # type: ignore[call-overload]

    monkeypatch.setattr(os, "stat", lambda path, **more: refused(path) if is_inside(path) else stat(path, **more))
    monkeypatch.setattr(os, "scandir", lambda path=".": refused(path) if "closed" in str(path) else scandir(path))
    monkeypatch.setattr(os, "access", lambda path, mode: "closed" not in str(path) and access(path, mode))
    line = complaint(capsys, *given)
    assert line.startswith("gemoclap: closed: ") and "Permission denied" in line


def test_an_output_that_is_also_given_is_not_written_over(
    clip: Path, small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Nor does one output replace another."""
    table = tmp_path / "list.csv"
    table.write_text("path\nclip.wav\n")
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    for target in (table, link):
        said = complaint(capsys, "predict", table, "-o", target, "--overwrite")
        assert "-o names a file that the command is also given" in said
    turns = tmp_path / "turns.csv"
    turns.write_text("speaker,start,end\nA,0,1\n")
    for given in (["--turns", turns, "-o", turns], ["--adapt", "speaker", "--save_adapt", "s.json", "-o", "s.json"]):
        assert "that the command is also given" in complaint(capsys, "timeline", clip, *given, "--overwrite")
    assert table.read_text() == "path\nclip.wav\n" and turns.read_text().startswith("speaker")


def test_a_clip_that_cannot_be_read_ends_an_export_before_it_begins(
    small_manifest: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The figure would be that of other clips than the manifest's."""
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    rows = changed(
        small_manifest, tmp_path / "m.jsonl", path=lambda row: str(bad) if row.id == "s02_sad_01_1" else row.path
    )
    said = complaint(capsys, "export", "--check_on", rows, "--model", small_model, "-o", tmp_path / "a.onnx")
    assert "bad.wav: cannot be decoded" in said and not (tmp_path / "a.onnx").exists()


def test_names_with_control_characters_stay_on_one_line(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "two\nlines\x1b[31m.wav", noise(0.5))
    (tmp_path / "bad\nname.wav").write_text("no sound")
    assert run("predict", tmp_path, "--model", small_model) == 1
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1 and "two\\nlines\\x1b[31m.wav: " in shown.out
    assert "bad\\nname.wav: cannot be decoded" in shown.err


def test_what_is_meant_by_other_words_is_said(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(clip.parent)
    clip.rename("-a.wav")
    assert "give a file whose name begins with - as ./-a.wav" in complaint(capsys, "predict", "-a.wav")
    Path("list.csv").write_text("path\n./-a.wav\n")
    assert "gemoclap prepare csv list.csv -o list.jsonl" in complaint(capsys, "evaluate", "list.csv")
