"""The one file that a command writes with -o: what may be replaced, what never is, and what a failure leaves."""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path

import pytest
from small import SMALL, complaint, contents, run

from gemoclap.corpora.manifest import read_manifest
from gemoclap.reports import plots, timeline_files


@pytest.fixture
def table(small_manifest: Path, tmp_path: Path) -> Path:
    assert run("convert", small_manifest, "csv", "-o", tmp_path / "table.csv") == 0
    return tmp_path / "table.csv"


def arguments(command: str, small_manifest: Path, table: Path) -> list[str | Path]:
    return {
        "prepare": ["prepare", "csv", table],
        "convert": ["convert", small_manifest, "csv"],
        "inspect": ["inspect", small_manifest],
    }[command]


@pytest.mark.parametrize("command", ["prepare", "convert", "inspect"])
def test_a_file_that_is_there_is_replaced_only_if_told_so(
    command: str, small_manifest: Path, table: Path, capsys: pytest.CaptureFixture
) -> None:
    target = table.with_name("there")
    target.write_text("mine")
    given = [*arguments(command, small_manifest, table), "-o", target]
    assert "there: is there already; add --overwrite" in complaint(capsys, *given)
    assert target.read_text() == "mine"
    assert run(*given, "--overwrite") == 0
    assert len(target.read_text()) > 100


@pytest.mark.parametrize("command", ["prepare", "convert", "inspect"])
def test_a_device_stays_a_device(command: str, small_manifest: Path, table: Path) -> None:
    assert run(*arguments(command, small_manifest, table), "-o", "/dev/null") == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_is_written_to(small_manifest: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert run("inspect", small_manifest, "-o", tmp_path / "pipe") == 0
    assert json.loads(os.read(reader, 2**16)) and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    os.close(reader)


@pytest.mark.parametrize("target", ["/dev/stdout", "/dev/fd/1"])
@pytest.mark.parametrize("command", ["prepare", "convert", "inspect"])
def test_standard_output_has_the_rows_alone(
    command: str, target: str, small_manifest: Path, table: Path, capfd: pytest.CaptureFixture
) -> None:
    given = arguments(command, small_manifest, table)
    assert run(*given, "-o", table.with_name("same")) == 0
    capfd.readouterr()
    assert run(*given, "-o", target) == 0
    shown = capfd.readouterr()
    assert shown.out == table.with_name("same").read_text() and "utterances" in shown.err
    assert run(*given, "-o", "/dev/stderr") == 0
    shown = capfd.readouterr()
    assert shown.err == table.with_name("same").read_text() and "utterances" in shown.out


def test_predictions_on_standard_output_are_a_table(
    small_model: Path, small_manifest: Path, capfd: pytest.CaptureFixture
) -> None:
    clips = [row.path for row in read_manifest(small_manifest)[:2]]
    capfd.readouterr()
    assert run("predict", *clips, "--model", small_model, "-o", "/dev/stdout") == 0
    shown = capfd.readouterr()
    assert [row["path"] for row in csv.DictReader(shown.out.splitlines())] == clips
    assert shown.err.endswith("/dev/stdout: 2 rows\n")


def test_a_timeline_on_standard_output_is_a_table_whatever_else_is_written(
    small_model: Path, small_manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    clip = read_manifest(small_manifest)[0].path
    capfd.readouterr()
    given = ["timeline", clip, "--model", small_model, "--speech", "all", "-o", tmp_path / "a.vtt", "/dev/stdout"]
    assert run(*given) == 0
    shown = capfd.readouterr()
    rows = list(csv.DictReader(shown.out.splitlines()))
    assert rows and all(float(row["end"]) > float(row["start"]) for row in rows)
    assert shown.err.count(" s of speech in ") == 1 and (tmp_path / "a.vtt").read_text().startswith("WEBVTT")


def test_a_picture_that_fails_does_not_cost_the_other_files_of_a_timeline(
    small_model: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no font")

    monkeypatch.setattr(timeline_files, "plot_timeline", broken)
    clip = read_manifest(small_manifest)[0].path
    names = [tmp_path / name for name in ("a.png", "a.csv")]
    assert run("timeline", clip, "--model", small_model, "--speech", "all", "-o", *names) == 1
    assert [path.name for path in tmp_path.glob("a.*")] == ["a.csv"]


@pytest.mark.parametrize("command", ["prepare", "convert", "inspect"])
def test_folders_far_away_are_not_made(
    command: str, small_manifest: Path, table: Path, capsys: pytest.CaptureFixture
) -> None:
    target = table.parent / "no" / "such" / "file"
    line = complaint(capsys, *arguments(command, small_manifest, table), "-o", target)
    assert "there is no folder" in line and not (table.parent / "no").exists()


def test_an_evaluation_that_fails_leaves_nothing_and_can_be_run_again(
    small_model: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    given = ["evaluate", small_manifest, "--model", small_model, "-o", tmp_path / "scores"]
    with monkeypatch.context() as patch:
        patch.setattr(plots, "write_confusion", full)  # after three of its files
        line = complaint(capsys, *given)
    assert "scores: cannot be written, the disk is full; free space" in line
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)  # where the first of its files is written
        line = complaint(capsys, *given)
    assert line.startswith(f"gemoclap: {tmp_path / 'scores' / 'predictions.csv'}: cannot be written, the disk is full")
    assert contents(tmp_path) == {} and list(tmp_path.iterdir()) == []
    assert run(*given) == 0
    names = {path.name for path in (tmp_path / "scores").iterdir()}
    pictures = {f"{name}.{kind}" for name in ("confusion", "reliability", "speakers") for kind in ("png", "svg")}
    assert names == {"predictions.csv", "scores.json", "scores.csv", "speakers.csv", "report.md", *pictures}


@pytest.mark.parametrize("form", ["emobox", "audformat"])
def test_a_format_of_many_files_needs_a_folder(
    form: str, small_manifest: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for target in ("/dev/null", table, tmp_path / "pipe"):
        assert f"{target}: is a file, not a folder" in complaint(capsys, "convert", small_manifest, form, "-o", target)
    assert "link to a folder that" in complaint(capsys, "convert", small_manifest, form, "-o", tmp_path / "link")


@pytest.mark.parametrize("command", ["crossval", "compare", "evaluate"])
def test_a_link_to_nothing_is_named_before_the_work(
    command: str, small_manifest: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    (tmp_path / "a.csv").write_text("id,prediction,truth\nx,happy,sad\ny,sad,sad\n")
    given = {
        "crossval": [small_manifest, *SMALL],
        "compare": [tmp_path / "a.csv", f"B={tmp_path / 'a.csv'}"],
        "evaluate": [small_manifest, "--model", small_model],
    }[command]
    assert "link to a folder that does not exist" in complaint(capsys, command, *given, "-o", link)
    assert link.is_symlink() and not (tmp_path / "nowhere").exists()
