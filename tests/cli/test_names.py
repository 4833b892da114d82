"""Names from outside: a command neither dies of them nor loses them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import soundfile
from small import complaint, run
from sound import noise

from gemoclap.corpora.manifest import read_manifest

CHINESE = os.fsdecode(b"\xc9\xfa\xc6\xf8-1.wav")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two clips whose names are not UTF-8, one that is no sound, and a table of them."""
    names = [CHINESE, os.fsdecode(b"f\xfcr.wav"), os.fsdecode(b"bad\xfc.wav")]
    for name in names[:2]:
        with (tmp_path / name).open("wb") as file:
            soundfile.write(file, noise(0.5), 16000, format="WAV")
    (tmp_path / names[2]).write_text("no sound")
    table = "path,speaker,emotion\n" + "".join(f"{name},{n},happy\n" for n, name in enumerate(names))
    (tmp_path / "t.csv").write_bytes(os.fsencode(table))
    return tmp_path


def test_prepare_inspect_and_convert_keep_names_that_are_not_utf8(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("prepare", "csv", corpus / "t.csv", "-o", tmp_path / "m.jsonl") == 0
    rows = read_manifest(tmp_path / "m.jsonl")
    assert Path(rows[0].path).name == CHINESE and all(Path(row.path).is_file() for row in rows)
    assert run("inspect", tmp_path / "m.jsonl") == 1  # one is no sound
    assert "bad\\udcfc.wav" in capsys.readouterr().out
    assert run("inspect", corpus) == 1
    assert run("convert", tmp_path / "m.jsonl", "csv", "-o", tmp_path / "out.csv") == 0
    assert run("prepare", "csv", tmp_path / "out.csv", "-o", tmp_path / "again.jsonl") == 0
    assert read_manifest(tmp_path / "again.jsonl") == rows


def test_a_terminal_of_ascii_alone_ends_no_command(corpus: Path, tmp_path: Path) -> None:
    """And one to which the command prints a name, where standard output is strict."""
    command = [
        sys.executable,
        "-m",
        "gemoclap",
        "prepare",
        "csv",
        str(corpus / "t.csv"),
        "-o",
        str(tmp_path / "für.jsonl"),
    ]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"f\\xfcr.jsonl: 3 utterances, 3 speakers" in done.stdout


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_answers_about_them_are_written_whole(
    suffix: str, corpus: Path, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / f"out.{suffix}"
    assert run("predict", corpus, "--model", small_model, "-o", output) == 1
    if suffix == "csv":
        with output.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            names = [Path(one["path"]).name for one in csv.DictReader(file)]
    elif suffix == "jsonl":
        names = [Path(json.loads(line)["path"]).name for line in output.read_text(encoding="utf-8").splitlines()]
    else:  # Parquet has text alone: the odd bytes can be seen, and are not bytes any more
        names = [Path(path).name for path in pandas.read_parquet(output)["path"]]
        assert {"bad\\xfc.wav", "f\\xfcr.wav"} < {*names} and len(names) == 3
        return
    assert sorted(names) == sorted([CHINESE, os.fsdecode(b"f\xfcr.wav"), os.fsdecode(b"bad\xfc.wav")])
    capsys.readouterr()
    assert run("predict", corpus / CHINESE, "--model", small_model, "--json") == 0
    assert Path(json.loads(capsys.readouterr().out)["path"]).name == CHINESE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train:\n  lr: 1\n  lr: 2\n", "'lr' is there twice"),
        ("train: " + "[" * 100_000, "nest"),
        ("train: {epochs: " + "9" * 5000 + "}", "digits"),
    ],
)
def test_settings_that_are_none_are_one_line(
    tmp_path: Path, text: str, says: str, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    said = complaint(capsys, "crossval", "--config", tmp_path / "s.yaml", "-o", tmp_path / "run")
    assert "s.yaml" in said and says in said and len(said) < 400
